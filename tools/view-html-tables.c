/* SPDX-License-Identifier: MIT */
/*
 * view-html-tables.c - the HTML report's tables: threads, matrix, modules, calls, how it was measured.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "label.h"
#include "model-matrix.h"
#include "view-html.h"

#define MODULES_MAX 20
#define CALLS_MAX 15

static void cell_time(FILE *out, uint64_t ns)
{
    char time[FORMAT_BYTES];

    if (ns)
        fprintf(out, "<td class=\"n\" data-v=\"%" PRIu64 "\">%s</td>", ns, format_time(time, ns));
    else
        fputs("<td class=\"n none\" data-v=\"0\">–</td>", out);
}

static void cell_share(FILE *out, double share)
{
    char text[FORMAT_BYTES];

    if (share > 0)
        fprintf(out, "<td class=\"n\" data-v=\"%.6f\">%s</td>", share, format_share_xml(text, share));
    else
        fputs("<td class=\"n none\" data-v=\"0\">–</td>", out);
}

static void cell_text(FILE *out, const char *tag, const char *text)
{
    fprintf(out, "<%s>", tag);
    view_html_text(out, text);
    fprintf(out, "</%s>", tag[0] == 't' && tag[1] == 'h' ? "th" : "td");
}

static void begin_table(FILE *out, const char *id, const char *title, const char *note, const char *heads)
{
    fprintf(out, "<section class=\"card\" data-part=\"%s\"><h3>%s</h3>\n<p class=\"note\">%s</p>\n", id, title, note);
    fprintf(out, "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>%s</tr></thead><tbody>\n", heads);
}

static void end_table(FILE *out)
{
    fputs("</tbody></table></div></section>\n", out);
}

/* --- threads */
void view_html_bar(const struct model_shares *shares, FILE *out)
{
    const struct {
        const char *class, *title;
        double share;
    } parts[] = {
        {"held-on", "has the GIL and runs", shares->held_oncpu},
        {"held-off", "has the GIL and does not run", shares->held_offcpu},
        {"blocked", "waits: another thread has the GIL", shares->wait_blocked},
        {"wakeup", "waits: the GIL is free, the thread not yet awake", shares->wait_wakeup},
        {"forced", "waits: gave the GIL up on request", shares->wait_forced},
        {"rel-on", "works without the GIL", shares->released_oncpu},
        {"rel-off", "sleeps, or does I/O", shares->released_offcpu},
    };
    char text[FORMAT_BYTES];

    fputs("<span class=\"bar\">", out);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].share > 0.0005)
            fprintf(out, "<span class=\"s-%s\" style=\"width:%.2f%%\" title=\"%s: %s\"></span>", parts[i].class,
                    100 * parts[i].share, parts[i].title, format_share_xml(text, parts[i].share));
    fputs("</span>", out);
}

static void thread_row(const struct model_process *process, const struct model_thread *thread, bool sampled, FILE *out)
{
    char count[FORMAT_BYTES], p50[FORMAT_BYTES], p99[FORMAT_BYTES], max[FORMAT_BYTES];

    fputs("<tr><th scope=\"row\">", out);
    if (thread == &process->rest)
        fprintf(out, "%s others, together", format_count(count, thread->n_folded));
    else if (thread->folded)
        fprintf(out, "%s ended threads", format_count(count, thread->n_folded));
    else
        view_html_text(out, thread->name);
    if (thread->tid)
        fprintf(out, " <span class=\"dim\">%u</span>", thread->tid);
    fputs("</th><td class=\"bar-cell\">", out);
    view_html_bar(&thread->shares, out);
    fputs("</td>", out);
    cell_time(out, thread->wall_ns);
    cell_share(out, thread->shares.held);
    cell_share(out, thread->shares.wait);
    if (sampled)
        fprintf(out, "<td class=\"n\">±%s</td>", format_share_xml(count, thread->shares.error));
    cell_time(out, thread->charged_ns);
    if (thread->wait.max_ns)
        fprintf(out, "<td class=\"n\">%s / %s / %s</td>", format_time(p50, thread->wait.p50_ns),
                format_time(p99, thread->wait.p99_ns), format_time(max, thread->wait.max_ns));
    else
        fputs("<td class=\"n none\">–</td>", out);
    fputs("</tr>\n", out);
}

void view_html_threads(const struct model_process *process, FILE *out)
{
    bool sampled = false;

    if (!process->n_threads)
        return;
    for (size_t i = 0; i < process->n_threads; i++)
        sampled |= process->threads[i].error_ns > 0;
    begin_table(
        out, "threads", "Threads",
        sampled ? "Where each thread&#39;s time went. Each bar is the thread&#39;s whole time. In 95 of 100 "
                  "cases, no share is off by more points than the column says."
                : "Where each thread&#39;s time went. Each bar is the thread&#39;s whole time.",
        sampled ? "<th>thread</th><th>where its time went</th><th class=\"n\">time</th><th class=\"n\">held</th>"
                  "<th class=\"n\">waited</th><th class=\"n\">off by</th><th class=\"n\">made others wait</th><th "
                  "class=\"n\">a wait: p50 / p99 / max</th>"
                : "<th>thread</th><th>where its time went</th><th class=\"n\">time</th><th class=\"n\">held</th><th "
                  "class=\"n\">waited</th><th class=\"n\">made others wait</th><th class=\"n\">a wait: p50 / p99 / "
                  "max</th>");
    for (size_t i = 0; i < process->n_threads; i++)
        if (!process->threads[i].minor)
            thread_row(process, &process->threads[i], sampled, out);
    if (process->rest.n_folded)
        thread_row(process, &process->rest, sampled, out);
    end_table(out);
}

/* --- matrix */
static void matrix_name(FILE *out, const struct model_thread *thread)
{
    if (thread)
        view_html_text(out, thread->name);
    else
        fputs("others", out);
}

void view_html_matrix(const struct model_process *process, FILE *out)
{
    struct model_matrix matrix;
    char time[FORMAT_BYTES], share[FORMAT_BYTES];

    if (!process->waiting_matters)
        return;
    model_matrix(process, &matrix);
    if (!matrix.n_waiters)
        return;
    fputs("<section class=\"card\" data-part=\"matrix\"><h3>Who waits for whom</h3>\n<p class=\"note\">Time that the "
          "thread of the row waited while the thread of the column had the GIL.</p>\n<div class=\"scroll\" "
          "tabindex=\"0\"><table class=\"matrix\"><thead><tr><th>waits \\ has the GIL</th>",
          out);
    for (size_t j = 0; j < matrix.n_holders; j++) {
        fputs("<th scope=\"col\">", out);
        matrix_name(out, matrix.holders[j]);
        fputs("</th>", out);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < matrix.n_waiters; i++) {
        fputs("<tr><th scope=\"row\">", out);
        matrix_name(out, matrix.waiters[i]);
        fputs("</th>", out);
        for (size_t j = 0; j < matrix.n_holders; j++) {
            if (!matrix.ns[i][j])
                fputs("<td class=\"none\">–</td>", out);
            else
                fprintf(out, "<td style=\"--heat:%.3f\"%s title=\"%s of all waiting\">%s</td>", matrix.heat[i][j],
                        matrix.heat[i][j] > 0.6 ? " class=\"hot\"" : "", format_share_xml(share, matrix.share[i][j]),
                        format_time(time, matrix.ns[i][j]));
        }
        fputs("</tr>\n", out);
    }
    end_table(out);
}

/* --- modules and calls */
static void module_row(const struct model_module *module, const char *name, FILE *out)
{
    fputs("<tr><th scope=\"row\" title=\"", out);
    label_xml(out, module->path ? module->path
                                : "no native frames were taken, or a call ended the hold that did not have it");
    fputs("\">", out);
    view_html_text(out, name);
    fputs("</th>", out);
    cell_time(out, module->charged_ns);
    cell_share(out, module->charged_share);
    cell_time(out, module->held_ns);
    cell_time(out, module->released_ns);
    cell_time(out, module->released_oncpu_ns);
    fputs("</tr>\n", out);
}

void view_html_modules(const struct model_process *process, FILE *out)
{
    const struct model_stacks *stacks = &process->stacks;
    const struct model_module *none = &stacks->no_module;

    if (!stacks->n_modules)
        return;
    begin_table(
        out, "modules", "Modules",
        "What Python code called: the extension that held the GIL, or worked without it. Estimated from samples.",
        "<th>module</th><th class=\"n\">made others wait</th><th class=\"n\">share</th><th "
        "class=\"n\">held</th><th class=\"n\">released</th><th class=\"n\">of which on a processor</th>");
    for (size_t i = 0; i < stacks->n_modules && i < MODULES_MAX; i++)
        module_row(&stacks->modules[i],
                   stacks->modules[i].interpreter ? "the interpreter itself" : stacks->modules[i].basename, out);
    if (none->charged_ns || none->held_ns || none->released_ns)
        module_row(none, "Python, native frames not known", out);
    end_table(out);
}

static void call_row(const struct model_stacks *stacks, const struct model_call *call, FILE *out)
{
    const struct model_function *function = &stacks->functions[call->function];
    char time[FORMAT_BYTES];

    fputs("<tr>", out);
    cell_text(out, "th scope=\"row\"", function->named ? function->name : "(no symbol)");
    cell_text(out, "td", function->basename);
    if (call->caller < stacks->n_frames) {
        const struct model_frame *caller = &stacks->frames[call->caller];
        const struct model_function *python = &stacks->functions[caller->function];
        fputs("<td title=\"", out);
        label_xml(out, python->name);
        fputs(", ", out);
        label_xml(out, python->file);
        fputs("\">", out);
        view_html_text(out, python->name);
        fputs(" <span class=\"dim\">", out);
        label_xml(out, python->basename);
        fprintf(out, ":%u</span></td>", caller->line);
    } else {
        fputs("<td class=\"none\">–</td>", out);
    }
    cell_time(out, call->charged_ns);
    cell_share(out, call->charged_share);
    cell_time(out, call->held_ns);
    fprintf(out, "<td class=\"n\" data-v=\"%" PRIu64 "\">%s%s</td></tr>\n", call->longest_hold_ns,
            call->longest_known ? format_time(time, call->longest_hold_ns) : "not known", call->lets_go ? " or more" : "");
}

void view_html_calls(const struct model_process *process, FILE *out)
{
    const struct model_stacks *stacks = &process->stacks;

    if (!stacks->n_calls)
        return;
    begin_table(out, "calls", "Calls that should release the GIL",
                "Functions of extensions that kept the GIL while others wanted it, or for long. Some let it go, but too late.",
                "<th>function</th><th>of</th><th>called by</th><th class=\"n\">made others wait</th><th "
                "class=\"n\">share</th><th class=\"n\">held</th><th class=\"n\">longest hold</th>");
    for (size_t i = 0; i < stacks->n_calls && i < CALLS_MAX; i++)
        call_row(stacks, &stacks->calls[i], out);
    end_table(out);
}

/* --- how it was measured */
static void print_losses(const struct model_process *process, FILE *out)
{
    char count[FORMAT_BYTES];

    if (!process->n_losses) {
        fputs("<p>Nothing was lost.</p>\n", out);
        return;
    }
    fputs("<p>Lost, by cause (see gilscope-recording(5)):</p><ul class=\"losses\">\n", out);
    for (size_t i = 0; i < process->n_losses; i++)
        fprintf(out, "<li>%s: %s</li>\n", process->losses[i].cause, format_count(count, process->losses[i].count));
    fputs("</ul>\n", out);
}

/* What the fields of the JSON report are called in tables. */
static const char *in_words(const char *field)
{
    static const char *const words[][2] = {
        {"held_ns", "held"},
        {"held_oncpu_ns", "held on a processor"},
        {"held_offcpu_ns", "held without running"},
        {"released_oncpu_ns", "work without the GIL"},
        {"released_offcpu_ns", "sleep and I/O"},
        {"free_ns", "when nobody held it"},
        {"wait_blocked_ns", "waits"},
        {"wait_wakeup_ns", "wake-ups"},
        {"wait_forced_ns", "forced switches"},
        {"charged_ns", "what made others wait"},
        {"lock_wait_ns", "waits for locks"},
        {"acquisitions", "number of holds"},
        {"contended", "number of waits"},
        {"hold", "lengths of holds"},
        {"wait", "lengths of waits"},
        {"lock_wait", "lengths of waits for locks"},
        {"blocking", "who waits for whom"},
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(field, words[i][0]))
            return words[i][1];
    return field;
}

void view_html_measuring(const struct model_process *process, FILE *out)
{
    const struct model_stacks *stacks = &process->stacks;
    char total[FORMAT_BYTES], samples[FORMAT_BYTES], error[FORMAT_BYTES], count[FORMAT_BYTES];

    fputs("<section class=\"card\" data-part=\"measuring\"><h3>How it was measured</h3>\n", out);
    print_losses(process, out);
    if (process->n_estimated) {
        fputs("<p>Estimated:", out);
        for (size_t i = 0; i < process->n_estimated; i++)
            fprintf(out, "%s %s", i ? "," : "", in_words(process->estimated[i]));
        fputs(".</p>\n", out);
    }
    const char *const said[] = {process->inert, process->note};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (said[i]) {
            fputs("<p>", out);
            view_html_text(out, said[i]);
            fputs("</p>\n", out);
        }
    if (stacks->n_stacks) {
        fputs("<p>Stacks are samples; what they stand for is scaled to the exact total of each view:</p>\n"
              "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th>view</th><th class=\"n\">exact "
              "total</th><th class=\"n\">samples</th><th class=\"n\">error</th><th class=\"n\">scaled "
              "by</th></tr></thead><tbody>\n",
              out);
        for (enum model_view view = 0; view < MODEL_VIEWS; view++)
            fprintf(out,
                    "<tr><th scope=\"row\">%s</th><td class=\"n\">%s</td><td class=\"n\">%s</td><td "
                    "class=\"n\">±%s</td><td class=\"n\">%.3f</td></tr>\n",
                    model_view_name(view), format_time(total, stacks->flows[view].total_ns),
                    format_count(samples, stacks->flows[view].samples), format_share_xml(error, stacks->flows[view].error),
                    stacks->flows[view].scale);
        fputs("</tbody></table></div>\n", out);
        fputs(stacks->flows[MODEL_HELD].inside
                  ? "<p>What held the GIL was looked at from outside, at random moments.</p>\n"
                  : "<p>A hold counts for the place where it ended. Where code let the GIL go by itself, "
                    "what it did before, within the same hold, is not seen.</p>\n",
              out);
        if (stacks->n_unmatched)
            fprintf(out, "<p>In %s stacks native and Python frames did not fit; they show the Python frames.</p>\n",
                    format_count(count, stacks->n_unmatched));
    }
    fputs("</section>\n", out);
}
