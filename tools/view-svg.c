/* SPDX-License-Identifier: MIT */
/*
 * view-svg.c - a flame graph, the root on top: one picture that stands alone, and in a browser zooms and searches.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "embedded.h"
#include "format.h"
#include "label.h"
#include "mem.h"
#include "model-flame.h"
#include "palette.h"
#include "utf8.h"
#include "view.h"

#define PICTURE_WIDTH 1200
#define MARGIN 10 /* flame.js has these, too: left, width and letter */
#define GRAPH_WIDTH (PICTURE_WIDTH - 2 * MARGIN)
#define LETTER_WIDTH 6.63
#define ROW 18
#define HEAD 56 /* above a graph */
#define FOOT 34 /* below all of them */
#define NODES_MAX 6000
#define PIXELS_MIN 0.15 /* what is narrower is not drawn */
#define PANELS_MAX 20

struct panel {
    const struct model_process *process;
    struct flame flame;
    int top;
};

/* A label as far as there is room for it. */
static char *cut(const char *label, double pixels)
{
    size_t room = pixels > 6 ? (size_t)((pixels - 6) / LETTER_WIDTH) : 0, n = 0, size = strlen(label);
    const char *end = label, *before_last = label;

    if (room < 3)
        return mem_print("%s", "");
    while (*end && n < room) {
        before_last = end;
        end += utf8_sequence(end, size - (size_t)(end - label));
        n++;
    }
    return *end ? mem_print("%.*s…", (int)(before_last - label), label) : mem_print("%s", label);
}

static char *node_label(const struct panel *panel, const struct flame_node *node)
{
    if (node->function == FLAME_ROOT)
        return label_process(panel->process);
    if (node->function == FLAME_REST)
        return mem_print("(small ones)");
    return node->is_thread ? label_thread(panel->process, node->function)
                           : label_function(&panel->process->stacks.functions[node->function]);
}

static const char *node_color(const struct panel *panel, const struct flame_node *node, const char *label)
{
    if (node->function == FLAME_ROOT || node->is_thread)
        return palette_thread();
    if (node->function == FLAME_REST)
        return palette_rest();
    return palette_function(panel->process->stacks.functions[node->function].role, label);
}

static void print_node(const struct panel *panel, const struct flame_node *node, enum model_view view, FILE *out)
{
    double x = MARGIN + node->x * GRAPH_WIDTH, width = node->width * GRAPH_WIDTH;
    int y = panel->top + (int)node->depth * ROW;
    char time[FORMAT_BYTES], share[FORMAT_BYTES], samples[FORMAT_BYTES], oncpu[FORMAT_BYTES];
    char *label = node_label(panel, node), *text = cut(label, width);

    fprintf(out, "<g class=\"f\" tabindex=\"0\" data-ns=\"%" PRIu64 "\"%s><title>", node->total.ns[view],
            node->depth ? "" : " data-root=\"1\"");
    label_xml(out, label);
    fprintf(out, "\n%s, %s", format_time(time, node->total.ns[view]), format_share_xml(share, node->share));
    if (view == MODEL_HELD || view == MODEL_RELEASED)
        fprintf(out, ", of which on a processor %s", format_time(oncpu, node->total.oncpu_ns[view]));
    fprintf(out, "\n%s sample%s</title>", format_count(samples, node->total.samples[view]),
            node->total.samples[view] == 1 ? "" : "s");
    fprintf(out, "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"/><text x=\"%.2f\" y=\"%d\">", x, y,
            width, ROW - 1, node_color(panel, node, label), x + 3, y + 13);
    label_xml(out, text);
    fputs("</text></g>\n", out);
    free(label);
    free(text);
}

static void print_head(const struct panel *panel, enum model_view view, FILE *out)
{
    const struct model_flow *flow = &panel->process->stacks.flows[view];
    char *process = label_process(panel->process), time[FORMAT_BYTES], samples[FORMAT_BYTES], error[FORMAT_BYTES];

    fprintf(out, "<text class=\"head\" x=\"%d\" y=\"%d\">", MARGIN, panel->top - 30);
    label_xml(out, process);
    fprintf(out, ": %s</text>\n<text class=\"note\" x=\"%d\" y=\"%d\">", model_view_title(view), MARGIN,
            panel->top - 12);
    fprintf(out, "%s · %s samples, ±%s · scaled by %.2f to the exact total", format_time(time, flow->total_ns),
            format_count(samples, flow->samples), format_share_xml(error, flow->error), flow->scale);
    fputs("</text>\n", out);
    free(process);
}

static void print_panel(const struct panel *panel, enum model_view view, FILE *out)
{
    print_head(panel, view, out);
    fputs("<g class=\"panel\">\n", out);
    for (size_t i = 0; i < panel->flame.n_nodes; i++)
        if (panel->flame.nodes[i].width * GRAPH_WIDTH >= PIXELS_MIN)
            print_node(panel, &panel->flame.nodes[i], view, out);
    fputs("</g>\n", out);
}

/* The deepest row that is drawn. */
static int rows(const struct panel *panel)
{
    uint32_t deepest = 0;

    for (size_t i = 0; i < panel->flame.n_nodes; i++)
        if (panel->flame.nodes[i].depth > deepest && panel->flame.nodes[i].width * GRAPH_WIDTH >= PIXELS_MIN)
            deepest = panel->flame.nodes[i].depth;
    return (int)deepest + 1;
}

static void render(const struct model *model, const struct view_options *options, FILE *out)
{
    struct panel panels[PANELS_MAX];
    size_t n = 0;
    int height = 0;

    for (size_t i = 0; i < model->n_processes && n < PANELS_MAX; i++) {
        const struct model_process *process = &model->processes[i];
        if (!process->stacks.flows[options->view].n_stacks)
            continue;
        panels[n] = (struct panel){.process = process, .top = height + HEAD};
        flame_build(&panels[n].flame, process, options->view, true, NODES_MAX);
        height = panels[n].top + rows(&panels[n]) * ROW;
        n++;
    }
    height += FOOT + (n ? 0 : HEAD);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
            "height=\"%d\" viewBox=\"0 0 %d %d\">\n<style>\n%s</style>\n",
            PICTURE_WIDTH, height, PICTURE_WIDTH, height, embedded_svg_css);
    fprintf(out, "<rect class=\"paper\" fill=\"#fcfcfd\" width=\"%d\" height=\"%d\"/>\n", PICTURE_WIDTH, height);
    for (size_t i = 0; i < n; i++) {
        print_panel(&panels[i], options->view, out);
        flame_free(&panels[i].flame);
    }
    if (!n)
        fprintf(out, "<text class=\"note\" x=\"%d\" y=\"%d\">The recording has no stacks for this view.</text>\n",
                MARGIN, HEAD / 2);
    fprintf(out,
            "<text id=\"info\" class=\"note\" x=\"%d\" y=\"%d\">%s</text>\n"
            "<text id=\"search\" class=\"button hidden\" x=\"%d\" y=\"26\" text-anchor=\"end\">search</text>\n"
            "<text id=\"reset\" class=\"button hidden\" x=\"%d\" y=\"44\" text-anchor=\"end\">zoom out</text>\n",
            MARGIN, height - 12, n ? "orange: Python, blue: extensions, grey: C library, interpreter" : "", PICTURE_WIDTH - MARGIN,
            PICTURE_WIDTH - MARGIN);
    fprintf(out, "<script><![CDATA[\n%s]]></script>\n</svg>\n", embedded_svg_js);
}

const struct view view_svg = {"svg", 0, render};
