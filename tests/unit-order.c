/* SPDX-License-Identifier: MIT */
/*
 * unit-order.c - what a reader can see of words that are written without a lock: every order in which two threads'
 * loads and stores can take effect is tried, as processors choose it that keep stores and loads in order (x86-64), and
 * as those choose it that keep only what acquire, release and fences ask for (aarch64).
 *
 * The programs below are those of lib/shim*.c and tools/reader-copy.c, word for word: who changes one changes both.  Of
 * each there is one that lacks something, which has to be found out: so the search sees what it is there to see.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit-check.h"

enum kind { END, LOAD, STORE, FENCE_ACQUIRE, FENCE_RELEASE };
enum order { RELAXED, ACQUIRE, RELEASE };
enum { WORDS = 4, REGISTERS = 7, OPS = 16, THREADS = 2, STATES = 1 << 20 };

struct op {
    enum kind kind;
    uint8_t word;
    uint8_t value; /* that is stored, or the register that is loaded */
    enum order order;
};

struct state {
    uint16_t done[THREADS]; /* bits: which ops have taken effect */
    uint8_t word[WORDS], reg[REGISTERS];
};

struct search {
    const struct op *program[THREADS];
    uint8_t n[THREADS];
    uint16_t before[THREADS][OPS]; /* bits: ops that come first */
    void (*verdict)(const uint8_t *reg, struct search *search);
    unsigned n_ends, n_accepted, n_torn, n_half;
    unsigned n_states;
};

static struct state seen[STATES];
static bool used[STATES];

/* --- the search */
static bool is_access(const struct op *op)
{
    return op->kind == LOAD || op->kind == STORE;
}

/* Must a take effect before b, which stands behind it? */
static bool is_ordered(const struct op *a, const struct op *b, bool strong)
{
    if (is_access(a) && is_access(b)) {
        if (a->word == b->word || a->order == ACQUIRE || b->order == RELEASE)
            return true;
        return strong && !(a->kind == STORE && b->kind == LOAD);
    }
    if (a->kind == FENCE_ACQUIRE)
        return true;
    if (b->kind == FENCE_ACQUIRE)
        return a->kind != STORE;
    if (b->kind == FENCE_RELEASE)
        return true;
    return b->kind == STORE || !is_access(b); /* a is a release fence */
}

static bool is_new(struct search *search, const struct state *state)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < sizeof *state; i++)
        hash = (hash ^ ((const unsigned char *)state)[i]) * 16777619u;
    for (uint32_t at = hash % STATES;; at = (at + 1) % STATES) {
        if (!used[at]) {
            used[at] = true;
            seen[at] = *state;
            if (++search->n_states > STATES / 2)
                exit(99);
            return true;
        }
        if (!memcmp(&seen[at], state, sizeof *state))
            return false;
    }
}

static void step(struct search *search, const struct state *state)
{
    bool any = false;

    if (!is_new(search, state))
        return;
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < search->n[t]; i++) {
            const struct op *op = &search->program[t][i];
            if (state->done[t] & 1u << i || (search->before[t][i] & ~state->done[t]))
                continue;
            struct state next = *state;
            next.done[t] |= (uint16_t)(1u << i);
            if (op->kind == LOAD)
                next.reg[op->value] = state->word[op->word];
            else if (op->kind == STORE)
                next.word[op->word] = op->value;
            any = true;
            step(search, &next);
        }
    if (any)
        return;
    search->n_ends++;
    search->verdict(state->reg, search);
}

static struct search run(const struct op *writer, const struct op *reader, const uint8_t *words, bool strong,
                         void (*verdict)(const uint8_t *reg, struct search *search))
{
    struct search search = {.program = {writer, reader}, .verdict = verdict};
    struct state start;

    memset(used, 0, sizeof used);
    memset(&start, 0, sizeof start);
    memcpy(start.word, words, WORDS);
    for (int t = 0; t < THREADS; t++)
        for (int j = 0; search.program[t][j].kind != END; j++, search.n[t]++)
            for (int i = 0; i < j; i++)
                if (is_ordered(&search.program[t][i], &search.program[t][j], strong))
                    search.before[t][j] |= (uint16_t)(1u << i);
    step(&search, &start);
    CHECK(search.n_ends && search.n_accepted);
    return search;
}

/* --- an entry of the ring of changes: shim_ring_enter() and shim_ring_keep() write, read_change() reads */
enum { H, HOLDER, TIME, NUMBER, VOID = 255 };

static const struct op ring_writer[] = {
    {STORE, H, VOID, RELAXED}, {FENCE_RELEASE, 0, 0, RELAXED}, {STORE, HOLDER, 2, RELAXED},
    {STORE, TIME, 2, RELAXED}, {STORE, NUMBER, 2, RELAXED},    {STORE, H, 2, RELEASE},
    {STORE, H, VOID, RELAXED}, {FENCE_RELEASE, 0, 0, RELAXED}, {STORE, HOLDER, 3, RELAXED},
    {STORE, TIME, 3, RELAXED}, {STORE, NUMBER, 3, RELAXED},    {STORE, H, 3, RELEASE},
    {END, 0, 0, RELAXED},
};
static const struct op ring_writer_without_void[] = {{STORE, HOLDER, 2, RELAXED},
                                                     {STORE, TIME, 2, RELAXED},
                                                     {STORE, NUMBER, 2, RELAXED},
                                                     {STORE, H, 2, RELEASE},
                                                     {END, 0, 0, RELAXED}};
static const struct op ring_reader[] = {
    {LOAD, H, 0, ACQUIRE},          {LOAD, HOLDER, 1, RELAXED}, {LOAD, TIME, 2, RELAXED}, {LOAD, NUMBER, 4, RELAXED},
    {FENCE_ACQUIRE, 0, 0, RELAXED}, {LOAD, H, 3, RELAXED},      {END, 0, 0, RELAXED},
};

static void ring_verdict(const uint8_t *reg, struct search *search)
{
    if (reg[0] == VOID || reg[0] != reg[3])
        return;
    search->n_accepted++;
    search->n_torn += reg[1] != reg[0] || reg[2] != reg[0] || reg[4] != reg[0];
}

static void test_ring(void)
{
    const uint8_t words[WORDS] = {1, 1, 1, 1};

    for (int strong = 0; strong < 2; strong++) {
        CHECK_NUMBER(run(ring_writer, ring_reader, words, strong, ring_verdict).n_torn, 0);
        CHECK(run(ring_writer_without_void, ring_reader, words, strong, ring_verdict).n_torn);
    }
}

/* --- a record under its sequence counter: shim_write_begin() and shim_write_end() write, settle() reads */
enum { SEQ, A, B };

static const struct op record_writer[] = {
    {STORE, SEQ, 1, RELAXED}, {FENCE_RELEASE, 0, 0, RELAXED}, {STORE, A, 2, RELAXED},         {STORE, B, 2, RELAXED},
    {STORE, SEQ, 2, RELEASE}, {STORE, SEQ, 3, RELAXED},       {FENCE_RELEASE, 0, 0, RELAXED}, {STORE, A, 4, RELAXED},
    {STORE, B, 4, RELAXED},   {STORE, SEQ, 4, RELEASE},       {END, 0, 0, RELAXED},
};
/* Each pread() is behind a fence; what is inside one comes in any order. */
static const struct op record_reader[] = {
    {LOAD, SEQ, 0, RELAXED}, {FENCE_ACQUIRE, 0, 0, RELAXED}, {LOAD, A, 1, RELAXED},   {LOAD, SEQ, 2, RELAXED},
    {LOAD, B, 3, RELAXED},   {FENCE_ACQUIRE, 0, 0, RELAXED}, {LOAD, SEQ, 4, RELAXED}, {END, 0, 0, RELAXED},
};
/* Copies and looks at the counter in the copy. */
static const struct op record_reader_without_first[] = {
    {LOAD, A, 1, RELAXED},          {LOAD, SEQ, 2, RELAXED}, {LOAD, B, 3, RELAXED},
    {FENCE_ACQUIRE, 0, 0, RELAXED}, {LOAD, SEQ, 4, RELAXED}, {END, 0, 0, RELAXED},
};

static void record_verdict(const uint8_t *reg, struct search *search)
{
    if (reg[0] & 1 || reg[0] != reg[4])
        return;
    search->n_accepted++;
    search->n_torn += reg[1] != reg[0] || reg[3] != reg[0];
}

static void record_verdict_without_first(const uint8_t *reg, struct search *search)
{
    if (reg[2] & 1 || reg[2] != reg[4])
        return;
    search->n_accepted++;
    search->n_torn += reg[1] != reg[2] || reg[3] != reg[2];
}

static void test_record(void)
{
    const uint8_t words[WORDS] = {0};

    for (int strong = 0; strong < 2; strong++) {
        CHECK_NUMBER(run(record_writer, record_reader, words, strong, record_verdict).n_torn, 0);
        CHECK(run(record_writer, record_reader_without_first, words, strong, record_verdict_without_first).n_torn);
    }
}

/* --- H, of a holder that gives up and takes the GIL on the shortest path, which has no counter: the wrapper of
 * pthread_cond_signal() and released() write, shim_account_peek() reads.  Held from 10 to 13 and again from 20 on. */
enum { STATE, SINCE, CLOSED, TAKE, IS_HELD = 1 };

static const struct op hold_writer[] = {
    {STORE, STATE, 0, RELAXED},       {STORE, SINCE, 13, RELEASE},
    {STORE, CLOSED, 3, RELEASE},      {STORE, TAKE, 0, RELAXED},
    {STORE, STATE, IS_HELD, RELAXED}, {STORE, SINCE, 20, RELEASE},
    {STORE, TAKE, 20, RELAXED},       {END, 0, 0, RELAXED},
};
/* The sum without release: enough where stores are kept in order. */
static const struct op hold_writer_relaxed_sum[] = {
    {STORE, STATE, 0, RELAXED},       {STORE, SINCE, 13, RELEASE},
    {STORE, CLOSED, 3, RELAXED},      {STORE, TAKE, 0, RELAXED},
    {STORE, STATE, IS_HELD, RELAXED}, {STORE, SINCE, 20, RELEASE},
    {STORE, TAKE, 20, RELAXED},       {END, 0, 0, RELAXED},
};
static const struct op hold_reader[] = {
    {LOAD, TAKE, 5, ACQUIRE},   {LOAD, CLOSED, 0, ACQUIRE},     {LOAD, SINCE, 1, ACQUIRE},
    {LOAD, STATE, 2, RELAXED},  {FENCE_ACQUIRE, 0, 0, RELAXED}, {LOAD, SINCE, 3, ACQUIRE},
    {LOAD, CLOSED, 4, RELAXED}, {LOAD, TAKE, 6, RELAXED},       {END, 0, 0, RELAXED},
};

/* Of half a release or take, H would be out by this one hold or by the time behind it.  Where stores are not in order,
 * that can be seen: held_when_wanted() believes no H that grew by more than the time that has passed.  A hold that
 * counts twice, as closed and as open, is what must not be anywhere. */
static bool looks_at_take;

static void hold_verdict(const uint8_t *reg, struct search *search)
{
    bool closed = reg[0] == 3, held = reg[2] == IS_HELD;

    if (reg[1] != reg[3] || reg[0] != reg[4])
        return;
    if (looks_at_take && (reg[5] != (held ? reg[1] : 0) || reg[5] != reg[6]))
        return;
    search->n_accepted++;
    search->n_half += (!closed && !held) || (closed && held && reg[1] == 13);
    search->n_torn += closed && held && reg[1] == 10;
}

static void test_hold(void)
{
    const uint8_t words[WORDS] = {IS_HELD, 10, 0, 10};
    struct search search = run(hold_writer, hold_reader, words, true, hold_verdict);

    CHECK_NUMBER(search.n_torn, 0);
    CHECK(search.n_half);
    CHECK_NUMBER(run(hold_writer, hold_reader, words, false, hold_verdict).n_torn, 0);
    CHECK_NUMBER(run(hold_writer_relaxed_sum, hold_reader, words, true, hold_verdict).n_torn, 0);
    CHECK(run(hold_writer_relaxed_sum, hold_reader, words, false, hold_verdict).n_torn);

    looks_at_take = true;
    search = run(hold_writer, hold_reader, words, true, hold_verdict);
    CHECK(search.n_accepted);
    CHECK_NUMBER(search.n_torn, 0);
    CHECK_NUMBER(search.n_half, 0);
    CHECK_NUMBER(run(hold_writer, hold_reader, words, false, hold_verdict).n_torn, 0);
    looks_at_take = false;
}

int main(void)
{
    test_ring();
    test_record();
    test_hold();
    return check_result();
}
