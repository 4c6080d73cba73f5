/* SPDX-License-Identifier: MIT */
/*
 * view-text-stacks.c - the text report's sections that come from stacks: where to look first, modules, calls.
 */
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "mem.h"
#include "view-text.h"

#define HOT_MAX 4
#define HOT_SHARE_MIN 0.05
#define MODULES_MAX 6
#define CALLS_MAX 5

static void time_cell(const struct text *text, struct text_table *table, uint64_t ns)
{
    char buffer[FORMAT_BYTES];

    text_cell(text, table, "%s", ns ? format_time(buffer, ns) : "-");
}

static void share_cell(const struct text *text, struct text_table *table, double share)
{
    char buffer[FORMAT_BYTES];

    text_cell(text, table, "%s", share > 0 ? format_share(buffer, share) : "-");
}

static void place_cell(const struct text *text, struct text_table *table, const struct model_function *function,
                       uint32_t line)
{
    if (line)
        text_cell(text, table, "%s:%u", function->basename, line);
    else
        text_cell(text, table, "%s", function->basename);
}

static void end_table(const struct text *text, struct text_table *table)
{
    if (table->n_cells) {
        text_table_print(text, table);
        fputc('\n', text->out);
    }
    text_table_free(table);
}

static void print_hot(const struct text *text, const struct model_stacks *stacks)
{
    static const char *const titles[] = {"<LOOK FIRST AT", "<line", "<which calls", "made wait", "share"};
    struct text_table table = {.titles = titles, .n_columns = 5};

    for (size_t i = 0; i < stacks->n_hot && i < HOT_MAX; i++) {
        const struct model_hot *hot = &stacks->hot[i];
        if (i && hot->share < HOT_SHARE_MIN)
            break;
        text_cell(text, &table, "%s", stacks->functions[hot->function].name);
        place_cell(text, &table, &stacks->functions[hot->function], hot->line);
        if (hot->lets_go)
            text_cell(text, &table, "(lets the GIL go: see what runs before)");
        else if (hot->native == stacks->n_functions)
            text_cell(text, &table, "-");
        else if (stacks->functions[hot->native].named)
            text_cell(text, &table, "%s", stacks->functions[hot->native].name);
        else
            text_cell(text, &table, "%s", stacks->functions[hot->native].basename);
        time_cell(text, &table, hot->ns);
        share_cell(text, &table, hot->share);
    }
    end_table(text, &table);
}

/* The file's name; with its directory's where another module of the table has the same one (pandas and pyarrow have a
 * "lib" each). */
static const char *module_name(const struct model_stacks *stacks, const struct model_module *module)
{
    const char *name = module->basename;
    bool alone = true;

    for (size_t i = 0; i < stacks->n_modules && i < MODULES_MAX; i++)
        alone &= &stacks->modules[i] == module || strcmp(stacks->modules[i].basename, name) != 0;
    if (alone || strlen(module->path) < strlen(name))
        return name;
    const char *at = module->path + strlen(module->path) - strlen(name);
    for (int slashes = 0; at > module->path; at--)
        if (at[-1] == '/' && ++slashes == 2)
            break;
    return at;
}

static void module_row(const struct text *text, struct text_table *table, const struct model_module *module,
                       const char *name)
{
    text_cell(text, table, "%s", name);
    time_cell(text, table, module->charged_ns);
    time_cell(text, table, module->held_ns);
    time_cell(text, table, module->released_ns);
    time_cell(text, table, module->released_oncpu_ns);
}

static void add_module(struct model_module *sum, const struct model_module *module)
{
    sum->charged_ns += module->charged_ns;
    sum->held_ns += module->held_ns;
    sum->released_ns += module->released_ns;
    sum->released_oncpu_ns += module->released_oncpu_ns;
}

/* Its rows add up to the whole of each view.  Where there is nothing but the interpreter, it has nothing to tell. */
static void print_modules(const struct text *text, const struct model_stacks *stacks)
{
    static const char *const titles[] = {"<MODULES", "made wait", "held", "released", "on a CPU"};
    struct text_table table = {.titles = titles, .n_columns = 5};
    struct model_module others = {.path = ""};
    const struct model_module *none = &stacks->no_module;
    size_t n = 0, n_others = 0;
    char count[FORMAT_BYTES], *name;

    while (n < stacks->n_modules && !stacks->modules[n].interpreter) /* which is the last */
        n++;
    if (!n)
        return;
    for (size_t i = 0; i < n; i++) {
        if (i < MODULES_MAX || n == MODULES_MAX + 1) { /* a row for one is the one's */
            module_row(text, &table, &stacks->modules[i], module_name(stacks, &stacks->modules[i]));
        } else {
            add_module(&others, &stacks->modules[i]);
            n_others++;
        }
    }
    if (n_others) {
        name = mem_print("%s others, together", format_count(count, n_others));
        module_row(text, &table, &others, name);
        free(name);
    }
    if (n < stacks->n_modules)
        module_row(text, &table, &stacks->modules[n], "the interpreter itself");
    if (none->charged_ns || none->held_ns || none->released_ns)
        module_row(text, &table, none, "Python, native frames not known");
    end_table(text, &table);
}

static void print_calls(const struct text *text, const struct model_stacks *stacks)
{
    static const char *const titles[] = {
        "<CALLS THAT SHOULD RELEASE THE GIL", "<of", "<called by", "made wait", "held", "longest"};
    struct text_table table = {.titles = titles, .n_columns = 6};

    for (size_t i = 0; i < stacks->n_calls && i < CALLS_MAX; i++) {
        const struct model_call *call = &stacks->calls[i];
        const struct model_function *function = &stacks->functions[call->function];
        text_cell(text, &table, "%s", function->named ? function->name : "(no symbol)");
        text_cell(text, &table, "%s", function->basename);
        if (call->caller < stacks->n_frames)
            place_cell(text, &table, &stacks->functions[stacks->frames[call->caller].function],
                       stacks->frames[call->caller].line);
        else
            text_cell(text, &table, "-");
        time_cell(text, &table, call->charged_ns);
        time_cell(text, &table, call->held_ns);
        time_cell(text, &table, call->longest_known ? call->longest_hold_ns : 0);
    }
    end_table(text, &table);
}

static void print_sampling(const struct text *text, const struct model_stacks *stacks)
{
    const struct model_flow *flow = &stacks->flows[MODEL_CHARGED];
    char samples[FORMAT_BYTES], error[FORMAT_BYTES], *line;

    if (!flow->samples)
        return;
    line = mem_print("of what made others wait: %s samples%s, ±%s, scaled by %.2f to the exact total",
                     format_count(samples, flow->samples), flow->inside ? " taken while it was held" : "",
                     format_share(error, flow->error), flow->scale);
    text_wrap(text, "STACKS  ", line);
    fputc('\n', text->out);
    free(line);
}

void view_text_stacks(const struct text *text, const struct model_process *process)
{
    const struct model_stacks *stacks = &process->stacks;

    if (!stacks->n_stacks)
        return;
    if (process->waiting_matters)
        print_hot(text, stacks);
    print_calls(text, stacks);
    print_modules(text, stacks);
    if (process->waiting_matters)
        print_sampling(text, stacks);
}
