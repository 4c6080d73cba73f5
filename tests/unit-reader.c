/* SPDX-License-Identifier: MIT */
/*
 * unit-reader.c - whatever is in a file, the reader says in one line what is wrong with it, or gives what can be
 * walked.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hist.h"
#include "reader.h"
#include "unit-check.h"
#include "unit-maker.h"
#include "view.h"

static struct maker maker;

/* A recording with one of everything. */
static void make_all(void)
{
    struct rec_thread *thread, *other;
    struct rec_gil *gil;

    maker_begin(&maker);
    maker_text(&maker, REC_TEXT_COMMAND, "python3\0app.py", 14);
    gil = maker_gil(&maker, 0);
    thread = maker_thread(&maker, 1, "one");
    other = maker_thread(&maker, 2, "two");
    gil->n_changes = 3;
    gil->holder = 1;
    gil->ring[0].holder = gil->ring[2].holder = 1;
    gil->ring[1].holder = 2;
    thread->state = REC_STATE_HELD;
    other->state = REC_STATE_WAITING;
    maker_hist(&maker, thread, REC_HIST_HOLD, 1000, 5);
    maker_hist(&maker, other, REC_HIST_WAIT, 5000, 4);
    maker_row(&maker, other, 1, 7000);
    maker_row(&maker, other, 1, 5000);
}

static void check_refused(const char *path, const char *expected)
{
    char error[READER_ERROR_BYTES] = "";
    struct reader_file *file = reader_open(path, error);

    CHECK(!file);
    CHECK(strstr(error, expected) && strstr(error, path) && !strchr(error, '\n'));
    if (!strstr(error, expected))
        fprintf(stderr, "  got: %s\n", error);
    reader_close(file);
}

static void test_what_is_no_recording_is_refused(void)
{
    size_t n;

    make_all();
    n = maker.header->used_bytes;
    check_refused("/no/such/file.gil", "cannot open '/no/such/file.gil': No such file or directory");
    check_refused(maker_write(&maker, "empty.gil", 0), "not a recording");
    check_refused(maker_write(&maker, "short.gil", 100), "within its header");
    check_refused(maker.directory, "not a regular file");
    maker.header->endian = 0x04030201;
    check_refused(maker_write(&maker, "endian.gil", n), "other byte order");
    maker.header->endian = REC_ENDIAN;
    maker.header->version = maker.header->version_min = REC_VERSION + 1;
    check_refused(maker_write(&maker, "newer.gil", n), "use a newer one");
    maker.header->version = maker.header->version_min = REC_VERSION_MIN - 1;
    check_refused(maker_write(&maker, "older.gil", n), "use an older one");
    maker.header->version = maker.header->version_min = REC_VERSION;
    maker.header->header_bytes = 4097;
    check_refused(maker_write(&maker, "header.gil", n), "damaged");
    memcpy(maker.bytes, "#!/usr/bin", 10);
    check_refused(maker_write(&maker, "script.gil", n), "not a recording");
    maker_end(&maker);
}

static void test_a_fifo_does_not_block(void)
{
    char path[512];

    maker_begin(&maker);
    snprintf(path, sizeof path, "%s/fifo.gil", maker.directory);
    CHECK(!mkfifo(path, 0600));
    check_refused(path, "not a regular file");
    maker_end(&maker);
}

static struct reader_file *open_made(size_t n_bytes)
{
    char error[READER_ERROR_BYTES];
    struct reader_file *file = reader_open(maker_write(&maker, "made.gil", n_bytes), error);

    if (!file) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    return file;
}

static void test_everything_is_found(void)
{
    size_t n_steps = 0;

    make_all();
    struct reader_file *file = open_made(maker.header->used_bytes);
    CHECK_NUMBER(file->n_gils, 1);
    CHECK_NUMBER(file->n_threads, 2);
    CHECK_NUMBER(file->n_texts, 1);
    CHECK_NUMBER(file->damaged_bytes, 0);
    CHECK(!file->truncated);
    CHECK_NUMBER(reader_text(file, REC_TEXT_COMMAND)->length, 14);
    CHECK(!reader_text(file, REC_TEXT_INERT));
    struct hist_place place = hist_place(5000);
    CHECK_NUMBER(reader_hist_block(file, &file->threads[1], REC_HIST_WAIT, place.octave)->count[place.sub], 4);
    const struct rec_row *row = reader_row(file, &file->threads[1], NULL, &n_steps);
    CHECK_NUMBER(row->blocked_ticks[0], 5000);
    row = reader_row(file, &file->threads[1], row, &n_steps);
    CHECK_NUMBER(row->blocked_ticks[0], 7000);
    CHECK(!reader_row(file, &file->threads[1], row, &n_steps));
    reader_close(file);
    maker_end(&maker);
}

static void test_holes_and_unknown_records_are_skipped(void)
{
    struct rec_head *unfinished;

    maker_begin(&maker);
    maker_thread(&maker, 1, "before");
    unfinished = maker_record(&maker, 4096, REC_THREAD);
    unfinished->type = 0; /* its writer was killed */
    maker_record(&maker, 512, 999);
    maker_thread(&maker, 2, "after");
    struct reader_file *file = open_made(maker.header->used_bytes);
    CHECK_NUMBER(file->n_threads, 2);
    CHECK_NUMBER(file->threads[1].index, 2);
    CHECK_NUMBER(file->damaged_bytes, 0);
    reader_close(file);
    maker_end(&maker);
}

static void test_a_file_that_was_cut_is_read_as_far_as_it_goes(void)
{
    struct rec_thread *last;

    maker_begin(&maker);
    maker_thread(&maker, 1, "whole");
    last = maker_thread(&maker, 2, "cut");
    struct reader_file *file = open_made((size_t)((unsigned char *)last - maker.bytes) + 100);
    CHECK(file->truncated);
    CHECK_NUMBER(file->n_threads, 1);
    reader_close(file);
    maker.header->used_bytes = UINT64_MAX; /* and no size is believed */
    file = open_made(MAKER_BYTES);
    CHECK(file->truncated);
    CHECK_NUMBER(file->n_threads, 2);
    CHECK(file->n_bytes <= MAKER_BYTES);
    reader_close(file);
    maker_end(&maker);
}

static void test_a_smaller_record_has_zeros_at_its_end(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    thread = maker_thread(&maker, 1, "small");
    thread->head.size = 1024; /* of an older version */
    thread->lock_open_ticks = 77;
    struct reader_file *file = open_made(maker.header->used_bytes);
    CHECK_NUMBER(file->n_threads, 1);
    CHECK_TEXT(file->threads[0].name, "small");
    CHECK_NUMBER(file->threads[0].lock_open_ticks, 0);
    reader_close(file);
    maker_end(&maker);
}

static void test_references_are_checked(void)
{
    struct rec_thread *thread, *other;
    struct rec_row *row;
    size_t n_steps = 0, n = 0;

    maker_begin(&maker);
    thread = maker_thread(&maker, 1, "one");
    other = maker_thread(&maker, 2, "two");
    maker_hist(&maker, thread, REC_HIST_WAIT, 5000, 1);
    uint32_t octave = hist_place(5000).octave;
    other->hist[REC_HIST_WAIT].block[octave] = thread->hist[REC_HIST_WAIT].block[octave]; /* not its own */
    thread->hist[REC_HIST_HOLD].block[0] = UINT32_MAX;                                    /* outside */
    thread->hist[REC_HIST_HOLD].block[1] = maker_cell(&maker, other);                     /* something else */
    thread->hist[REC_HIST_HOLD].block[2] = 1;                                             /* in the header */
    maker_row(&maker, thread, 2, 1000);
    row = (struct rec_row *)(maker.bytes + (size_t)thread->row * REC_CELL_BYTES);
    row->next = thread->row; /* bites its tail */
    struct reader_file *file = open_made(maker.header->used_bytes);
    CHECK(reader_hist_block(file, &file->threads[0], REC_HIST_WAIT, octave));
    CHECK(!reader_hist_block(file, &file->threads[1], REC_HIST_WAIT, octave));
    for (uint32_t i = 0; i < 3; i++)
        CHECK(!reader_hist_block(file, &file->threads[0], REC_HIST_HOLD, i));
    for (const struct rec_row *r = NULL; (r = reader_row(file, &file->threads[0], r, &n_steps));)
        n++;
    CHECK(n >= 1 && n < 10000);
    reader_close(file);
    maker_end(&maker);
}

static void test_a_name_without_an_end(void)
{
    struct rec_thread *thread;

    maker_begin(&maker);
    thread = maker_thread(&maker, 1, "");
    memset(thread->name, 'x', sizeof thread->name);
    memset(maker.header->host, 'h', sizeof maker.header->host);
    struct reader_file *file = open_made(maker.header->used_bytes);
    CHECK_NUMBER(strlen(file->threads[0].name), sizeof thread->name - 1);
    CHECK_NUMBER(strlen(file->header.host), sizeof maker.header->host - 1);
    reader_close(file);
    maker_end(&maker);
}

/* Writes a report of what is in the directory to nowhere. */
static size_t report(const struct view *view)
{
    struct view_options options = {.columns = 80, .utf8 = true};
    char *names[] = {maker.directory}, *text;
    struct model model;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    model_load(&model, names, 1);
    view->render(&model, &options, out);
    fclose(out);
    free(text);
    model_free(&model);
    return size;
}

/* Random damage: the sanitizers see what goes wrong; without them at least nothing crashes or hangs. */
static void test_damage_does_no_harm(void)
{
    static unsigned char whole[MAKER_BYTES];
    const char *rounds = getenv("UNIT_FUZZ_ROUNDS");
    int n_rounds = rounds ? atoi(rounds) : 400;
    size_t n;

    make_all();
    n = maker.header->used_bytes;
    memcpy(whole, maker.bytes, n);
    srand(2718);
    for (int round = 0; round < n_rounds; round++) {
        static const uint32_t nasty[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x67520002};
        memcpy(maker.bytes, whole, n);
        for (int i = rand() % 20; i >= 0; i--) {
            size_t at = sizeof maker.header->magic + (size_t)rand() % (n - 16);
            uint32_t word = rand() % 2 ? nasty[rand() % 6] : (uint32_t)rand();
            memcpy(maker.bytes + at / 4 * 4, &word, sizeof word);
        }
        maker_write(&maker, "made.gil", round % 5 ? n : (size_t)rand() % n);
        CHECK(report(&view_json) > 0);
        report(&view_text);
    }
    maker_end(&maker);
}

int main(void)
{
    test_what_is_no_recording_is_refused();
    test_a_fifo_does_not_block();
    test_everything_is_found();
    test_holes_and_unknown_records_are_skipped();
    test_a_file_that_was_cut_is_read_as_far_as_it_goes();
    test_a_smaller_record_has_zeros_at_its_end();
    test_references_are_checked();
    test_a_name_without_an_end();
    test_damage_does_no_harm();
    return check_result();
}
