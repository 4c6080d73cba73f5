/* SPDX-License-Identifier: MIT */
/*
 * model-merge.c - one stack out of two.
 *
 * A run is a series of native frames between two of the evaluation loop.  The innermost run is what Python code called
 * last: it keeps the extension's frames, the C library's, and if it starts with a function of the interpreter itself
 * that is no way of calling things (sorted(), time.sleep()), this one.  The other runs keep the extensions' frames, and
 * those of the C library that extensions called (qsort).
 */
#include "model-merge.h"

#include <string.h>

static void put(struct merge *merge, uint32_t frame)
{
    merge->frames[merge->n_frames++] = frame;
}

/* Where the innermost run really starts: gilscope's frames, what they called, and the calls that the GIL is made of,
 * are not the program's. */
static size_t skip_own(const struct merge *merge, size_t end)
{
    size_t start = 0, sync = 0;

    for (size_t i = 0; i < end; i++)
        if (merge->native[i].kind == NATIVE_SHIM)
            start = i + 1;
    for (sync = start; sync < end && merge->native[sync].kind == NATIVE_SYNC;)
        sync++;
    if (sync < end && (merge->native[sync].kind == NATIVE_GIL || merge->native[sync].kind == NATIVE_INTERP))
        start = sync;
    return start;
}

/* True if an extension's frame is among those nearer to the root in the run. */
static bool under_code(const struct merge *merge, size_t i, size_t end)
{
    for (i++; i < end; i++)
        if (merge->native[i].kind == NATIVE_CODE)
            return true;
    return false;
}

static void put_inner_run(struct merge *merge, size_t end, bool called_by_python)
{
    size_t start = skip_own(merge, end), builtin = end;

    for (size_t i = end; called_by_python && i > start; i--) { /* from the evaluation loop inwards */
        enum native_kind kind = merge->native[i - 1].kind;
        if (kind == NATIVE_BUILTIN)
            builtin = i - 1;
        if (kind != NATIVE_INTERP)
            break;
    }
    for (size_t i = start; i < end; i++) {
        enum native_kind kind = merge->native[i].kind;
        if (kind == NATIVE_CODE || kind == NATIVE_SYSTEM || kind == NATIVE_SYNC || i == builtin)
            put(merge, merge->native[i].frame);
    }
}

static void put_run(struct merge *merge, size_t start, size_t end)
{
    for (size_t i = start; i < end; i++) {
        enum native_kind kind = merge->native[i].kind;
        bool system = kind == NATIVE_SYSTEM || kind == NATIVE_SYNC;
        if (kind == NATIVE_CODE || (system && under_code(merge, i, end)))
            put(merge, merge->native[i].frame);
    }
}

static bool fits(const struct merge *merge)
{
    size_t n_loops = 0, n_entries = 0;

    for (size_t i = 0; i < merge->n_native; i++)
        n_loops += merge->native[i].kind == NATIVE_EVAL;
    for (size_t i = 0; i < merge->n_python; i++)
        n_entries += merge->python[i].entry;
    return n_loops == n_entries || (merge->native_cut && n_loops < n_entries) ||
           (merge->python_cut && n_loops > n_entries);
}

static size_t find_loop(const struct merge *merge, size_t i)
{
    while (i < merge->n_native && merge->native[i].kind != NATIVE_EVAL)
        i++;
    return i;
}

/* Where the frames that Python code called last end, if no evaluation loop is among the native ones: an interpreter
 * whose loop is not found.  Those of extensions are all there; else what is innermost. */
static size_t end_without_loop(const struct merge *merge)
{
    size_t end = merge->n_native, start = skip_own(merge, end);

    while (end > start && merge->native[end - 1].kind != NATIVE_CODE)
        end--;
    if (end > start)
        return end;
    while (end < merge->n_native &&
           (merge->native[end].kind == NATIVE_SYSTEM || merge->native[end].kind == NATIVE_SYNC))
        end++;
    return end;
}

/* The C library starts threads and programs: nothing that anybody looks for. */
static void drop_outer_system(struct merge *merge, const struct model_stacks *stacks)
{
    while (merge->n_frames > 1) {
        uint32_t outermost = merge->frames[merge->n_frames - 1];
        if (stacks->functions[stacks->frames[outermost].function].role != MODEL_ROLE_SYSTEM)
            return;
        merge->n_frames--;
    }
}

static void reverse(uint32_t *frames, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint32_t frame = frames[i];
        frames[i] = frames[n - 1 - i];
        frames[n - 1 - i] = frame;
    }
}

void merge_stack(struct merge *merge, const struct model_stacks *stacks)
{
    size_t i_python = 0, loop = find_loop(merge, 0);

    merge->n_frames = 0;
    merge->unmatched = merge->n_native && !fits(merge);
    bool lost = loop == merge->n_native && merge->n_python && !merge->native_cut;
    put_inner_run(merge, lost ? end_without_loop(merge) : loop, loop < merge->n_native || merge->n_python);
    while (!merge->unmatched && loop < merge->n_native) {
        size_t start = loop + 1;
        bool entered = false;
        while (i_python < merge->n_python && !entered) {
            put(merge, merge->python[i_python].frame);
            entered = merge->python[i_python++].entry;
        }
        loop = find_loop(merge, start);
        if (i_python < merge->n_python || loop == merge->n_native || !merge->python_cut)
            put_run(merge, start, loop);
    }
    while (i_python < merge->n_python)
        put(merge, merge->python[i_python++].frame);
    drop_outer_system(merge, stacks);
    reverse(merge->frames, merge->n_frames);
}
