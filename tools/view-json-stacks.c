/* SPDX-License-Identifier: MIT */
/*
 * view-json-stacks.c - the JSON report's stacks, modules and calls.
 *
 * There may be hundreds of thousands of stacks: they are written one by one, a line each, and not kept as a document.
 */
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "mem.h"
#include "view-json.h"

static json_t *module(const struct model_module *m)
{
    json_t *object = view_json_checked(json_object());

    view_json_put(object, "path", json_string(m->path));
    view_json_put(object, "interpreter", json_boolean(m->interpreter));
    view_json_put(object, "released_ns", view_json_integer(m->released_ns));
    view_json_put(object, "released_oncpu_ns", view_json_integer(m->released_oncpu_ns));
    view_json_put(object, "held_ns", view_json_integer(m->held_ns));
    view_json_put(object, "charged_ns", view_json_integer(m->charged_ns));
    return object;
}

static json_t *frame(const struct model_stacks *stacks, const struct model_frame *f)
{
    const struct model_function *function = &stacks->functions[f->function];
    json_t *object = view_json_checked(json_object());

    view_json_put(object, "function", json_string(function->name));
    view_json_put(object, "file", json_string(function->file));
    view_json_put(object, "line", view_json_integer(f->line));
    view_json_put(object, "native", json_boolean(function->native));
    return object;
}

static json_t *call(const struct model_stacks *stacks, const struct model_call *c)
{
    const struct model_function *function = &stacks->functions[c->function];
    json_t *object = view_json_checked(json_object());
    bool called = c->caller < stacks->n_frames;

    view_json_put(object, "module", json_string(function->file));
    view_json_put(object, "function", function->named ? json_string(function->name) : json_null());
    view_json_put(object, "caller", called ? frame(stacks, &stacks->frames[c->caller]) : json_null());
    view_json_put(object, "charged_ns", view_json_integer(c->charged_ns));
    view_json_put(object, "held_ns", view_json_integer(c->held_ns));
    view_json_put(object, "released_ns", view_json_integer(c->released_ns));
    view_json_put(object, "longest_hold_ns", view_json_integer(c->longest_hold_ns));
    view_json_put(object, "longest_hold_is_mean", json_boolean(!c->longest_known));
    view_json_put(object, "lets_go", json_boolean(c->lets_go));
    view_json_put(object, "samples", view_json_integer(c->samples));
    return object;
}

static json_t *flow(const struct model_flow *f)
{
    json_t *object = view_json_checked(json_object());

    view_json_put(object, "total_ns", view_json_integer(f->total_ns));
    view_json_put(object, "sampled_ns", view_json_integer(f->sampled_ns));
    view_json_put(object, "scale", json_real(f->scale));
    view_json_put(object, "samples", view_json_integer(f->samples));
    view_json_put(object, "inside_samples", view_json_integer(f->inside_samples));
    view_json_put(object, "error", json_real(f->error));
    return object;
}

void view_json_put_stacks(json_t *object, const struct model_stacks *stacks)
{
    json_t *modules = view_json_checked(json_array()), *calls = view_json_checked(json_array()),
           *sampling = view_json_checked(json_object());

    for (enum model_view view = 0; view < MODEL_VIEWS; view++)
        view_json_put(sampling, model_view_name(view), flow(&stacks->flows[view]));
    view_json_put(sampling, "unmatched_stacks", view_json_integer(stacks->n_unmatched));
    view_json_put(sampling, "cut_stacks", view_json_integer(stacks->n_cut));
    for (size_t i = 0; i < stacks->n_modules; i++)
        view_json_append(modules, module(&stacks->modules[i]));
    for (size_t i = 0; i < stacks->n_calls; i++)
        view_json_append(calls, call(stacks, &stacks->calls[i]));
    view_json_put(object, "modules", modules);
    view_json_put(object, "calls_that_should_release", calls);
    view_json_put(object, "sampling", sampling);
}

/* Each frame's text once, with a comma in front: stacks are made of few of them. */
struct frame_text {
    char *bytes;
    size_t n;
};

static struct frame_text *frame_texts(const struct model_stacks *stacks)
{
    struct frame_text *texts = mem_zeroed(stacks->n_frames, sizeof *texts);

    for (size_t i = 0; i < stacks->n_frames; i++) {
        json_t *object = frame(stacks, &stacks->frames[i]);
        char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII);
        if (!text)
            view_json_checked(NULL);
        texts[i].bytes = mem_print(",%s", text);
        texts[i].n = strlen(texts[i].bytes);
        free(text);
        json_decref(object);
    }
    return texts;
}

static void print_stack(const struct model_process *process, const struct model_stack *stack, enum model_view view,
                        const struct frame_text *texts, struct emit *emit)
{
    const uint32_t *ids = stack->n_frames ? process->stacks.frame_ids + stack->first_frame : NULL;
    uint32_t tid = stack->thread < process->n_threads ? process->threads[stack->thread].tid : 0;

    emit_text(emit, "\n{\"view\":\"");
    emit_text(emit, model_view_name(view));
    emit_text(emit, "\",\"tid\":");
    emit_number(emit, tid);
    emit_text(emit, ",\"ns\":");
    emit_number(emit, stack->ns[view]);
    if (view == MODEL_HELD || view == MODEL_RELEASED) {
        emit_text(emit, ",\"oncpu_ns\":");
        emit_number(emit, stack->oncpu_ns[view]);
    }
    emit_text(emit, ",\"count\":");
    emit_number(emit, stack->samples[view]);
    emit_text(emit, stack->unmatched ? ",\"unmatched\":true,\"frames\":[" : ",\"frames\":[");
    for (size_t i = 0; i < stack->n_frames; i++) {
        size_t skip = !i; /* the comma */
        emit_bytes(emit, texts[ids[i]].bytes + skip, texts[ids[i]].n - skip);
    }
    emit_text(emit, "]}");
}

void view_json_print_stacks(const struct model_process *process, const enum model_view *only, FILE *out)
{
    const struct model_stacks *stacks = &process->stacks;
    struct frame_text *texts = frame_texts(stacks);
    struct emit emit;
    bool first = true;

    emit_begin(&emit, out);
    for (enum model_view view = 0; view < MODEL_VIEWS; view++) {
        for (size_t i = 0; i < stacks->n_stacks; i++) {
            if (!stacks->stacks[i].ns[view] || (only && view != *only))
                continue;
            if (!first)
                emit_text(&emit, ",");
            print_stack(process, &stacks->stacks[i], view, texts, &emit);
            first = false;
        }
    }
    emit_flush(&emit);
    for (size_t i = 0; i < stacks->n_frames; i++)
        free(texts[i].bytes);
    free(texts);
}
