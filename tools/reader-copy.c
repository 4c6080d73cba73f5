/* SPDX-License-Identifier: MIT */
/*
 * reader-copy.c - copies a file which may be changing.
 *
 * By pread() rather than a mapping: a file that is cut short while it is read must not be a SIGBUS here.
 */
#include "reader-copy.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* A writer needs well below a microsecond, but it may be preempted in between. */
#define TRIES 400
#define QUICK_TRIES 50
#define PAUSE_NS 50000
/* Over the threads, where some end or are made to let go meanwhile. */
#define PASSES 100

static void pause_between_tries(int try)
{
    struct timespec pause = {0, PAUSE_NS};

    if (try >= QUICK_TRIES)
        nanosleep(&pause, NULL);
}

ssize_t reader_copy_bytes(int fd, void *to, size_t size, size_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Has the last toggle got its time? */
static bool is_timed(const struct rec_header *header)
{
    return !header->n_toggles || header->toggle_ticks[(header->n_toggles - 1) % REC_TOGGLES];
}

bool reader_copy_header(int fd, struct rec_header *header, size_t size)
{
    bool whole = false;

    for (int try = 0; try < TRIES && !whole; try++) {
        struct rec_header again = {.pid = 0};
        if (reader_copy_bytes(fd, header, size, 0) < 0 || reader_copy_bytes(fd, &again, size, 0) < 0)
            return false;
        whole = !(header->beat_seq & 1) && header->beat_seq == again.beat_seq &&
                header->beat_ticks == again.beat_ticks && header->beat_mono_ns == again.beat_mono_ns &&
                header->n_toggles == again.n_toggles && is_timed(header);
        if (header->end_ticks) /* nobody will come and finish what is half written */
            break;
        if (!whole)
            pause_between_tries(try);
    }
    if (!is_timed(header)) /* nobody has seen it either */
        header->n_toggles--;
    return true;
}

static void copy_cell_again(int fd, struct reader_file *file, const void *record)
{
    const struct rec_head *head = record;
    size_t offset = (size_t)((const unsigned char *)record - file->bytes);

    reader_copy_bytes(fd, file->bytes + offset + sizeof *head, head->size - sizeof *head, offset + sizeof *head);
}

static void copy_parts(int fd, struct reader_file *file, const struct rec_thread *thread)
{
    const struct rec_hist_block *block;
    const struct rec_row *row = NULL;
    size_t n_steps = 0;

    for (uint32_t kind = 0; kind < REC_HIST_KINDS; kind++)
        for (uint32_t octave = 0; octave < REC_HIST_OCTAVES; octave++)
            if ((block = reader_hist_block(file, thread, kind, octave)))
                copy_cell_again(fd, file, block);
    while ((row = reader_row(file, thread, row, &n_steps)))
        copy_cell_again(fd, file, row);
}

static void pass_a_microsecond(void)
{
    uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

    while (clock_ns(CLOCK_MONOTONIC) - start_ns < 1000)
        continue;
}

/* A record to be copied over its normalized form. */
struct target {
    size_t offset; /* in the file */
    void *to;
    size_t size;
    const uint32_t *seq;             /* in to: its sequence counter */
    const struct rec_thread *thread; /* to, if it is one: its state changes without the counter */
};

static bool read_part(int fd, const struct target *target, const void *member, void *value, size_t size)
{
    size_t at = (size_t)((const char *)member - (const char *)target->to);

    return reader_copy_bytes(fd, value, size, target->offset + at) == (ssize_t)size;
}

/* Copies until nothing has changed meanwhile.  A state's change is followed by its sums at once, but not under the
 * counter: it must have been a microsecond ago.  A thread that changes its state all the time is copied as it is; what
 * may be missing is one of its short intervals. */
static void settle(int fd, struct reader_file *file, const struct target *target)
{
    const struct rec_head *head = (const struct rec_head *)(file->bytes + target->offset);
    size_t in_file = head->size < target->size ? head->size : target->size;

    for (int try = 0; try < TRIES; try++) {
        const struct rec_thread *thread = target->thread;
        uint64_t before = 0, after = 0;
        uint32_t seq = 1, seq_after = 1;
        /* In front of the copy: in it, the counter may be newer than what else was copied. */
        if (!read_part(fd, target, target->seq, &seq, sizeof seq))
            return;
        if (thread) {
            if (!read_part(fd, target, &thread->state_ticks, &before, sizeof before))
                return;
            pass_a_microsecond();
        }
        if (reader_copy_bytes(fd, (char *)target->to + sizeof *head, in_file - sizeof *head,
                              target->offset + sizeof *head) < 0)
            return;
        if (thread)
            copy_parts(fd, file, thread);
        if (!read_part(fd, target, target->seq, &seq_after, sizeof seq_after) ||
            (thread && !read_part(fd, target, &thread->state_ticks, &after, sizeof after)))
            return;
        bool whole = !(seq & 1) && seq == seq_after;
        bool steady = !thread || (thread->state_ticks == before && after == before);
        if (whole && (steady || try >= QUICK_TRIES))
            return;
        pause_between_tries(try);
    }
}

/* Is one of these words, which are in order, another one by now?  If so, and if update, it is copied. */
static bool is_newer(int fd, const struct target *target, const size_t *words, size_t n, bool update)
{
    unsigned char now[sizeof(struct rec_thread)];
    const struct rec_head *head = (const struct rec_head *)target->to;
    size_t from = words[0], to = words[n - 1] + sizeof(uint64_t);
    bool newer = false;

    if (to > head->size || to - from > sizeof now ||
        reader_copy_bytes(fd, now, to - from, target->offset + from) != (ssize_t)(to - from))
        return false;
    for (size_t i = 0; i < n; i++) {
        char *copied = (char *)target->to + words[i];
        if (memcmp(now + words[i] - from, copied, sizeof(uint64_t)) == 0)
            continue;
        newer = true;
        if (update)
            memcpy(copied, now + words[i] - from, sizeof(uint64_t));
    }
    return newer;
}

typedef bool on_record(int fd, struct reader_file *file, const struct target *target);

/* For all records of a type; true if one of the answers is. */
static bool any_of(int fd, struct reader_file *file, enum rec_type type, on_record *act)
{
    struct reader_record record = {.offset = 0};
    size_t n = type == REC_GIL ? file->n_gils : file->n_threads;
    bool any = false;

    for (size_t i = 0; i < n && reader_next(file, &record);) {
        struct target target = {.offset = record.offset};
        if (record.type != type)
            continue;
        if (type == REC_GIL) {
            struct rec_gil *gil = &file->gils[i++];
            uint32_t *seq = gil->has_turn ? &gil->turn.seq : &gil->seq;
            target = (struct target){record.offset, gil, sizeof *gil, seq, NULL};
        } else {
            struct rec_thread *thread = &file->threads[i++];
            target = (struct target){record.offset, thread, sizeof *thread, &thread->seq, thread};
        }
        any |= act(fd, file, &target);
    }
    return any;
}

static bool settle_one(int fd, struct reader_file *file, const struct target *target)
{
    settle(fd, file, target);
    return true;
}

/* Sums that threads move from their records to their GIL's, or write to both. */
static bool take_sums(int fd, struct reader_file *file, const struct target *target)
{
    static const size_t words[] = {
        offsetof(struct rec_gil, acquisitions),       offsetof(struct rec_gil, contended),
        offsetof(struct rec_gil, wait_blocked_ticks), offsetof(struct rec_gil, wait_wakeup_ticks),
        offsetof(struct rec_gil, wait_forced_ticks),
    };
    (void)file;
    return is_newer(fd, target, words, sizeof words / sizeof words[0], true);
}

static bool settle_if_moved(int fd, struct reader_file *file, const struct target *target)
{
    static const size_t words[] = {
        offsetof(struct rec_thread, wait_forced_ticks), offsetof(struct rec_thread, gil_counted),
        offsetof(struct rec_thread, gil_contended),     offsetof(struct rec_thread, gil_blocked_ticks),
        offsetof(struct rec_thread, gil_wakeup_ticks),
    };
    if (is_newer(fd, target, words, sizeof words / sizeof words[0], false))
        settle(fd, file, target);
    return true;
}

static bool is_folded(const struct target *target)
{
    return target->thread->flags & REC_THREAD_FOLDED;
}

static bool is_there(int fd, struct reader_file *file, const struct target *target)
{
    (void)fd;
    (void)file;
    return is_folded(target);
}

/* The record of the ended threads has taken in another one. */
static bool settle_if_folded(int fd, struct reader_file *file, const struct target *target)
{
    uint32_t seq;

    if (!is_folded(target) || !read_part(fd, target, target->seq, &seq, sizeof seq) ||
        (!(seq & 1) && seq == *target->seq))
        return false;
    settle(fd, file, target);
    return true;
}

/* What the record of an ended thread held is in the folded one by now, and it may be another thread's.  One that is
 * nobody's now is left with index 0. */
static bool follow(int fd, struct reader_file *file, const struct target *target)
{
    struct rec_thread *thread = target->to;
    struct {
        struct rec_head head;
        uint32_t index;
    } now;
    uint32_t before = thread->index;

    if (is_folded(target) || reader_copy_bytes(fd, &now, sizeof now, target->offset) != sizeof now)
        return false;
    if (now.head.type != REC_THREAD)
        thread->index = 0;
    else if (now.index != before)
        settle(fd, file, target);
    else
        return false;
    return thread->index != before;
}

static void drop_nobodys(struct reader_file *file)
{
    size_t n = 0;

    for (size_t i = 0; i < file->n_threads; i++)
        if (file->threads[i].index)
            file->threads[n++] = file->threads[i];
    file->n_threads = n;
}

void reader_copy_settle(int fd, struct reader_file *file)
{
    bool changes = true, folds = any_of(fd, file, REC_THREAD, is_there);

    /* The GILs first: what is known of one holds for threads that are copied after it. */
    any_of(fd, file, REC_GIL, settle_one);
    any_of(fd, file, REC_THREAD, settle_one);
    /* What a thread has moved to its GIL meanwhile would be in neither copy. */
    for (int pass = 0; pass < PASSES && changes; pass++) {
        changes = any_of(fd, file, REC_GIL, take_sums);
        if (changes)
            any_of(fd, file, REC_THREAD, settle_if_moved);
        if (folds) {
            changes |= any_of(fd, file, REC_THREAD, settle_if_folded);
            changes |= any_of(fd, file, REC_THREAD, follow);
        }
    }
    if (folds)
        drop_nobodys(file);
}
