/* SPDX-License-Identifier: MIT */
/*
 * mutate.c - changes recordings in ways that a reader has to fear: by their bytes, by their records, by their fields.
 */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "record.h"

#define RECORDS_MAX 256

enum kind { WORD, CELL, COUNT, TICKS, INDEX, STATE, FLAGS };

struct field {
    uint16_t type; /* enum rec_type; 0 = the header */
    uint16_t size;
    uint32_t offset, n; /* n of them, one behind the other */
    enum kind kind;
};

#define SIZE_OF(type, name) sizeof(((struct type *)0)->name)
#define FIELD(id, type, name, kind)                                                                                    \
    {                                                                                                                  \
        id, SIZE_OF(type, name), offsetof(struct type, name), 1, kind                                                  \
    }
#define FIELDS(id, type, name, kind)                                                                                   \
    {                                                                                                                  \
        id, SIZE_OF(type, name[0]), offsetof(struct type, name), SIZE_OF(type, name) / SIZE_OF(type, name[0]), kind    \
    }

/* Fields that say where, how many, how long, when and in what state: the others are found as words of a record. */
static const struct field fields[] = {
    FIELD(0, rec_header, version, COUNT),
    FIELD(0, rec_header, version_min, COUNT),
    FIELD(0, rec_header, header_bytes, COUNT),
    FIELD(0, rec_header, used_bytes, COUNT),
    FIELD(0, rec_header, clock, STATE),
    FIELD(0, rec_header, source, STATE),
    FIELD(0, rec_header, cpus, COUNT),
    FIELD(0, rec_header, complete, FLAGS),
    FIELD(0, rec_header, free_threaded, FLAGS),
    FIELD(0, rec_header, start_ticks, TICKS),
    FIELD(0, rec_header, start_mono_ns, TICKS),
    FIELD(0, rec_header, beat_ticks, TICKS),
    FIELD(0, rec_header, beat_mono_ns, TICKS),
    FIELD(0, rec_header, end_ticks, TICKS),
    FIELD(0, rec_header, start_realtime_ns, TICKS),
    FIELD(0, rec_header, n_toggles, COUNT),
    FIELDS(0, rec_header, toggle_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, index, INDEX),
    FIELD(REC_GIL, rec_gil, n_toggles, COUNT),
    FIELD(REC_GIL, rec_gil, holder, INDEX),
    FIELD(REC_GIL, rec_gil, start_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, end_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, paused_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, held_base_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, n_changes, COUNT),
    FIELD(REC_GIL, rec_gil, n_waiters, COUNT),
    FIELD(REC_GIL, rec_gil, waiters_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, waiters_at_ticks, TICKS),
    FIELD(REC_GIL, rec_gil, hold_waiters_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, index, INDEX),
    FIELD(REC_THREAD, rec_thread, gil, INDEX),
    FIELD(REC_THREAD, rec_thread, flags, FLAGS),
    FIELD(REC_THREAD, rec_thread, folded, COUNT),
    FIELD(REC_THREAD, rec_thread, state, STATE),
    FIELD(REC_THREAD, rec_thread, n_toggles, COUNT),
    FIELD(REC_THREAD, rec_thread, late, FLAGS),
    FIELD(REC_THREAD, rec_thread, row, CELL),
    FIELD(REC_THREAD, rec_thread, start_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, end_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, state_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, held_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, late_hold_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, wait_held_base_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, wait_blocked_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, wait_wakeup_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, late_wait_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, late_held_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, late_changes, COUNT),
    FIELD(REC_THREAD, rec_thread, released_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, lock_wait_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, unmeasured_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, folded_wall_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, lock_open_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, cpu_exact_held_ticks, TICKS),
    FIELD(REC_THREAD, rec_thread, cpu_mixed_ns, TICKS),
    FIELD(REC_THREAD, rec_thread, cpu_end_ns, TICKS),
    FIELDS(REC_THREAD, rec_thread, hist[0].block, CELL),
    FIELDS(REC_THREAD, rec_thread, hist[1].block, CELL),
    FIELDS(REC_THREAD, rec_thread, hist[2].block, CELL),
    FIELDS(REC_THREAD, rec_thread, hist[3].block, CELL),
    FIELD(REC_THREAD, rec_thread, hist[0].count, COUNT),
    FIELD(REC_THREAD, rec_thread, hist[1].count, COUNT),
    FIELD(REC_HIST, rec_hist_block, owner, INDEX),
    FIELD(REC_HIST, rec_hist_block, wraps, CELL),
    FIELDS(REC_HIST, rec_hist_block, count, COUNT),
    FIELD(REC_ROW, rec_row, next, CELL),
    FIELD(REC_ROW, rec_row, owner, INDEX),
    FIELDS(REC_ROW, rec_row, holder, INDEX),
    FIELDS(REC_ROW, rec_row, blocked_ticks, TICKS),
    FIELD(REC_TEXT, rec_text, kind, STATE),
    FIELD(REC_TEXT, rec_text, length, COUNT),
    FIELD(REC_STRING, rec_string, length, COUNT),
    FIELD(REC_FRAME, rec_frame, function, CELL),
    FIELD(REC_FRAME, rec_frame, file, CELL),
    FIELD(REC_FRAME, rec_frame, line, COUNT),
    FIELD(REC_OBJECT, rec_object, path, CELL),
    FIELD(REC_OBJECT, rec_object, build_id_bytes, COUNT),
    FIELD(REC_OBJECT, rec_object, start, TICKS),
    FIELD(REC_OBJECT, rec_object, end, TICKS),
    FIELD(REC_OBJECT, rec_object, bias, TICKS),
    FIELD(REC_STACK, rec_stack, thread, INDEX),
    FIELD(REC_STACK, rec_stack, n_native, COUNT),
    FIELD(REC_STACK, rec_stack, n_python, COUNT),
    FIELD(REC_STACK, rec_stack, flags, FLAGS),
    FIELDS(REC_STACK, rec_stack, weight_ticks, TICKS),
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

struct input {
    uint8_t *data;
    size_t size, max_size;
    uint64_t random;
    size_t at[RECORDS_MAX]; /* where records are */
    size_t n;
};

static uint64_t draw(struct input *input, uint64_t below)
{
    input->random ^= input->random << 13;
    input->random ^= input->random >> 7;
    input->random ^= input->random << 17;
    return below ? (input->random >> 11) % below : 0;
}

static struct rec_head head_at(const struct input *input, size_t at)
{
    struct rec_head head;

    memcpy(&head, input->data + at, sizeof head);
    return head;
}

static void find_records(struct input *input)
{
    uint32_t header_bytes = 0;

    if (input->size < sizeof(struct rec_header))
        return;
    memcpy(&header_bytes, input->data + offsetof(struct rec_header, header_bytes), sizeof header_bytes);
    for (size_t at = header_bytes - header_bytes % REC_CELL_BYTES;
         at + REC_CELL_BYTES <= input->size && input->n < RECORDS_MAX;) {
        struct rec_head head = head_at(input, at);
        bool whole = head.type && head.mark == REC_HEAD_MARK && head.size >= REC_CELL_BYTES;
        if (whole)
            input->at[input->n++] = at;
        at += whole ? head.size - head.size % REC_CELL_BYTES : REC_CELL_BYTES;
    }
}

static size_t any_record(struct input *input)
{
    return input->at[draw(input, input->n)];
}

/* The bytes of a record that are there. */
static size_t bytes_of(const struct input *input, size_t at)
{
    uint32_t size = head_at(input, at).size;

    return size < input->size - at ? size : input->size - at;
}

static uint64_t edge_value(struct input *input)
{
    static const uint64_t values[] = {0,          1,          2,         15,         16,         17,
                                      63,         64,         65,        255,        1024,       4095,
                                      4096,       65535,      65536,     0x7fffffff, 0x80000000, 0xffffffff,
                                      1ull << 32, 1ull << 53, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 15};

    return values[draw(input, sizeof values / sizeof values[0])];
}

static uint64_t value_for(struct input *input, enum kind kind, uint64_t before)
{
    if (draw(input, 4) == 0)
        return edge_value(input);
    switch (kind) {
    case CELL:
        return input->n ? any_record(input) / REC_CELL_BYTES + (draw(input, 16) ? 0 : draw(input, 4)) : 0;
    case COUNT:
        return draw(input, 2) ? before + draw(input, 33) - 16 : draw(input, 1u << draw(input, 20));
    case TICKS:
        return draw(input, 2) ? before + draw(input, 1ull << draw(input, 40)) - draw(input, 1ull << draw(input, 40))
                              : draw(input, 1ull << draw(input, 53));
    case INDEX:
        return draw(input, 8);
    case STATE:
        return draw(input, 8);
    case FLAGS:
        return before ^ 1ull << draw(input, 6);
    default:
        return draw(input, 1ull << draw(input, 53));
    }
}

static void change(struct input *input, size_t at, size_t size, enum kind kind)
{
    uint64_t value = 0;

    if (at + size > input->size)
        return;
    memcpy(&value, input->data + at, size);
    value = value_for(input, kind, value);
    memcpy(input->data + at, &value, size);
}

/* --- what is done to an input */
static void change_field(struct input *input)
{
    size_t at = input->n && draw(input, 8) ? any_record(input) : 0;
    unsigned type = at ? head_at(input, at).type : 0;
    size_t first = draw(input, N_FIELDS);

    for (size_t i = 0; i < N_FIELDS; i++) {
        const struct field *field = &fields[(first + i) % N_FIELDS];
        if (field->type != type)
            continue;
        change(input, at + field->offset + field->size * draw(input, field->n), field->size, field->kind);
        return;
    }
}

static void change_word(struct input *input)
{
    size_t at = input->n ? any_record(input) : 0, bytes = input->n ? bytes_of(input, at) : input->size;
    size_t size = draw(input, 2) ? 4 : 8;

    change(input, at + draw(input, bytes / size) * size, size, WORD);
}

static void change_head(struct input *input)
{
    struct rec_head head;
    size_t at;

    if (!input->n)
        return;
    at = any_record(input);
    head = head_at(input, at);
    switch (draw(input, 3)) {
    case 0:
        head.size = (uint32_t)(draw(input, 2) ? head.size + draw(input, 9) * 16 - 64 : edge_value(input));
        break;
    case 1:
        head.type = (uint16_t)draw(input, 12);
        break;
    default:
        head.mark = (uint16_t)(draw(input, 2) ? REC_HEAD_MARK : draw(input, 65536));
    }
    memcpy(input->data + at, &head, sizeof head);
}

static void flip_bits(struct input *input)
{
    for (uint64_t n = 1 + draw(input, 8); n && input->size; n--)
        input->data[draw(input, input->size)] ^= (uint8_t)(1u << draw(input, 8));
}

static void cut(struct input *input)
{
    size_t size = draw(input, input->size + 1);

    if (input->n && draw(input, 2))
        size = any_record(input) + draw(input, 2) * draw(input, 64);
    if (size < input->size)
        input->size = size;
}

static void set_used(struct input *input)
{
    uint64_t used = input->size;

    if (input->size >= sizeof(struct rec_header))
        memcpy(input->data + offsetof(struct rec_header, used_bytes), &used, sizeof used);
}

/* A copy of a record at the end. */
static void repeat_record(struct input *input)
{
    size_t at, bytes, end = input->size - input->size % REC_CELL_BYTES;

    if (!input->n)
        return;
    at = any_record(input);
    bytes = bytes_of(input, at);
    if (at + bytes > end || end + bytes > input->max_size)
        return;
    memmove(input->data + end, input->data + at, bytes);
    input->size = end + bytes;
    set_used(input);
}

static void remove_record(struct input *input)
{
    size_t at, bytes;

    if (!input->n)
        return;
    at = any_record(input);
    bytes = bytes_of(input, at);
    memmove(input->data + at, input->data + at + bytes, input->size - at - bytes);
    input->size -= bytes;
    set_used(input);
}

/* Bytes that no text is prepared for, in any of the texts. */
static void change_text(struct input *input)
{
    static const char *const texts[] = {"\x1b[2J",      "\xff\xfe", "\xe2\x80\xae", "</script>",
                                        "\"]}",         ";",        "\xf0\x9f\x98", "&#0;",
                                        "\xed\xa0\x80", "\n\r",     "%s%n",         "\xf4\x90\x80\x80"};
    const char *text = texts[draw(input, sizeof texts / sizeof texts[0])];
    size_t at = input->n ? any_record(input) : 0, bytes = input->n ? bytes_of(input, at) : input->size;
    size_t n = strlen(text);

    if (bytes > n + 16)
        memcpy(input->data + at + 16 + draw(input, bytes - n - 16), text, n);
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static void (*const ways[])(struct input *) = {
        change_field, change_field, change_field, change_field, change_field,  change_field,  change_word, change_word,
        change_head,  flip_bits,    cut,          set_used,     repeat_record, remove_record, change_text};
    struct input input = {.data = data, .size = size, .max_size = max_size, .random = seed * 0x9e3779b97f4a7c15u | 1};

    for (uint64_t n = 1 + draw(&input, 4); n; n--) {
        input.n = 0;
        find_records(&input);
        ways[draw(&input, sizeof ways / sizeof ways[0])](&input);
    }
    return input.size;
}
