/* SPDX-License-Identifier: MIT */
/*
 * recwriter.c - puts the records of a picture together in memory, and the file in its place.
 */
#include "config.h"

#include "recwriter-add.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "clock.h"
#include "cpu-limit.h"
#include "hist.h"
#include "mem.h"
#include "msg.h"
#include "recfile.h"
#include "textfile.h"

#define COMMAND_MAX 65536

struct recwriter {
    struct rec_header header;
    int pid; /* as this process sees it */
    char *path, *temporary;
    char command[COMMAND_MAX];
    size_t command_bytes;
    unsigned char *bytes;
    size_t used, room;
    bool complained, written; /* an error line has been said; there is an earlier picture */
};

/* --- the process ------------------------------------------------------------------------------------------------- */
static uint32_t cpus_of(int pid)
{
    cpu_set_t set;

    if (sched_getaffinity(pid, sizeof set, &set))
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* A number from a line of /proc/PID/status: the last one, which is that of the innermost namespace. */
static uint32_t status_number(const char *status, const char *key)
{
    const char *line = strstr(status, key), *last;
    char copy[256];

    if (!line)
        return 0;
    snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line + strlen(key), "\n"), line + strlen(key));
    last = strrchr(copy, '\t');
    return (uint32_t)strtoul(last ? last : copy, NULL, 10);
}

static void copy_text(char *to, size_t size, const char *from)
{
    size_t length = strnlen(from, size - 1);

    memcpy(to, from, length);
    to[length] = 0;
}

static void fill_header(struct recwriter *w, int pid, enum rec_source source, uint32_t hex, const char *version)
{
    struct rec_header *h = &w->header;
    struct utsname u;
    char path[64], status[8192];

    memcpy(h->magic, REC_MAGIC, sizeof h->magic);
    h->endian = REC_ENDIAN;
    h->version = REC_VERSION;
    h->version_min = REC_VERSION_MIN;
    h->header_bytes = REC_HEADER_BYTES;
    h->source = source;
    h->clock = REC_CLOCK_MONOTONIC;
    h->cpus = cpus_of(pid);
    cpu_limit_begin((uint32_t)pid, h);
    h->python_hex = hex;
    copy_text(h->python_version, sizeof h->python_version, version);
    copy_text(h->host, sizeof h->host, uname(&u) ? "host" : u.nodename);
    copy_text(h->tool_version, sizeof h->tool_version, PACKAGE_VERSION);
    textfile_read("/proc/sys/kernel/random/boot_id", h->boot_id, sizeof h->boot_id);
    h->boot_id[strcspn(h->boot_id, "\n")] = 0;
    h->proc_start_jiffies = recfile_proc_start(pid);
    h->start_realtime_ns = (int64_t)clock_ns(CLOCK_REALTIME);
    h->start_mono_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
    h->start_ticks = (uint64_t)h->start_mono_ns;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    textfile_read(path, status, sizeof status);
    h->pid = status_number(status, "\nNSpid:");
    h->ppid = status_number(status, "\nPPid:");
    if (!h->pid)
        h->pid = (uint32_t)pid;
}

struct recwriter *recwriter_new(const char *dir, int pid, enum rec_source source, uint32_t python_hex,
                                const char *python_version)
{
    struct recwriter *w = mem_zeroed(1, sizeof *w);
    char path[64], host[64];

    w->pid = pid;
    fill_header(w, pid, source, python_hex, python_version);
    copy_text(host, sizeof host, w->header.host);
    for (char *c = host; *c; c++)
        if (*c == '/' || *c == '-')
            *c = '_';
    w->path = mem_print("%s/%s-%d-%lld" REC_SUFFIX, dir, host, pid, (long long)w->header.start_realtime_ns);
    w->temporary = mem_print("%s.new", w->path);
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    ssize_t n = textfile_read(path, w->command, sizeof w->command);
    w->command_bytes = n > 0 ? (size_t)n : 0;
    recwriter_begin(w);
    if (recwriter_commit(w, w->header.start_ticks, false)) {
        recwriter_free(w);
        return NULL;
    }
    return w;
}

uint64_t recwriter_start_ns(const struct recwriter *w)
{
    return w->header.start_ticks;
}

void recwriter_free(struct recwriter *w)
{
    if (!w)
        return;
    free(w->path);
    free(w->temporary);
    free(w->bytes);
    free(w);
}

void recwriter_discard(struct recwriter *w)
{
    if (w)
        unlink(w->path);
    recwriter_free(w);
}

/* --- records ----------------------------------------------------------------------------------------------------- */
size_t recwriter_add(struct recwriter *w, enum rec_type type, size_t bytes)
{
    size_t at = w->used;
    struct rec_head *head;

    bytes = (bytes + REC_CELL_BYTES - 1) / REC_CELL_BYTES * REC_CELL_BYTES;
    if (w->used + bytes > w->room) {
        w->room = (w->used + bytes) * 3 / 2 + 65536;
        unsigned char *larger = realloc(w->bytes, w->room);
        if (!larger) {
            msg_error("not enough memory");
            exit(1);
        }
        w->bytes = larger;
    }
    memset(w->bytes + at, 0, bytes);
    w->used += bytes;
    head = (struct rec_head *)(w->bytes + at);
    head->size = (uint32_t)bytes;
    head->mark = REC_HEAD_MARK;
    head->type = (uint16_t)type;
    return at;
}

void *recwriter_at(struct recwriter *w, size_t offset)
{
    return w->bytes + offset;
}

static uint32_t cell(size_t at)
{
    return (uint32_t)(at / REC_CELL_BYTES);
}

static void add_text(struct recwriter *w, enum rec_text_kind kind, const char *bytes, size_t length)
{
    size_t at = recwriter_add(w, REC_TEXT, sizeof(struct rec_text) + length);
    struct rec_text *text = (struct rec_text *)(w->bytes + at);

    text->kind = kind;
    text->length = (uint32_t)length;
    memcpy(text->bytes, bytes, length);
}

void recwriter_begin(struct recwriter *w)
{
    if (w->room < REC_HEADER_BYTES) {
        w->room = 1 << 20;
        w->bytes = mem_zeroed(1, w->room);
    }
    memset(w->bytes, 0, REC_HEADER_BYTES);
    w->used = REC_HEADER_BYTES;
    w->header.n_threads = 0;
    w->header.cpu_used_ns = 0;
    memset(w->header.losses, 0, sizeof w->header.losses);
    if (w->command_bytes)
        add_text(w, REC_TEXT_COMMAND, w->command, w->command_bytes);
}

void recwriter_inert(struct recwriter *w, const char *why)
{
    add_text(w, REC_TEXT_INERT, why, strlen(why));
}

void recwriter_note(struct recwriter *w, const char *text)
{
    add_text(w, REC_TEXT_NOTE, text, strlen(text));
}

void recwriter_stopped(struct recwriter *w, uint64_t ns)
{
    w->header.stopped_ns = ns;
}

void recwriter_loss(struct recwriter *w, enum rec_loss cause, uint64_t count)
{
    w->header.losses[cause] += count;
}

void recwriter_gil(struct recwriter *w, const struct recwriter_gil *g)
{
    struct rec_gil *gil = recwriter_at(w, recwriter_add(w, REC_GIL, sizeof *gil));

    gil->index = g->index;
    gil->address = g->address;
    gil->start_ticks = g->start_ns;
    gil->interval_us = g->interval_us;
    gil->held_base_ticks = g->held_ns;
    gil->wait_blocked_ticks = g->wait_blocked_ns;
    gil->wait_wakeup_ticks = g->wait_wakeup_ns;
    gil->wait_forced_ticks = g->wait_forced_ns;
    gil->acquisitions = g->acquisitions;
    gil->contended = g->contended;
    gil->drop_requests = g->drop_requests;
    gil->forced_switches = g->forced_switches;
    gil->lost_wakeups = g->lost_wakeups;
    gil->n_changes = g->switches;
}

static void add_hist(struct recwriter *w, size_t thread_at, uint32_t index, int kind, const struct recwriter_hist *h)
{
    uint64_t count = 0;

    for (uint32_t octave = 0; h->buckets && octave < REC_HIST_OCTAVES && (octave + 1) * REC_HIST_SUBS <= h->n_buckets;
         octave++) {
        uint32_t any = 0;
        for (int sub = 0; sub < REC_HIST_SUBS; sub++)
            any |= h->buckets[octave * REC_HIST_SUBS + sub];
        if (!any)
            continue;
        size_t at = recwriter_add(w, REC_HIST, sizeof(struct rec_hist_block));
        struct rec_hist_block *block = (struct rec_hist_block *)(w->bytes + at);
        block->owner = index;
        for (int sub = 0; sub < REC_HIST_SUBS; sub++) {
            block->count[sub] = h->buckets[octave * REC_HIST_SUBS + sub];
            count += block->count[sub];
        }
        ((struct rec_thread *)(w->bytes + thread_at))->hist[kind].block[octave] = cell(at);
    }
    struct rec_hist *to = &((struct rec_thread *)(w->bytes + thread_at))->hist[kind];
    to->count = kind == REC_HIST_HOLD ? h->uncounted : count; /* record.h, rec_hist_kind */
    to->sum_ticks = kind == REC_HIST_HOLD ? 0 : h->sum_ns;
    to->max_ticks = h->max_ns;
}

static void add_row(struct recwriter *w, size_t thread_at, const struct recwriter_thread *t)
{
    size_t last = 0;

    for (size_t i = 0; i < t->n_pairs; i += REC_ROW_ENTRIES) {
        size_t at = recwriter_add(w, REC_ROW, sizeof(struct rec_row));
        struct rec_row *row = (struct rec_row *)(w->bytes + at);
        row->owner = t->index;
        for (size_t j = 0; j < REC_ROW_ENTRIES && i + j < t->n_pairs; j++) {
            row->holder[j] = t->pairs[i + j].holder;
            row->blocked_ticks[j] = t->pairs[i + j].blocked_ns;
        }
        if (last)
            ((struct rec_row *)(w->bytes + last))->next = cell(at);
        else
            ((struct rec_thread *)(w->bytes + thread_at))->row = cell(at);
        last = at;
    }
}

void recwriter_native_cpu(struct recwriter *w, uint64_t cpu_ns)
{
    w->header.cpu_used_ns += cpu_ns;
}

void recwriter_thread(struct recwriter *w, const struct recwriter_thread *t)
{
    size_t at = recwriter_add(w, REC_THREAD, sizeof(struct rec_thread));
    struct rec_thread *r = (struct rec_thread *)(w->bytes + at);

    r->index = t->index;
    r->tid = t->tid;
    r->flags = t->main ? REC_THREAD_MAIN : 0;
    r->pthread_id = t->pthread_id;
    /* The main thread is called that, not after the function that it runs. */
    if (t->name && !(t->main && t->name_source == REC_NAME_FUNCTION)) {
        copy_text(r->name, sizeof r->name, t->name);
        r->name_source = t->name_source;
    }
    r->gil = t->gil;
    r->start_ticks = t->start_ns;
    r->end_ticks = t->ended ? t->end_ns : 0;
    r->state = t->ended ? REC_STATE_ENDED : REC_STATE_RELEASED;
    r->state_ticks = t->end_ns;
    r->held_ticks = t->held_ns;
    r->released_ticks = t->released_ns;
    r->wait_blocked_ticks = t->wait_blocked_ns;
    r->wait_wakeup_ticks = t->wait_wakeup_ns;
    r->wait_forced_ticks = t->wait_forced_ns;
    r->lock_wait_ticks = t->lock_wait_ns;
    r->notify_wait_ticks = t->notify_wait_ns;
    r->charged_ticks = t->charged_ns;
    r->cpu_base_held_ticks = t->held_ns;
    r->cpu_base_released_ticks = t->released_ns;
    r->cpu_exact_held_ns = t->held_oncpu_ns;
    r->cpu_exact_held_ticks = t->held_ns;
    r->cpu_exact_released_ns = t->released_oncpu_ns;
    r->cpu_exact_released_ticks = t->released_ns;
    r->cpu_used_ns = t->held_oncpu_ns + t->released_oncpu_ns;
    w->header.cpu_used_ns += r->cpu_used_ns;
    r->run_delay_ns = t->run_delay_ns;
    r->contended = t->contended;
    r->lost_wakeups = t->lost_wakeups;
    r->drop_requests = t->drop_requests;
    r->forced_switches = t->forced_switches;
    r->forced_max_ticks = t->forced_max_ns;
    r->row_other_ticks = t->blocked_by_unknown_ns;
    r->error_ppm = t->error_ppm;
    r->gil_counted = t->elsewhere;
    if (t->index == RECWRITER_ENDED) {
        r->flags = REC_THREAD_FOLDED;
        r->folded = t->n_folded;
        r->folded_wall_ticks = t->folded_wall_ns;
    }
    for (int kind = 0; kind < REC_HIST_KINDS; kind++)
        if (t->hist[kind].buckets || t->hist[kind].uncounted)
            add_hist(w, at, t->index, kind, &t->hist[kind]);
    add_row(w, at, t);
    w->header.n_threads += t->index == RECWRITER_ENDED ? (uint32_t)t->n_folded : 1;
}

/* --- the file ---------------------------------------------------------------------------------------------------- */
static int write_file(const struct recwriter *w)
{
    int fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int reason = errno;

    if (fd < 0) {
        errno = reason;
        return -1;
    }
    for (size_t done = 0; done < w->used;) {
        ssize_t n = write(fd, w->bytes + done, w->used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            reason = n < 0 ? errno : ENOSPC;
            close(fd);
            unlink(w->temporary);
            errno = reason;
            return -1;
        }
        done += (size_t)n;
    }
    if (close(fd) || rename(w->temporary, w->path)) {
        reason = errno;
        unlink(w->temporary);
        errno = reason;
        return -1;
    }
    return 0;
}

int recwriter_commit(struct recwriter *w, uint64_t now_ns, bool ended)
{
    struct rec_header *h = &w->header;

    h->used_bytes = h->reserved_bytes = w->used;
    h->beat_ticks = now_ns;
    h->beat_mono_ns = (int64_t)now_ns;
    if (!ended)
        cpu_limit_end((uint32_t)w->pid, h);
    h->end_ticks = ended ? now_ns : 0;
    h->complete = ended;
    memcpy(w->bytes, h, sizeof *h);
    if (!write_file(w)) {
        w->written = true;
        return 0;
    }
    if (!w->complained)
        msg_error("cannot write the recording '%s': %s%s", w->path, strerror(errno),
                  w->written ? "; `gilscope report' shows what had been measured before" : "");
    w->complained = true;
    return -1;
}
