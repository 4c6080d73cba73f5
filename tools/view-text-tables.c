/* SPDX-License-Identifier: MIT */
/*
 * view-text-tables.c - the text report's tables: threads, pairs, processes.
 */
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "view-text.h"

#define PAIRS_MAX 6
#define PAIRS_SHARE_MIN 0.01

/* --- threads ----------------------------------------------------------------------------------------------------- */
enum column {
    NAME,
    TID,
    TIME,
    HELD,
    HELD_ON,
    HELD_OFF,
    WAIT,
    BLOCKED,
    WAKEUP,
    FORCED,
    RELEASED,
    REL_OFF,
    LOCKS,
    WAITS,
    P99,
    CHARGED,
    ERROR,
    N_KINDS
};

/* The wider layouts tell the states apart; the others have their sums, so that each row still adds up. */
static const struct layout {
    size_t n;
    enum column columns[N_KINDS];
    const char *titles[N_KINDS];
} layouts[] = {
    {13,
     {NAME, TID, TIME, HELD_ON, HELD_OFF, BLOCKED, WAKEUP, FORCED, RELEASED, REL_OFF, LOCKS, WAITS, CHARGED},
     {"<THREAD", "tid", "time", "held", "held-off", "wait", "wake-up", "forced", "released", "rel-off", "(locks)",
      "wait p50 / p99 / max", "made others wait"}},
    {12,
     {NAME, TID, TIME, HELD_ON, HELD_OFF, BLOCKED, WAKEUP, FORCED, RELEASED, REL_OFF, WAITS, CHARGED},
     {"<THREAD", "tid", "time", "held", "held-off", "wait", "wake-up", "forced", "released", "rel-off",
      "wait p50 / p99 / max", "made wait"}},
    {9,
     {NAME, TID, TIME, HELD, WAIT, RELEASED, REL_OFF, WAITS, CHARGED},
     {"<THREAD", "tid", "time", "held", "wait", "released", "rel-off", "wait p50 / p99 / max", "made wait"}},
    {8,
     {NAME, TID, TIME, HELD, WAIT, RELEASED, REL_OFF, P99},
     {"<THREAD", "tid", "time", "held", "wait", "released", "rel-off", "wait p99"}},
    {6, {NAME, TIME, HELD, WAIT, RELEASED, REL_OFF}, {"<THREAD", "time", "held", "wait", "released", "rel-off"}},
    {3, {NAME, HELD, WAIT}, {"<THREAD", "held", "wait"}},
};
#define N_LAYOUTS (sizeof layouts / sizeof layouts[0])

/* The first column gives way to this width before a narrower layout is tried. */
#define NAME_MIN 16

static void share_cell(const struct text *text, struct text_table *table, double share)
{
    char buffer[FORMAT_BYTES];

    text_cell(text, table, "%s", format_share(buffer, share));
}

static void waits_cell(const struct text *text, struct text_table *table, const struct model_thread *thread)
{
    char p50[FORMAT_BYTES], p99[FORMAT_BYTES], max[FORMAT_BYTES];

    if (!thread->wait.max_ns)
        text_cell(text, table, "-");
    else
        text_cell(text, table, "%s / %s / %s", format_time(p50, thread->wait.p50_ns),
                  format_time(p99, thread->wait.p99_ns), format_time(max, thread->wait.max_ns));
}

static void time_cell(const struct text *text, struct text_table *table, uint64_t ns)
{
    char buffer[FORMAT_BYTES];

    text_cell(text, table, "%s", format_time(buffer, ns));
}

static void name_cell(const struct text *text, struct text_table *table, const struct model_process *process,
                      const struct model_thread *thread)
{
    char count[FORMAT_BYTES];

    if (thread == &process->rest)
        text_cell(text, table, "%s others, together", format_count(count, thread->n_folded));
    else if (thread->folded)
        text_cell(text, table, "%s ended threads", format_count(count, thread->n_folded));
    else
        text_cell(text, table, "%s", thread->name);
}

static void add_cell(const struct text *text, struct text_table *table, enum column column,
                     const struct model_process *process, const struct model_thread *thread)
{
    const struct model_shares *shares = &thread->shares;
    char buffer[FORMAT_BYTES];

    switch (column) {
    case NAME:
        name_cell(text, table, process, thread);
        break;
    case TID:
        if (thread->tid)
            text_cell(text, table, "%u", thread->tid);
        else
            text_cell(text, table, "-");
        break;
    case TIME:
        time_cell(text, table, thread->wall_ns);
        break;
    case HELD:
        share_cell(text, table, shares->held);
        break;
    case HELD_ON:
        share_cell(text, table, shares->held_oncpu);
        break;
    case HELD_OFF:
        share_cell(text, table, shares->held_offcpu);
        break;
    case WAIT:
        share_cell(text, table, shares->wait);
        break;
    case BLOCKED:
        share_cell(text, table, shares->wait_blocked);
        break;
    case WAKEUP:
        share_cell(text, table, shares->wait_wakeup);
        break;
    case FORCED:
        share_cell(text, table, shares->wait_forced);
        break;
    case RELEASED:
        share_cell(text, table, shares->released_oncpu);
        break;
    case REL_OFF:
        share_cell(text, table, shares->released_offcpu);
        break;
    case LOCKS:
        share_cell(text, table, shares->lock_wait);
        break;
    case WAITS:
        waits_cell(text, table, thread);
        break;
    case P99:
        time_cell(text, table, thread->wait.p99_ns);
        break;
    case CHARGED:
        time_cell(text, table, thread->charged_ns);
        break;
    case ERROR:
        text_cell(text, table, "%s%s", text->utf8 ? "±" : "+-", format_share(buffer, shares->error));
        break;
    case N_KINDS:
        break;
    }
}

static void fill(const struct text *text, const struct model_process *process, const struct layout *layout,
                 struct text_table *table)
{
    *table = (struct text_table){.titles = layout->titles, .n_columns = layout->n};
    for (size_t i = 0; i < process->n_threads; i++)
        for (size_t j = 0; j < layout->n && !process->threads[i].minor; j++)
            add_cell(text, table, layout->columns[j], process, &process->threads[i]);
    for (size_t j = 0; j < layout->n && process->rest.n_folded; j++)
        add_cell(text, table, layout->columns[j], process, &process->rest);
}

/* The width that the table needs once its names are cut as far as they may be. */
static int least_width(const struct text *text, const struct text_table *table)
{
    int longest = 0;

    for (size_t i = 0; i < table->n_cells; i += table->n_columns) {
        int width = text_width(text, table->cells[i]);
        longest = width > longest ? width : longest;
    }
    return text_table_width(text, table) - (longest > NAME_MIN ? longest - NAME_MIN : 0);
}

/* The layout, with how far off its shares may be where that is known: they were sampled. */
static struct layout with_error(const struct model_process *process, struct layout layout)
{
    for (size_t i = 0; i < process->n_threads; i++) {
        if (!process->threads[i].error_ns)
            continue;
        layout.columns[layout.n] = ERROR;
        layout.titles[layout.n++] = "off by";
        break;
    }
    return layout;
}

void view_text_threads(const struct text *text, const struct model_process *process)
{
    struct text_table table;

    for (size_t i = 0; i < N_LAYOUTS; i++) {
        struct layout layout = with_error(process, layouts[i]);
        fill(text, process, &layout, &table);
        if (i + 1 == N_LAYOUTS || least_width(text, &table) <= text->columns) {
            text_table_print(text, &table);
            text_table_free(&table);
            return;
        }
        text_table_free(&table);
    }
}

/* --- pairs ---------------------------------------------------------------------------------------------------------
 */
static void thread_cell(const struct text *text, struct text_table *table, const struct model_process *process,
                        uint32_t index)
{
    const struct model_thread *thread = model_find_thread(process, index);

    if (thread)
        text_cell(text, table, "%s  %u", thread->name, thread->tid);
    else
        text_cell(text, table, "(not known)");
}

void view_text_pairs(const struct text *text, const struct model_process *process)
{
    static const char *const titles[] = {"<WHO WAITS FOR WHOM", "<holder", "time", "share"};
    struct text_table table = {.titles = titles, .n_columns = 4};

    for (size_t i = 0; i < process->n_pairs && i < PAIRS_MAX; i++) {
        const struct model_pair *pair = &process->pairs[i];
        if (i && pair->share < PAIRS_SHARE_MIN)
            break;
        thread_cell(text, &table, process, pair->waiter);
        thread_cell(text, &table, process, pair->holder);
        time_cell(text, &table, pair->ns);
        share_cell(text, &table, pair->share);
    }
    if (table.n_cells) {
        text_table_print(text, &table);
        fputc('\n', text->out);
    }
    text_table_free(&table);
}

/* --- processes -------------------------------------------------------------------------------------------------------
 */
void view_text_tree(const struct text *text, const struct model *model)
{
    static const char *const titles[] = {"<PROCESS", "pid", "<verdict", "time", "CPUs", "GIL held", "waiting"};
    struct text_table table = {.titles = titles, .n_columns = sizeof titles / sizeof titles[0]};

    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        int depth = process->depth < 8 ? process->depth : 8;
        text_cell(text, &table, "%*s%s%s", depth > 1 ? 2 * (depth - 1) : 0, "", depth ? "└ " : "", process->command);
        text_cell(text, &table, "%u", process->pid);
        text_cell(text, &table, "%s", verdict_name(process->verdict.class));
        time_cell(text, &table, process->wall_ns);
        text_cell(text, &table, "%.2f", process->totals.oncpu_cpus);
        if (process->n_gils)
            share_cell(text, &table, process->gils[0].held_share);
        else
            text_cell(text, &table, "-");
        text_cell(text, &table, "%.2f", process->totals.waiting);
    }
    text_table_print(text, &table);
    fputc('\n', text->out);
    text_table_free(&table);
}
