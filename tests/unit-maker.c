/* SPDX-License-Identifier: MIT */
/*
 * unit-maker.c - makes recordings for the unit tests.
 */
#include "unit-maker.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hist.h"

#define BROKEN 99 /* the harness does not work: no result of the test */

static void broken(const char *what)
{
    perror(what);
    exit(BROKEN);
}

void maker_begin(struct maker *maker)
{
    const char *base = getenv("TMPDIR");
    struct rec_header *header;

    memset(maker, 0, sizeof *maker);
    snprintf(maker->directory, sizeof maker->directory, "%s/gilscope-unit-XXXXXX", base && base[0] ? base : "/tmp");
    if (!mkdtemp(maker->directory))
        broken("mkdtemp");
    maker->header = header = (struct rec_header *)maker->bytes;
    memcpy(header->magic, REC_MAGIC, sizeof header->magic);
    header->endian = REC_ENDIAN;
    header->version = REC_VERSION;
    header->version_min = REC_VERSION_MIN;
    header->header_bytes = REC_HEADER_BYTES;
    header->source = REC_SOURCE_PRELOAD;
    header->reserved_bytes = MAKER_BYTES;
    header->used_bytes = REC_HEADER_BYTES;
    header->clock = REC_CLOCK_MONOTONIC;
    header->pid = 4242;
    header->ppid = 1;
    header->cpus = 2;
    header->complete = 1;
    strcpy(header->python_version, "3.11.2");
    strcpy(header->host, "host");
    strcpy(header->boot_id, "no boot of this machine");
    header->proc_start_jiffies = 77;
    header->start_realtime_ns = 1700000000123000000;
    header->start_ticks = MAKER_START;
    header->start_mono_ns = (int64_t)MAKER_START;
    header->beat_ticks = header->end_ticks = MAKER_START + 1000 * MS;
    header->beat_mono_ns = (int64_t)header->beat_ticks;
}

void *maker_record(struct maker *maker, size_t size, uint16_t type)
{
    size_t at = maker->header->used_bytes;
    struct rec_head *head = (struct rec_head *)(maker->bytes + at);

    size = (size + REC_CELL_BYTES - 1) / REC_CELL_BYTES * REC_CELL_BYTES;
    if (at + size > MAKER_BYTES) {
        fprintf(stderr, "the recording outgrew MAKER_BYTES\n");
        exit(BROKEN);
    }
    *head = (struct rec_head){(uint32_t)size, type, REC_HEAD_MARK};
    maker->header->used_bytes += size;
    return head;
}

uint32_t maker_cell(const struct maker *maker, const void *record)
{
    return (uint32_t)((size_t)((const unsigned char *)record - maker->bytes) / REC_CELL_BYTES);
}

struct rec_gil *maker_gil(struct maker *maker, uint32_t index)
{
    struct rec_gil *gil = maker_record(maker, sizeof *gil, REC_GIL);

    gil->index = index;
    gil->start_ticks = MAKER_START;
    gil->interval_us = 5000;
    return gil;
}

struct rec_thread *maker_thread(struct maker *maker, uint32_t index, const char *name)
{
    struct rec_thread *thread = maker_record(maker, sizeof *thread, REC_THREAD);

    thread->index = index;
    thread->tid = 100 + index;
    thread->start_ticks = thread->state_ticks = MAKER_START;
    thread->cpu_last_ns = 1;
    strcpy(thread->name, name);
    maker->header->n_threads++;
    return thread;
}

void maker_text(struct maker *maker, enum rec_text_kind kind, const char *bytes, uint32_t length)
{
    struct rec_text *text = maker_record(maker, sizeof *text + length, REC_TEXT);

    text->kind = kind;
    text->length = length;
    memcpy(text->bytes, bytes, length);
}

void maker_hist(struct maker *maker, struct rec_thread *thread, enum rec_hist_kind kind, uint64_t ticks, uint64_t n)
{
    struct rec_hist *hist = &thread->hist[kind];
    struct hist_place place = hist_place(ticks);
    struct rec_hist_block *block;

    if (!hist->block[place.octave]) {
        block = maker_record(maker, sizeof *block, REC_HIST);
        block->owner = thread->index;
        hist->block[place.octave] = maker_cell(maker, block);
    }
    block = (struct rec_hist_block *)(maker->bytes + (size_t)hist->block[place.octave] * REC_CELL_BYTES);
    block->count[place.sub] += n;
    if (kind != REC_HIST_HOLD) { /* see record.h */
        hist->count += n;
        hist->sum_ticks += n * ticks;
    }
    if (ticks > hist->max_ticks)
        hist->max_ticks = ticks;
}

void maker_row(struct maker *maker, struct rec_thread *thread, uint32_t holder, uint64_t ticks)
{
    struct rec_row *row = maker_record(maker, sizeof *row, REC_ROW); /* a part for each entry: the chain is used */

    row->owner = thread->index;
    row->next = thread->row;
    row->holder[0] = holder;
    row->blocked_ticks[0] = ticks;
    thread->row = maker_cell(maker, row);
}

char *maker_write(struct maker *maker, const char *name, size_t n_bytes)
{
    static char path[512];
    int fd;

    snprintf(path, sizeof path, "%s/%s", maker->directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, maker->bytes, n_bytes) != (ssize_t)n_bytes || close(fd))
        broken(path);
    return path;
}

void maker_load(struct maker *maker, struct model *model)
{
    char *names[] = {maker->directory};

    maker_write(maker, "one.gil", maker->header->used_bytes);
    model_load(model, names, 1);
}

void maker_end(struct maker *maker)
{
    DIR *directory = opendir(maker->directory);
    struct dirent *entry;

    if (!directory)
        broken(maker->directory);
    while ((entry = readdir(directory)))
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    rmdir(maker->directory);
}
