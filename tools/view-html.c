/* SPDX-License-Identifier: MIT */
/*
 * view-html.c - the report that a person opens first: one file, the conclusion on top, flame graphs to look into.
 *
 * Whatever stands in the recording is text here: escaped in the document, and in the script's data a JSON string that
 * the script puts on the page as text.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "format.h"
#include "label.h"
#include "view-html.h"
#include "view.h"

#define NODES_MAX 16000 /* of all flame graphs together */
#define NODES_MIN 500   /* of one */

void view_html_text(FILE *out, const char *text)
{
    fputs("<bdi>", out);
    label_xml(out, text);
    fputs("</bdi>", out);
}

static void list(const char *class, const char *tag, char *const *lines, size_t n, FILE *out)
{
    if (!n)
        return;
    fprintf(out, "<%s class=\"%s\">\n", tag, class);
    for (size_t i = 0; i < n; i++) {
        fputs("<li>", out);
        view_html_text(out, lines[i]);
        fputs("</li>\n", out);
    }
    fprintf(out, "</%s>\n", tag);
}

static void print_head(const struct model_process *process, FILE *out)
{
    char time[FORMAT_BYTES], threads[FORMAT_BYTES], cpus[FORMAT_BYTES];

    fputs("<h2>", out);
    view_html_text(out, process->command);
    fprintf(out, "</h2>\n<p class=\"about\">pid %u · CPython ", process->pid);
    label_xml(out, process->python);
    fprintf(out, "%s · %s · %s thread%s on %s · %s · ", process->free_threaded ? " free-threaded" : "",
            format_time(time, process->wall_ns), format_count(threads, process->n_threads_ever),
            process->n_threads_ever == 1 ? "" : "s", format_cpus_of(cpus, process->cpus, process->cpu_limit),
            process->source);
    label_xml(out, process->start);
    char *state = label_state(process);
    fputs(state, out);
    free(state);
    fputs("</p>\n", out);
}

static void figure(FILE *out, const char *value, const char *what)
{
    fprintf(out, "<div class=\"figure\"><b>%s</b><span>%s</span></div>\n", value, what);
}

static void print_figures(const struct model_process *process, FILE *out)
{
    const struct model_totals *totals = &process->totals;
    char text[FORMAT_BYTES];

    fputs("<div class=\"figures\">\n", out);
    figure(out, format_share_xml(text, totals->wait_share),
           "of the time in which threads wanted to run, they waited for "
           "the GIL");
    snprintf(text, sizeof text, "%.1f", totals->waiting);
    figure(out, text, "threads waiting for it at any moment");
    if (process->n_gils) {
        figure(out, format_share_xml(text, process->gils[0].held_share), "of the time somebody held it");
    }
    snprintf(text, sizeof text, process->verdict.speedup_high < 1.05 ? "1×" : "%.1f–%.1f×",
             process->verdict.speedup_low, process->verdict.speedup_high);
    figure(out, text, "as fast without the GIL, at best");
    fputs("</div>\n", out);
}

static void print_legend(FILE *out)
{
    static const char *const states[][2] = {
        {"held-on", "held"},          {"held-off", "held, not running"},  {"blocked", "waits"},
        {"wakeup", "waits: wake-up"}, {"forced", "waits: forced switch"}, {"rel-on", "works without the GIL"},
        {"rel-off", "sleeps, I/O"}};

    fputs("<p class=\"legend\">", out);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        fprintf(out, "<span><i class=\"s-%s\"></i>%s</span> ", states[i][0], states[i][1]);
    fputs("</p>\n", out);
}

static void print_verdict(const struct model_process *process, FILE *out)
{
    const struct verdict *verdict = &process->verdict;

    fprintf(out,
            "<section class=\"card verdict v-%s\" data-part=\"verdict\">\n<p class=\"class\"><b>%s</b> <span>"
            "confidence %.2f</span></p>\n<p class=\"summary\">",
            verdict_name(verdict->class), verdict_name(verdict->class), verdict->confidence);
    view_html_text(out, verdict->summary);
    fputs("</p>\n", out);
    list("advice", "ul", verdict->advice, verdict->n_advice, out);
    print_figures(process, out);
    view_html_bar(&process->totals.shares, out);
    print_legend(out);
    list("evidence", "ul", verdict->evidence, verdict->n_evidence, out);
    fputs("</section>\n", out);
}

/* The controls are made here, so that they are there when the script comes; without it they stay hidden. */
static void print_flames(const struct model_process *process, enum model_view first, size_t max_nodes, FILE *out)
{
    if (!process->stacks.n_stacks) {
        fputs(
            "<section class=\"card\" data-part=\"flames\"><h3>Flame graphs</h3><p class=\"note\">The recording has no "
            "stacks.</p></section>\n",
            out);
        return;
    }
    fprintf(out,
            "<section class=\"card flames\" data-part=\"flames\" data-view=\"%s\"><h3>Flame graphs</h3>\n"
            "<div class=\"tools\" hidden>\n<div class=\"views\" role=\"radiogroup\" aria-label=\"view\">\n",
            model_view_name(first));
    for (enum model_view view = 0; view < MODEL_VIEWS; view++)
        fprintf(out, "<button type=\"button\" role=\"radio\" data-view=\"%s\" title=\"%s\">%s</button>\n",
                model_view_name(view), model_view_title(view), model_view_name(view));
    fputs("</div>\n<select class=\"cpu\" aria-label=\"on a processor or not\"><option value=\"all\">on and off "
          "CPU</option><option value=\"on\">on CPU</option><option value=\"off\">off CPU</option></select>\n"
          "<select class=\"threads\" aria-label=\"threads\"><option value=\"-1\">all threads</option></select>\n"
          "<input class=\"search\" type=\"search\" placeholder=\"search functions\" aria-label=\"search functions\">\n"
          "<button type=\"button\" class=\"out\" disabled>zoom out</button>\n</div>\n"
          "<p class=\"note what\">Flame graphs need JavaScript.</p>\n"
          "<div class=\"graph\" role=\"tree\" aria-label=\"flame graph\"></div>\n"
          "<p class=\"key\"><span><i class=\"py\"></i>Python</span><span><i class=\"ext\"></i>extensions</span>"
          "<span><i></i>C library, interpreter</span></p>\n"
          "<p class=\"detail\" aria-live=\"polite\"></p>\n<table class=\"top\"></table>\n"
          "<script type=\"application/json\">",
          out);
    view_html_data(process, max_nodes, out);
    fputs("</script></section>\n", out);
}

static void print_process(const struct model_process *process, enum model_view view, size_t max_nodes, FILE *out)
{
    fprintf(out, "<article id=\"p%u\">\n", process->pid);
    print_head(process, out);
    print_verdict(process, out);
    view_html_threads(process, out);
    print_flames(process, view, max_nodes, out);
    view_html_calls(process, out);
    view_html_modules(process, out);
    view_html_matrix(process, out);
    view_html_measuring(process, out);
    fputs("</article>\n", out);
}

static void print_list(const struct model *model, FILE *out)
{
    char time[FORMAT_BYTES], share[FORMAT_BYTES];

    fputs(
        "<section class=\"card\" data-part=\"processes\"><h3>Processes</h3><div class=\"scroll\" tabindex=\"0\"><table>"
        "<thead><tr><th>process</th><th>verdict</th><th class=\"n\">time</th><th class=\"n\">waited for the GIL</th>"
        "</tr></thead><tbody>\n",
        out);
    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        fprintf(out, "<tr><th scope=\"row\" class=\"depth-%d\">", process->depth < 4 ? process->depth : 4);
        if (!process->minor)
            fprintf(out, "<a href=\"#p%u\">", process->pid);
        view_html_text(out, process->command);
        fputs(process->minor ? "" : "</a>", out);
        fprintf(out,
                " <span class=\"dim\">%u</span></th><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td></tr>\n",
                process->pid, verdict_name(process->verdict.class), format_time(time, process->wall_ns),
                format_share_xml(share, process->totals.wait_share));
    }
    fputs("</tbody></table></div></section>\n", out);
}

static void print_body(const struct model *model, const struct view_options *options, FILE *out)
{
    size_t n_shown = model->n_processes - model->n_minor, max_nodes = NODES_MAX / (n_shown ? n_shown : 1);

    fputs("<h1>gilscope</h1>\n", out);
    if (model->n_processes > 1)
        print_list(model, out);
    for (size_t i = 0; i < model->n_processes; i++)
        if (!model->processes[i].minor)
            print_process(&model->processes[i], options->view, max_nodes > NODES_MIN ? max_nodes : NODES_MIN, out);
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    const char *at = embedded_html_page, *mark;

    while ((mark = strstr(at, "{{"))) {
        const char *end = strstr(mark, "}}") + 2;
        fwrite(at, 1, (size_t)(mark - at), out);
        if (!strncmp(mark, "{{title}}", 9))
            label_xml(out, model->n_processes ? model->processes[0].command : "gilscope");
        else if (!strncmp(mark, "{{css}}", 7))
            fputs(embedded_html_css, out);
        else if (!strncmp(mark, "{{js}}", 6))
            fputs(embedded_html_js, out);
        else if (!strncmp(mark, "{{version}}", 11))
            fputs(PACKAGE_VERSION, out);
        else if (!strncmp(mark, "{{body}}", 8))
            print_body(model, options, out);
        at = end;
    }
    fputs(at, out);
}

const struct view view_html = {"html", 0, render};
