/* SPDX-License-Identifier: MIT */
/*
 * unit-pause.c - what the accounts say, in whatever order threads meet and measuring is paused and resumed: all orders
 * of a few threads that take and drop the GIL are tried in which up to so many of their turns are cut short, anywhere
 * between two looks at what others write, or at the clock (tests/order/).  After each, every hold is charged with what
 * others waited for it, and held and waited is what was, but for what was paused.
 *
 *   unit-pause [CUTS SCRIPT...]      searches more
 */
#include <stdlib.h>
#include <string.h>

#include "order/order.h"
#include "unit-check.h"

enum { DEPTH = 4096, SLACK_TICKS = 60 /* between an event and the reading of the clock for it */ };

/* A way through the tree of choices: where there were several, which one of how many. */
struct search {
    struct {
        unsigned char choice, n;
    } way[DEPTH];
    unsigned depth, at;  /* known, and come to in this run */
    unsigned cuts, left; /* that are allowed in a run */
};

static unsigned choose(void *with, const struct order_point *point)
{
    struct search *search = with;
    unsigned n = 0, n_awake = 0, list[ORDER_THREADS], last = point->running;
    bool keeps = point->can[last] && !point->asleep[last];

    for (unsigned i = 0; i < point->n_threads; i++)
        n_awake += point->can[i] && !point->asleep[i];
    if (keeps)
        list[n++] = last;
    /* Others are free to go on where this one lets them; where its turn is cut short, and where somebody's time is up
     * before all else has been done, that is one of the cuts. */
    for (unsigned i = 0; i < point->n_threads; i++) {
        bool cut = (keeps && !point->of_its_own_accord) || (n_awake && point->asleep[i]);
        if (point->can[i] && !(keeps && i == last) && (!cut || search->left))
            list[n++] = i;
    }
    if (n == 0)
        return ORDER_NONE;
    unsigned chosen = 0;
    if (n > 1) {
        if (search->at == DEPTH)
            exit(99);
        if (search->at == search->depth) {
            search->way[search->depth].choice = 0;
            search->way[search->depth++].n = (unsigned char)n;
        }
        chosen = search->way[search->at++].choice;
    }
    unsigned next = list[chosen];
    if ((next != last && keeps && !point->of_its_own_accord) || (n_awake && point->asleep[next]))
        search->left--;
    return next;
}

/* The next way that has not been gone yet; false: there is none. */
static bool next_way(struct search *search)
{
    while (search->depth && search->way[search->depth - 1].choice + 1 == search->way[search->depth - 1].n)
        search->depth--;
    if (!search->depth)
        return false;
    search->way[search->depth - 1].choice++;
    return true;
}

static bool is_between(uint64_t value, uint64_t least, uint64_t most)
{
    return value + SLACK_TICKS >= least && value <= most + SLACK_TICKS;
}

static const char *what_is_wrong(const struct order_account *accounts)
{
    uint64_t charged = 0, blocked = 0;

    for (int i = 0; i < ORDER_THREADS; i++) {
        const struct order_account *a = &accounts[i];
        charged += a->charged;
        blocked += a->blocked;
        if (a->row != a->blocked)
            return "a row is not what its thread was blocked";
        /* Who gives a wait up behind a holder that nobody knows yet cannot say whom it waited for. */
        if (a->charged != a->column && !order_loss(REC_LOSS_PAIRS))
            return "charged is not what others waited for";
        if (a->index && !is_between(a->held, a->least_held, a->most_held))
            return "held is not what was held";
        if (a->index && !is_between(a->blocked + a->wakeup, a->least_waited, a->most_waited))
            return "waited is not what was waited";
    }
    if (charged != blocked)
        return "charged is not blocked";
    if (order_n_waiters())
        return "somebody waits for ever";
    return order_loss(REC_LOSS_UNEXPLAINED) ? "something is unexplained" : NULL;
}

static void tell(const char *wrong, const struct search *search, const struct order_account *accounts)
{
    fprintf(stderr, "%s, after the choices", wrong);
    for (unsigned i = 0; i < search->at; i++)
        fprintf(stderr, " %u", search->way[i].choice);
    fprintf(stderr, "\n");
    for (int i = 0; i < ORDER_THREADS; i++) {
        const struct order_account *a = &accounts[i];
        if (a->index || a->column)
            fprintf(stderr,
                    "  thread %" PRIu32 ": charged %" PRIu64 ", column %" PRIu64 ", row %" PRIu64 ", blocked %" PRIu64
                    ", wake-up %" PRIu64 " (%" PRIu64 " to %" PRIu64 "), held %" PRIu64 " (%" PRIu64 " to %" PRIu64
                    ")\n",
                    a->index, a->charged, a->column, a->row, a->blocked, a->wakeup, a->least_waited, a->most_waited,
                    a->held, a->least_held, a->most_held);
    }
}

/* All orders of these threads in which up to `cuts` turns are cut short; how many there are. */
static unsigned try_all(unsigned cuts, const char *const *scripts)
{
    static struct search search;
    unsigned n_runs = 0, n_wrong = 0;
    uint64_t blocked = 0;

    memset(&search, 0, sizeof search);
    search.cuts = cuts;
    do {
        struct order_account accounts[ORDER_THREADS];
        search.at = 0;
        search.left = search.cuts;
        order_run(scripts, choose, &search);
        order_accounts(accounts);
        const char *wrong = what_is_wrong(accounts);
        if (wrong && n_wrong++ < 3)
            tell(wrong, &search, accounts);
        for (int i = 0; i < ORDER_THREADS; i++)
            blocked += accounts[i].blocked;
        n_runs++;
    } while (next_way(&search));
    if (n_wrong)
        fprintf(stderr, "%u of %u orders\n", n_wrong, n_runs);
    CHECK_NUMBER(n_wrong, 0);
    CHECK(blocked); /* else they have not met */
    return n_runs;
}

static const struct {
    unsigned cuts;
    const char *scripts[ORDER_THREADS];
} some[] = {
    {2, {"t.d", "t.d", "!.!"}},    /* a thread's first wait, too, begins in a pause that ends meanwhile */
    {1, {"td.td", "t.d", "!.!"}},  /* a thread that has been seen in a pause waits in it */
    {1, {"t.d", "td", "td", "!"}}, /* threads end in a pause */
    {2, {"t.dct.d", "t.dt.d"}},    /* H is looked at while the holder is at its accounts */
    {1, {"t.dct.d", "t.d", "!.!"}}, {1, {"t..d", "xt..d", "!.!"}}, /* a wait is given up, in a pause */
    {1, {"t.d.", "xt.d", "!.!"}},   /* ... which is not noticed, and the thread ends after it */
    {1, {"t.d", "xt.d", ".!t!.d"}}, /* ... behind a holder who is not known yet */
    {1, {"t.d", "t.d", "!.!.!.!"}},
};

int main(int argc, char **argv)
{
    if (argc > 2) {
        printf("%u orders\n", try_all((unsigned)atoi(argv[1]), (const char *const *)argv + 2));
        return check_result();
    }
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        try_all(some[i].cuts, some[i].scripts);
    return check_result();
}
