/* SPDX-License-Identifier: MIT */
/*
 * reader.c - opens a recording, checks it and finds its records.
 */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"
#include "mem.h"
#include "reader-copy.h"
#include "reader-ring.h"

/* The oldest header that is understood has its fields up to the losses. */
#define HEADER_BYTES_MIN offsetof(struct rec_header, losses)
/* Of records, too: less is damage, of which a file could have a hundred times what it takes to copy it. */
#define GIL_BYTES_MIN offsetof(struct rec_gil, ring)
#define THREAD_BYTES_MIN offsetof(struct rec_thread, name)
#define GILS_MAX 4096 /* no process has that many interpreters */

static bool fail(char error[READER_ERROR_BYTES], const char *path, const char *why)
{
    snprintf(error, READER_ERROR_BYTES, "cannot read '%s': %s", path, why);
    return false;
}

static void terminate(char *text, size_t size)
{
    text[size - 1] = 0;
}

static bool check_header(struct reader_file *file, size_t file_bytes, char error[READER_ERROR_BYTES])
{
    struct rec_header *header = &file->header;
    char why[160];

    if (file_bytes < sizeof header->magic || memcmp(header->magic, REC_MAGIC, sizeof header->magic))
        return fail(error, file->path,
                    "it is not a recording of gilscope; give a " REC_SUFFIX " file or a " REC_DIR_SUFFIX " directory");
    if (file_bytes < HEADER_BYTES_MIN)
        return fail(error, file->path, "it ends within its header; the disk may have been full, record again");
    if (header->endian != REC_ENDIAN)
        return fail(error, file->path, "it is from a machine of the other byte order; report on it there");
    if (header->version_min > REC_VERSION) {
        snprintf(why, sizeof why, "its format is version %u and this gilscope reads up to %u; use a newer one",
                 header->version, REC_VERSION);
        return fail(error, file->path, why);
    }
    if (header->version < REC_VERSION_MIN) {
        snprintf(why, sizeof why, "its format is version %u and this gilscope reads from %u on; use an older one",
                 header->version, REC_VERSION_MIN);
        return fail(error, file->path, why);
    }
    if (header->header_bytes < HEADER_BYTES_MIN || header->header_bytes % REC_CELL_BYTES)
        return fail(error, file->path, "its header is damaged (header_bytes); nothing in it can be relied on");
    terminate(header->python_version, sizeof header->python_version);
    terminate(header->host, sizeof header->host);
    terminate(header->tool_version, sizeof header->tool_version);
    terminate(header->boot_id, sizeof header->boot_id);
    return true;
}

static uint32_t least_bytes(uint16_t type)
{
    return type == REC_GIL ? GIL_BYTES_MIN : type == REC_THREAD ? THREAD_BYTES_MIN : REC_CELL_BYTES;
}

bool reader_next(const struct reader_file *file, struct reader_record *record)
{
    size_t offset = record->offset ? record->offset + record->size : file->header.header_bytes;

    for (; offset + sizeof(struct rec_head) <= file->n_bytes; offset += REC_CELL_BYTES) {
        const struct rec_head *head = (const struct rec_head *)(file->bytes + offset);
        if (!head->type || head->mark != REC_HEAD_MARK)
            continue;
        if (head->size < least_bytes(head->type) || head->size % REC_CELL_BYTES || head->size > file->n_bytes - offset)
            continue;
        *record = (struct reader_record){offset, head->size, head->type};
        return true;
    }
    return false;
}

/* Bytes of what began like a record, by its mark, and is none. */
static uint64_t count_damaged(const struct reader_file *file)
{
    struct reader_record record = {.offset = 0};
    size_t expected = file->header.header_bytes;
    uint64_t damaged = 0;
    bool more;

    do {
        more = reader_next(file, &record);
        size_t until = more ? record.offset : file->n_bytes;
        for (size_t at = expected; at + sizeof(struct rec_head) <= until; at += REC_CELL_BYTES) {
            const struct rec_head *head = (const struct rec_head *)(file->bytes + at);
            if (head->type && (head->mark == REC_HEAD_MARK || at == expected)) {
                damaged += until - at;
                break;
            }
        }
        expected = record.offset + record.size;
    } while (more);
    return damaged;
}

static void add_text(struct reader_file *file, const struct reader_record *record)
{
    const struct rec_text *text = (const struct rec_text *)(file->bytes + record->offset);
    size_t room, length;
    char *bytes;

    if (record->size < sizeof *text)
        return;
    room = record->size - sizeof *text;
    length = text->length < room ? text->length : room;
    bytes = mem_zeroed(length + 1, 1);
    memcpy(bytes, text->bytes, length);
    file->texts[file->n_texts++] = (struct reader_text){text->kind, (uint32_t)length, bytes};
}

/* Copies a record into an object of this version's size, whose missing end stays 0. */
static void normalize(const struct reader_file *file, const struct reader_record *record, void *to, size_t size)
{
    memcpy(to, file->bytes + record->offset, record->size < size ? record->size : size);
}

static void find_records(struct reader_file *file)
{
    struct reader_record record = {.offset = 0};
    size_t n_gils = 0, n_threads = 0, n_texts = 0;

    while (reader_next(file, &record)) {
        n_gils += record.type == REC_GIL && n_gils < GILS_MAX;
        n_threads += record.type == REC_THREAD;
        n_texts += record.type == REC_TEXT;
    }
    file->gils = mem_zeroed(n_gils, sizeof *file->gils);
    file->threads = mem_zeroed(n_threads, sizeof *file->threads);
    file->texts = mem_zeroed(n_texts, sizeof *file->texts);

    record = (struct reader_record){.offset = 0};
    while (reader_next(file, &record)) {
        if (record.type == REC_GIL && file->n_gils < n_gils)
            normalize(file, &record, &file->gils[file->n_gils++], sizeof *file->gils);
        else if (record.type == REC_THREAD)
            normalize(file, &record, &file->threads[file->n_threads++], sizeof *file->threads);
        else if (record.type == REC_TEXT)
            add_text(file, &record);
        else if (record.type == REC_GIL)
            file->damaged_bytes += record.size;
    }
}

/* Reads the file's contents, as far as they go. */
static bool read_contents(struct reader_file *file, int fd, size_t file_bytes, char error[READER_ERROR_BYTES])
{
    uint64_t used = file->header.used_bytes;
    ssize_t n;

    if (used > file_bytes || used > READER_FILE_MAX) {
        file->truncated = true;
        used = file_bytes < READER_FILE_MAX ? file_bytes : READER_FILE_MAX;
    }
    file->bytes = mem_zeroed(used, 1);
    n = reader_copy_bytes(fd, file->bytes, used, 0);
    if (n < 0)
        return fail(error, file->path, strerror(errno));
    file->truncated |= (uint64_t)n < used;
    file->n_bytes = (size_t)n;
    return true;
}

/* Released time that the collector leaves to be worked out (record.h, REC_THREAD_REMAINDER). */
static void fill_in_released(struct rec_thread *thread)
{
    uint64_t all = thread->state_ticks - thread->start_ticks;
    uint64_t rest = thread->unmeasured_ticks + thread->held_ticks + thread->wait_blocked_ticks +
                    thread->wait_wakeup_ticks + thread->wait_forced_ticks;

    if (thread->flags & REC_THREAD_REMAINDER)
        thread->released_ticks = thread->state_ticks > thread->start_ticks && all > rest ? all - rest : 0;
}

static bool read_file(struct reader_file *file, int fd, char error[READER_ERROR_BYTES])
{
    struct stat status;
    size_t n_header = sizeof file->header;

    if (fstat(fd, &status))
        return fail(error, file->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail(error, file->path, "it is not a regular file");
    if (!reader_copy_header(fd, &file->header, n_header))
        return fail(error, file->path, strerror(errno));
    /* All that is read from here on is true of this moment, too: what has been going on since before it was going on
     * then.  A moment after the reading could lie behind an end that was not read. */
    if (!file->header.end_ticks && live_same_boot(&file->header)) {
        if (!live_read_now(file->header.clock, &file->now))
            file->now.ticks = 0;
        else if (!reader_copy_header(fd, &file->header, n_header))
            return fail(error, file->path, strerror(errno));
    }
    if (!check_header(file, (size_t)status.st_size, error))
        return false;
    if (file->header.header_bytes < n_header) /* an older version's: what it does not have is 0 */
        memset((char *)&file->header + file->header.header_bytes, 0, n_header - file->header.header_bytes);
    if (!read_contents(file, fd, (size_t)status.st_size, error))
        return false;
    find_records(file);
    file->damaged_bytes += count_damaged(file);
    if (!file->header.end_ticks && (file->pid_here = live_pid(&file->header)))
        reader_copy_settle(fd, file);
    for (size_t i = 0; i < file->n_gils; i++)
        reader_ring_fill_in(&file->gils[i]);
    for (size_t i = 0; i < file->n_threads; i++)
        fill_in_released(&file->threads[i]);
    for (size_t i = 0; i < file->n_threads; i++)
        terminate(file->threads[i].name, sizeof file->threads[i].name);
    return true;
}

struct reader_file *reader_open(const char *path, char error[READER_ERROR_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO must not block */
    struct reader_file *file;
    bool ok;

    if (fd < 0) {
        snprintf(error, READER_ERROR_BYTES, "cannot open '%s': %s", path, strerror(errno));
        return NULL;
    }
    file = mem_zeroed(1, sizeof *file);
    file->path = mem_print("%s", path);
    ok = read_file(file, fd, error);
    close(fd);
    if (ok)
        return file;
    reader_close(file);
    return NULL;
}

void reader_close(struct reader_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->n_texts; i++)
        free((char *)file->texts[i].bytes);
    free(file->texts);
    free(file->gils);
    free(file->threads);
    free(file->bytes);
    free(file->path);
    free(file);
}

const void *reader_at(const struct reader_file *file, uint32_t cell, enum rec_type type, size_t size)
{
    size_t offset = (size_t)cell * REC_CELL_BYTES;
    const struct rec_head *head;

    if (!cell || offset < file->header.header_bytes || offset > file->n_bytes || file->n_bytes - offset < size)
        return NULL;
    head = (const struct rec_head *)(file->bytes + offset);
    if (head->type != type || head->mark != REC_HEAD_MARK || head->size < size)
        return NULL;
    return head->size <= file->n_bytes - offset ? head : NULL;
}

const struct rec_hist_block *reader_hist_block(const struct reader_file *file, const struct rec_thread *thread,
                                               enum rec_hist_kind kind, uint32_t octave)
{
    const struct rec_hist_block *block =
        reader_at(file, thread->hist[kind].block[octave], REC_HIST, sizeof(struct rec_hist_block));

    return block && block->owner == thread->index ? block : NULL;
}

uint64_t reader_hist_count(const struct reader_file *file, const struct rec_hist_block *block, uint32_t sub)
{
    const struct rec_hist_block *wraps = reader_at(file, block->wraps, REC_HIST, sizeof(struct rec_hist_block));

    return block->count[sub] + (wraps ? (uint64_t)wraps->count[sub] << 32 : 0);
}

const struct rec_row *reader_row(const struct reader_file *file, const struct rec_thread *thread,
                                 const struct rec_row *row, size_t *n_steps)
{
    uint32_t cell = row ? row->next : thread->row;
    size_t n_max = file->n_bytes / sizeof *row;

    if ((*n_steps)++ > n_max)
        return NULL;
    row = reader_at(file, cell, REC_ROW, sizeof *row);
    return row && row->owner == thread->index ? row : NULL;
}

const struct reader_text *reader_text(const struct reader_file *file, enum rec_text_kind kind)
{
    for (size_t i = 0; i < file->n_texts; i++)
        if (file->texts[i].kind == kind)
            return &file->texts[i];
    return NULL;
}
