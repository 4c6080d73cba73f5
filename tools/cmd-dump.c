/* SPDX-License-Identifier: MIT */
/*
 * cmd-dump.c - `gilscope dump`: prints every record of a recording as it is, for those who look for an error in it.
 */
#include <argp.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "hist.h"
#include "msg.h"
#include "reader.h"

enum kind { UNSIGNED, SIGNED, TEXT };

struct field {
    const char *name;
    size_t offset, size;
    enum kind kind;
};

#define FIELD(type, name)                                                                                              \
    {                                                                                                                  \
#name, offsetof(struct type, name), sizeof(((struct type *)0)->name), UNSIGNED                                 \
    }
#define SIGNED_FIELD(type, name)                                                                                       \
    {                                                                                                                  \
#name, offsetof(struct type, name), sizeof(((struct type *)0)->name), SIGNED                                   \
    }
#define TEXT_FIELD(type, name)                                                                                         \
    {                                                                                                                  \
#name, offsetof(struct type, name), sizeof(((struct type *)0)->name), TEXT                                     \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, 0, 0, UNSIGNED                                                                                           \
    }

static const struct field header_fields[] = {
    FIELD(rec_header, version),
    FIELD(rec_header, version_min),
    FIELD(rec_header, header_bytes),
    FIELD(rec_header, source),
    FIELD(rec_header, reserved_bytes),
    FIELD(rec_header, used_bytes),
    FIELD(rec_header, clock),
    FIELD(rec_header, pid),
    FIELD(rec_header, ppid),
    FIELD(rec_header, cpus),
    FIELD(rec_header, cpu_limit_milli),
    FIELD(rec_header, stopped_ns),
    FIELD(rec_header, seen_ticks),
    FIELD(rec_header, seen_cpu_ns),
    FIELD(rec_header, end_status),
    FIELD(rec_header, complete),
    FIELD(rec_header, free_threaded),
    FIELD(rec_header, python_hex),
    FIELD(rec_header, n_threads),
    TEXT_FIELD(rec_header, python_version),
    TEXT_FIELD(rec_header, host),
    TEXT_FIELD(rec_header, tool_version),
    TEXT_FIELD(rec_header, boot_id),
    FIELD(rec_header, proc_start_jiffies),
    SIGNED_FIELD(rec_header, start_realtime_ns),
    FIELD(rec_header, start_ticks),
    SIGNED_FIELD(rec_header, start_mono_ns),
    FIELD(rec_header, beat_seq),
    FIELD(rec_header, beat_ticks),
    SIGNED_FIELD(rec_header, beat_mono_ns),
    FIELD(rec_header, end_ticks),
    FIELD(rec_header, n_toggles),
    FIELD(rec_header, first_ticks),
    SIGNED_FIELD(rec_header, first_mono_ns),
    FIELD(rec_header, rate_ticks),
    SIGNED_FIELD(rec_header, rate_mono_ns),
    END,
};

static const struct field thread_fields[] = {
    FIELD(rec_thread, seq),
    FIELD(rec_thread, index),
    FIELD(rec_thread, tid),
    FIELD(rec_thread, flags),
    FIELD(rec_thread, pthread_id),
    TEXT_FIELD(rec_thread, name),
    FIELD(rec_thread, name_source),
    FIELD(rec_thread, gil),
    FIELD(rec_thread, start_ticks),
    FIELD(rec_thread, end_ticks),
    FIELD(rec_thread, state),
    FIELD(rec_thread, n_toggles),
    FIELD(rec_thread, state_ticks),
    FIELD(rec_thread, wait_held_base_ticks),
    FIELD(rec_thread, held_ticks),
    FIELD(rec_thread, late_hold_ticks),
    FIELD(rec_thread, released_ticks),
    FIELD(rec_thread, wait_blocked_ticks),
    FIELD(rec_thread, wait_wakeup_ticks),
    FIELD(rec_thread, wait_forced_ticks),
    FIELD(rec_thread, lock_wait_ticks),
    FIELD(rec_thread, notify_wait_ticks),
    FIELD(rec_thread, gil_lock_wait_ticks),
    FIELD(rec_thread, charged_ticks),
    FIELD(rec_thread, charged_late_ticks),
    FIELD(rec_thread, cpu_last_ns),
    FIELD(rec_thread, cpu_base_held_ticks),
    FIELD(rec_thread, cpu_base_released_ticks),
    FIELD(rec_thread, cpu_exact_held_ns),
    FIELD(rec_thread, cpu_exact_held_ticks),
    FIELD(rec_thread, cpu_exact_released_ns),
    FIELD(rec_thread, cpu_exact_released_ticks),
    FIELD(rec_thread, cpu_mixed_ns),
    FIELD(rec_thread, cpu_mixed_held_ticks),
    FIELD(rec_thread, cpu_mixed_released_ticks),
    FIELD(rec_thread, cpu_end_ns),
    FIELD(rec_thread, run_delay_ns),
    FIELD(rec_thread, seen_index),
    FIELD(rec_thread, seen_ticks),
    FIELD(rec_thread, seen_cpu_ns),
    FIELD(rec_thread, seen_run_delay_ns),
    FIELD(rec_thread, gil_counted),
    FIELD(rec_thread, gil_contended),
    FIELD(rec_thread, gil_blocked_ticks),
    FIELD(rec_thread, gil_wakeup_ticks),
    FIELD(rec_thread, contended),
    FIELD(rec_thread, lost_wakeups),
    FIELD(rec_thread, drop_requests),
    FIELD(rec_thread, forced_switches),
    FIELD(rec_thread, forced_max_ticks),
    FIELD(rec_thread, folded),
    FIELD(rec_thread, folded_wall_ticks),
    FIELD(rec_thread, row),
    FIELD(rec_thread, row_other_ticks),
    FIELD(rec_thread, lock_open_ticks),
    FIELD(rec_thread, lock_open_notify),
    FIELD(rec_thread, error_ppm),
    FIELD(rec_thread, late),
    FIELD(rec_thread, late_wait_ticks),
    FIELD(rec_thread, late_held_ticks),
    FIELD(rec_thread, late_changes),
    FIELD(rec_thread, late_seen_ticks),
    FIELD(rec_thread, unmeasured_ticks),
    FIELD(rec_thread, paused_ticks),
    FIELD(rec_thread, want_ticks),
    FIELD(rec_thread, tstate),
    FIELD(rec_thread, cpu_inferred_ns),
    END,
};

static const struct field gil_fields[] = {
    FIELD(rec_gil, seq),
    FIELD(rec_gil, index),
    FIELD(rec_gil, address),
    FIELD(rec_gil, start_ticks),
    FIELD(rec_gil, end_ticks),
    FIELD(rec_gil, interval_us),
    FIELD(rec_gil, holder),
    FIELD(rec_gil, held_base_ticks),
    FIELD(rec_gil, n_waiters),
    FIELD(rec_gil, n_toggles),
    FIELD(rec_gil, waiters_ticks),
    FIELD(rec_gil, waiters_at_ticks),
    FIELD(rec_gil, hold_waiters_ticks),
    FIELD(rec_gil, wait_blocked_ticks),
    FIELD(rec_gil, wait_wakeup_ticks),
    FIELD(rec_gil, wait_forced_ticks),
    FIELD(rec_gil, acquisitions),
    FIELD(rec_gil, contended),
    FIELD(rec_gil, drop_requests),
    FIELD(rec_gil, forced_switches),
    FIELD(rec_gil, lost_wakeups),
    FIELD(rec_gil, paused_ticks),
    FIELD(rec_gil, n_changes),
    FIELD(rec_gil, unseen),
    FIELD(rec_gil, known_toggles),
    FIELD(rec_gil, unknown_since_ticks),
    FIELD(rec_gil, start_paused_ticks),
    FIELD(rec_gil, unknown_tstate),
    FIELD(rec_gil, has_turn),
    FIELD(rec_gil, turn.take_ticks),
    FIELD(rec_gil, turn.last_take_ticks),
    FIELD(rec_gil, turn.last_release_ticks),
    FIELD(rec_gil, turn.closed_ticks),
    FIELD(rec_gil, turn.holder_cell),
    END,
};

/* Bytes that are no printable ASCII are written as \xNN, so that the output is one line and harmless. */
static void print_text(const char *text, size_t size)
{
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_field(const struct field *field, const void *record)
{
    const char *at = (const char *)record + field->offset;
    uint16_t two;
    uint32_t four;
    uint64_t eight;

    printf("  %s ", field->name);
    if (field->kind == TEXT) {
        print_text(at, strnlen(at, field->size));
    } else if (field->size == sizeof two) {
        memcpy(&two, at, sizeof two);
        printf("%u", two);
    } else if (field->size == sizeof four) {
        memcpy(&four, at, sizeof four);
        printf("%" PRIu32, four);
    } else {
        memcpy(&eight, at, sizeof eight);
        if (field->kind == SIGNED)
            printf("%" PRId64, (int64_t)eight);
        else
            printf("%" PRIu64, eight);
    }
    putchar('\n');
}

static void print_fields(const struct field *fields, const void *record)
{
    for (; fields->name; fields++)
        print_field(fields, record);
}

static void print_header(const struct reader_file *file)
{
    static const char *const loss_names[] = REC_LOSS_NAMES;
    const struct rec_header *header = &file->header;
    uint32_t n = header->n_toggles;

    printf("header\n");
    print_fields(header_fields, header);
    for (uint32_t i = 0; i < REC_LOSS_MAX; i++)
        if (header->losses[i])
            printf("  losses[%s] %" PRIu64 "\n", i < REC_LOSS_N ? loss_names[i] : "unknown", header->losses[i]);
    for (uint32_t i = n > REC_TOGGLES ? n - REC_TOGGLES : 0; i < n; i++)
        printf("  toggle_ticks[%" PRIu32 "] %" PRIu64 "  (%s, after pauses of %" PRIu64 ")\n", i,
               header->toggle_ticks[i % REC_TOGGLES], i % 2 ? "resumed" : "paused",
               header->toggle_paused_ticks[i % REC_TOGGLES]);
}

static void print_hists(const struct reader_file *file, const struct rec_thread *thread)
{
    static const char *const kinds[REC_HIST_KINDS] = {"wait", "hold", "lock", "released"};

    for (uint32_t kind = 0; kind < REC_HIST_KINDS; kind++) {
        const struct rec_hist *hist = &thread->hist[kind];
        printf("  hist[%s] count %" PRIu64 " sum_ticks %" PRIu64 " max_ticks %" PRIu64 "\n", kinds[kind], hist->count,
               hist->sum_ticks, hist->max_ticks);
        for (uint32_t octave = 0; octave < REC_HIST_OCTAVES; octave++) {
            const struct rec_hist_block *block = reader_hist_block(file, thread, kind, octave);
            if (hist->block[octave] && !block)
                printf("    octave %" PRIu32 ": cell %" PRIu32 " is no block of this thread\n", octave,
                       hist->block[octave]);
            for (uint32_t sub = 0; block && sub < REC_HIST_SUBS; sub++)
                if (reader_hist_count(file, block, sub))
                    printf("    from %" PRIu64 " ticks, %" PRIu64 " wide: %" PRIu64 "\n", hist_low(octave, sub),
                           hist_width(octave), reader_hist_count(file, block, sub));
        }
    }
}

static void print_row(const struct reader_file *file, const struct rec_thread *thread)
{
    const struct rec_row *row = NULL;
    size_t n_steps = 0;

    while ((row = reader_row(file, thread, row, &n_steps)))
        for (int i = 0; i < REC_ROW_ENTRIES; i++)
            if (row->holder[i])
                printf("  blocked by thread %" PRIu32 ": blocked_ticks %" PRIu64 "\n", row->holder[i],
                       row->blocked_ticks[i]);
}

static void print_ring(const struct rec_gil *gil)
{
    uint64_t n = gil->n_changes;

    for (uint64_t i = n > REC_RING ? n - REC_RING : 0; i < n; i++)
        printf("  ring[%" PRIu64 "] holder %" PRIu32 " held_base_ticks %" PRIu64 "\n", i,
               gil->ring[i % REC_RING].holder, gil->ring[i % REC_RING].held_base_ticks);
}

static void print_record(const struct reader_file *file, const struct reader_record *record, size_t seen[])
{
    static const char *const names[] = {"", "gil", "thread", "hist", "row", "text"};
    uint16_t type = record->type;
    bool known = type < sizeof names / sizeof names[0];

    printf("record %s at %zu, %u bytes", known ? names[type] : "of an unknown type", record->offset, record->size);
    printf(known ? "\n" : " (%u)\n", type);
    if (type == REC_GIL && seen[type] < file->n_gils) {
        const struct rec_gil *gil = &file->gils[seen[type]++];
        print_fields(gil_fields, gil);
        print_ring(gil);
    } else if (type == REC_THREAD && seen[type] < file->n_threads) {
        const struct rec_thread *thread = &file->threads[seen[type]++];
        print_fields(thread_fields, thread);
        print_hists(file, thread);
        print_row(file, thread);
    } else if (type == REC_TEXT && seen[type] < file->n_texts) {
        const struct reader_text *text = &file->texts[seen[type]++];
        printf("  kind %" PRIu32 "\n  bytes ", text->kind);
        print_text(text->bytes, text->length);
        putchar('\n');
    }
}

static bool dump_file(const char *path)
{
    struct reader_record record = {.offset = 0};
    size_t seen[REC_TEXT + 1] = {0};
    char error[READER_ERROR_BYTES];
    struct reader_file *file = reader_open(path, error);

    if (!file) {
        msg_error("%s", error);
        return false;
    }
    printf("file ");
    print_text(path, strlen(path));
    printf("\n# _ticks: ticks of header.clock (1 CLOCK_MONOTONIC in ns, 2 TSC, 3 CNTVCT); _ns, _us: that unit; "
           "others: numbers\n");
    print_header(file);
    while (reader_next(file, &record))
        print_record(file, &record, seen);
    if (file->truncated)
        printf("truncated: the file has %zu bytes, %" PRIu64 " are used\n", file->n_bytes, file->header.used_bytes);
    if (file->damaged_bytes)
        printf("damaged: %" PRIu64 " bytes belong to no record\n", file->damaged_bytes);
    putchar('\n');
    reader_close(file);
    return true;
}

struct dump_args {
    char **names;
    int n_names;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct dump_args *args = state->input;

    (void)text;
    if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "no recording given");
    if (key != ARGP_KEY_ARGS)
        return key == ARGP_KEY_NO_ARGS ? 0 : ARGP_ERR_UNKNOWN;
    args->names = state->argv + state->next;
    args->n_names = state->argc - state->next;
    return 0;
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "RECORDING...",
    .doc = "Print the raw contents of recordings, record by record, as gilscope-recording(5) describes them.\v"
           "Exits with 0, or 1 if something could not be read.",
};

int cmd_dump(int argc, char **argv)
{
    struct dump_args args = {.n_names = 0};
    struct reader_paths paths = {.n = 0};
    char error[READER_ERROR_BYTES];
    int status = CMD_OK;

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    for (int i = 0; i < args.n_names; i++) {
        if (!reader_find(args.names[i], &paths, error)) {
            msg_error("%s", error);
            status = CMD_FAILED;
        }
    }
    for (size_t i = 0; i < paths.n; i++)
        if (!dump_file(paths.path[i]))
            status = CMD_FAILED;
    reader_paths_free(&paths);
    return status;
}
