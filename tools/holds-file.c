/* SPDX-License-Identifier: MIT */
/*
 * holds-file.c - appends records to the file, and adds to the weights of those that are there.
 */
#include "config.h"

#include "holds-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "holds-table.h"

#define CHANGED_MAX 64
#define WRITE_NS 100000000 /* weights are written after this time at the latest: to write costs as much as to look */

struct weights { /* of a stack's record, as they stand in the file */
    uint64_t ticks[REC_WEIGHTS_MAX];
    uint32_t samples[REC_WEIGHTS_MAX];
};
_Static_assert(offsetof(struct rec_stack, samples) - offsetof(struct rec_stack, weight_ticks) ==
                   offsetof(struct weights, samples),
               "one write for both");

struct stack {
    uint32_t cell;
    bool changed; /* since its weights were written */
    struct weights weights;
};

struct holds_file {
    int fd;
    bool failed; /* nothing can be written any more */
    struct rec_header header;
    struct holds_table texts, frames, stacks; /* the first two: to cells; the last: 1 + index of stack[] */
    struct stack *stack;
    size_t n_stacks, stacks_room;
    uint32_t changed[CHANGED_MAX]; /* stacks */
    size_t n_changed;
    uint64_t written_ns;
    unsigned char *buffer; /* records that are not in the file yet: they follow its used_bytes */
    size_t buffered, buffer_room;
};

static bool put(struct holds_file *f, const void *bytes, size_t n, uint64_t at)
{
    if (!f->failed && pwrite(f->fd, bytes, n, (off_t)at) != (ssize_t)n)
        f->failed = true;
    return !f->failed;
}

/* --- records ----------------------------------------------------------------------------------------------------- */
/* Room for a zeroed record behind those that wait to be written; its cell, 0 = there is none. */
static uint32_t append(struct holds_file *f, enum rec_type type, size_t bytes, void **record)
{
    uint64_t at = f->header.used_bytes + f->buffered;
    struct rec_head *head;

    bytes = (bytes + REC_CELL_BYTES - 1) / REC_CELL_BYTES * REC_CELL_BYTES;
    if (f->failed || at + bytes > HOLDS_FILE_BYTES)
        return 0;
    if (f->buffered + bytes > f->buffer_room) {
        size_t room = (f->buffered + bytes) * 2;
        unsigned char *larger = realloc(f->buffer, room);
        if (!larger)
            return 0;
        f->buffer = larger;
        f->buffer_room = room;
    }
    head = (struct rec_head *)(f->buffer + f->buffered);
    memset(head, 0, bytes);
    *head = (struct rec_head){(uint32_t)bytes, (uint16_t)type, REC_HEAD_MARK};
    *record = head;
    f->buffered += bytes;
    return (uint32_t)(at / REC_CELL_BYTES);
}

/* The records first, and then how far they go: whoever is killed in between has written nothing. */
static bool flush(struct holds_file *f)
{
    uint64_t used = f->header.used_bytes + f->buffered;

    if (!f->buffered)
        return !f->failed;
    if (!put(f, f->buffer, f->buffered, f->header.used_bytes))
        return false;
    f->header.used_bytes = f->header.reserved_bytes = used;
    f->buffered = 0;
    /* From an array: gcc 14 calls two fields that are read through the first one's address an overread. */
    const uint64_t both[] = {used, used};
    return put(f, both, sizeof both, offsetof(struct rec_header, reserved_bytes));
}
_Static_assert(offsetof(struct rec_header, used_bytes) == offsetof(struct rec_header, reserved_bytes) + 8,
               "one write for both");

static uint32_t text(struct holds_file *f, const char *bytes)
{
    size_t length = strlen(bytes);
    bool found;
    uint32_t *cell = holds_table_at(&f->texts, holds_hash(length, bytes, length), &found);
    void *record;

    if (!cell)
        return 0;
    if (!*cell && (*cell = append(f, REC_STRING, sizeof(struct rec_string) + length, &record))) {
        struct rec_string *string = record;
        string->length = (uint32_t)length;
        memcpy(string->bytes, bytes, length);
    }
    return *cell;
}

uint32_t holds_file_place(struct holds_file *f, const struct holds_place *place)
{
    uint32_t parts[] = {text(f, place->function), text(f, place->file), place->line, place->first_line}, *cell;
    bool found;
    void *record;

    if (!parts[0] || !parts[1] || !(cell = holds_table_at(&f->frames, holds_hash(0, parts, sizeof parts), &found)))
        return 0;
    if (!*cell && (*cell = append(f, REC_FRAME, sizeof(struct rec_frame), &record))) {
        struct rec_frame *frame = record;
        frame->function = parts[0];
        frame->file = parts[1];
        frame->line = parts[2];
        frame->first_line = parts[3];
    }
    return *cell;
}

void holds_file_object(struct holds_file *f, const char *path, uint64_t start, uint64_t end, uint64_t bias)
{
    uint32_t cell = text(f, path);
    void *record;

    if (!cell || !append(f, REC_OBJECT, sizeof(struct rec_object), &record))
        return;
    struct rec_object *object = record;
    object->path = cell;
    object->start = start;
    object->end = end;
    object->bias = bias;
}

void holds_file_loss(struct holds_file *f, enum rec_loss cause)
{
    f->header.losses[cause]++;
    put(f, &f->header.losses[cause], sizeof f->header.losses[cause],
        offsetof(struct rec_header, losses) + cause * sizeof f->header.losses[0]);
}

/* --- samples ----------------------------------------------------------------------------------------------------- */
static void add(struct weights *w, enum rec_weight weight, uint64_t ns)
{
    w->ticks[weight] += ns;
    w->samples[weight] += ns != 0;
}

/* A new stack's place in stack[]; NULL if there is no room. */
static struct stack *new_stack(struct holds_file *f, const struct holds_sample *s)
{
    uint32_t n_native = s->callee != 0;
    void *record;

    if (f->n_stacks == f->stacks_room) {
        size_t room = f->stacks_room ? f->stacks_room * 2 : 256;
        struct stack *larger = realloc(f->stack, room * sizeof *larger);
        if (!larger)
            return NULL;
        f->stack = larger;
        f->stacks_room = room;
    }
    uint32_t cell = append(
        f, REC_STACK, sizeof(struct rec_stack) + n_native * sizeof(uint64_t) + s->n_python * sizeof(uint32_t), &record);
    if (!cell)
        return NULL;
    struct rec_stack *stack = record;
    stack->thread = s->thread;
    stack->flags = s->flags;
    stack->n_native = n_native;
    stack->n_python = s->n_python;
    if (n_native)
        stack->native[0] = s->callee;
    memcpy(stack->native + n_native, s->python, s->n_python * sizeof *s->python);
    f->stack[f->n_stacks] = (struct stack){.cell = cell};
    return &f->stack[f->n_stacks++];
}

static void write_weights(struct holds_file *f, uint64_t now_ns)
{
    for (size_t i = 0; i < f->n_changed; i++) {
        struct stack *stack = &f->stack[f->changed[i]];
        put(f, &stack->weights, sizeof stack->weights,
            (uint64_t)stack->cell * REC_CELL_BYTES + offsetof(struct rec_stack, weight_ticks));
        stack->changed = false;
    }
    f->n_changed = 0;
    f->written_ns = now_ns;
}

void holds_file_add(struct holds_file *f, const struct holds_sample *s, uint64_t now_ns)
{
    uint64_t hash = holds_hash(s->callee, s->python, s->n_python * sizeof *s->python);
    uint32_t parts[] = {s->thread, s->flags}, *number;
    struct stack *stack = NULL;
    bool found;

    number = holds_table_at(&f->stacks, holds_hash(hash, parts, sizeof parts), &found);
    if (number && *number)
        stack = &f->stack[*number - 1];
    else if (number && (stack = new_stack(f, s)))
        *number = (uint32_t)f->n_stacks;
    if (!stack || !flush(f)) {
        holds_file_loss(f, REC_LOSS_STACKS);
        return;
    }
    add(&stack->weights, REC_WEIGHT_HELD, s->held_ns);
    add(&stack->weights, REC_WEIGHT_CHARGED, s->charged_ns);
    uint64_t call_us = s->call_ns / 1000 < UINT32_MAX ? s->call_ns / 1000 : UINT32_MAX;
    if (call_us > stack->weights.samples[REC_STACK_LONGEST_CALL])
        stack->weights.samples[REC_STACK_LONGEST_CALL] = (uint32_t)call_us;
    if (!stack->changed)
        f->changed[f->n_changed++] = (uint32_t)(stack - f->stack);
    stack->changed = true;
    if (f->n_changed == CHANGED_MAX || now_ns - f->written_ns > WRITE_NS)
        write_weights(f, now_ns);
}

/* --- the file ---------------------------------------------------------------------------------------------------- */
static void fill_header(struct rec_header *h, const struct rec_header *of)
{
    *h = *of;
    memcpy(h->magic, REC_MAGIC, sizeof h->magic);
    h->version = REC_VERSION;
    h->version_min = REC_VERSION_MIN;
    h->header_bytes = REC_HEADER_BYTES;
    h->source = REC_SOURCE_HOLDS;
    h->used_bytes = h->reserved_bytes = REC_HEADER_BYTES;
    h->clock = REC_CLOCK_MONOTONIC;
    h->complete = h->n_threads = h->n_toggles = h->beat_seq = 0;
    memset(h->tool_version, 0, sizeof h->tool_version);
    snprintf(h->tool_version, sizeof h->tool_version, "%s", PACKAGE_VERSION);
    h->start_mono_ns = h->beat_mono_ns = (int64_t)clock_ns(CLOCK_MONOTONIC);
    h->start_ticks = h->beat_ticks = (uint64_t)h->start_mono_ns;
    h->end_ticks = 0;
    memset(h->losses, 0, sizeof h->losses);
    memset(h->toggle_ticks, 0, sizeof h->toggle_ticks);
}

struct holds_file *holds_file_new(int directory, const char *name, const struct rec_header *of)
{
    static const char zeros[REC_HEADER_BYTES];
    struct holds_file *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    fill_header(&f->header, of);
    f->fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->fd < 0) {
        free(f);
        return NULL;
    }
    if (put(f, zeros, sizeof zeros, 0) && put(f, &f->header, sizeof f->header, 0))
        return f;
    unlinkat(directory, name, 0);
    close(f->fd);
    free(f);
    return NULL;
}

void holds_file_close(struct holds_file *f, uint64_t now_ns)
{
    if (!f)
        return;
    write_weights(f, now_ns);
    f->header.beat_ticks = f->header.end_ticks = now_ns;
    f->header.beat_mono_ns = (int64_t)now_ns;
    f->header.complete = 1;
    put(f, &f->header, sizeof f->header, 0);
    close(f->fd);
    holds_table_clear(&f->texts);
    holds_table_clear(&f->frames);
    holds_table_clear(&f->stacks);
    free(f->stack);
    free(f->buffer);
    free(f);
}
