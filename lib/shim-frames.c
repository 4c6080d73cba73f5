/* SPDX-License-Identifier: MIT */
/*
 * shim-frames.c - the calling thread's Python frames, as cells of the recording's frames.
 *
 * The first walks of a process read its memory through the kernel: a layout that does not fit costs samples, not the
 * process.  Once it has proven itself, memory is read directly, which is a hundred times faster.  The thread holds the
 * GIL, so that nothing that its frames refer to can go away meanwhile.
 *
 * What code object and instruction mean is kept in a cache.  Addresses are used again for other code, so that an entry
 * counts only if what the code object refers to is where it was and its texts are those that they were.
 */
#define _GNU_SOURCE
#include "shim-frames.h"

#include <string.h>
#include <sys/uio.h>

#include "cpython-callee.h"
#include "cpython-frames.h"
#include "shim-name.h"
#include "shim-stack.h"

#define PROVING 24    /* walks through the kernel */
#define TRIES 200     /* of which at most so many may fail */
#define CACHED 2048   /* places */
#define TEXT_MAX 1000 /* bytes of a file's or function's name that are kept */

struct place {
    uint64_t code;
    int32_t at;
    uint32_t cell; /* of the rec_frame; 0 = entry unused */
    uint64_t content;
};
static struct place cache[CACHED];
static uint32_t room[1 + SHIM_PYTHON_FRAMES];
static const struct cpython_layout *layout;
static const void *const *finalizing; /* in _PyRuntime */
static uint64_t code_type;
static uint32_t proven, failed;

void shim_frames_start(uint32_t python_hex, const void *runtime)
{
    layout = cpython_layout(python_hex);
    finalizing = layout && runtime ? (const void *const *)((const char *)runtime + layout->runtime_finalizing) : NULL;
    code_type = 0;
    proven = failed = 0;
    memset(cache, 0, sizeof cache);
}

static uint64_t place_of(const struct cpython_frame *f)
{
    return f->code ^ (uint64_t)(uint32_t)f->at << 40;
}

static int by_kernel(void *context, uint64_t address, void *bytes, size_t n)
{
    (void)context;
    return shim_name_read_self((const void *)(uintptr_t)address, bytes, n);
}

/* Something that differs, in all likelihood, between two texts: of a str, its length, kind, hash if it has been asked
 * for, and last characters. */
static bool add_text(struct cpython_reader *r, uint64_t object, uint64_t *sum)
{
    uint64_t head[4]; /* length, hash, state and what lies behind it; in front of them the object's head */
    unsigned char tail[32] = {0};
    if (cpython_fetch(r, object + CPYTHON_UNICODE_LENGTH, head, sizeof head) != 0 || head[0] > 1u << 20)
        return false;
    uint32_t state = (uint32_t)head[2];
    uint64_t bytes = head[0] * ((state >> 2) & 7);
    uint64_t data = object + ((state >> 6) & 1 ? layout->ascii_data : layout->compact_data);
    uint64_t n = bytes < sizeof tail ? bytes : sizeof tail;
    if (cpython_fetch(r, data + bytes - n, tail, n) != 0)
        return false;
    uint64_t words[4], all = *sum ^ object;
    memcpy(words, tail, sizeof words);
    all = (all ^ head[0]) * 0x9e3779b97f4a7c15u;
    all = (all ^ all >> 31 ^ head[1]) * 0x9e3779b97f4a7c15u; /* the hash: computed once, or -1 until then */
    for (int i = 0; i < 4; i++)
        all = (all ^ all >> 31 ^ words[i]) * 0x9e3779b97f4a7c15u;
    *sum = all ^ all >> 29;
    return true;
}

/* Of all that is told of a place. */
static bool content_of(struct cpython_reader *r, const struct cpython_code *c, uint64_t *sum)
{
    uint64_t size = 0, start[2] = {0};
    *sum = c->first_line;
    if (!add_text(r, c->name, sum) || !add_text(r, c->file, sum) ||
        cpython_fetch(r, c->lines + CPYTHON_OB_SIZE, &size, sizeof size) != 0 ||
        cpython_fetch(r, c->lines + CPYTHON_BYTES_DATA, start, size < sizeof start ? size : sizeof start) != 0)
        return false;
    uint64_t all = (*sum ^ c->lines) * 0x9e3779b97f4a7c15u;
    all = (all ^ all >> 31 ^ size) * 0x9e3779b97f4a7c15u;
    all = (all ^ all >> 31 ^ start[0]) * 0x9e3779b97f4a7c15u;
    all = (all ^ all >> 31 ^ start[1]) * 0x9e3779b97f4a7c15u;
    *sum = all ^ all >> 29;
    return true;
}

static uint32_t text_cell(struct cpython_reader *r, uint64_t object)
{
    char text[TEXT_MAX + 8];
    size_t n;
    return cpython_text(r, object, text, sizeof text, &n) ? shim_stack_string(text, n) : 0;
}

/* The cell of the frame's rec_frame; 0 if it could not be read or there is no room. */
static uint32_t cell_of(struct cpython_reader *r, const struct cpython_frame *f)
{
    struct cpython_code c;
    uint64_t content;
    if (!cpython_code(r, f->code, &c) || !content_of(r, &c, &content))
        return 0;
    uint64_t hash = (f->code ^ (uint64_t)(uint32_t)f->at << 40) * 0x9e3779b97f4a7c15u;
    struct place *p = &cache[hash >> 32 & (CACHED - 1)];
    if (p->cell && p->code == f->code && p->at == f->at && p->content == content)
        return p->cell;
    uint32_t function = text_cell(r, c.name), file = text_cell(r, c.file);
    uint32_t cell = shim_stack_frame(function, file, cpython_line(r, &c, f->at), c.first_line);
    *p = (struct place){f->code, f->at, cell, content};
    return cell;
}

void shim_frames_stop(void)
{
    finalizing = NULL;
    failed = TRIES;
    proven = 0;
}

uint32_t *shim_frames_read(uintptr_t tstate, uint32_t *n, uint32_t *flags, uint64_t *place)
{
    struct cpython_reader r;
    struct cpython_walk w;
    struct cpython_frame f;
    uint32_t i = 0, *cells = room + 1;
    bool whole = true;
    *n = 0;
    *place = 0;
    /* A daemon thread may still take the GIL while the runtime is being torn down: its thread state may be gone. */
    const void *finalizer = finalizing ? __atomic_load_n(finalizing, __ATOMIC_RELAXED) : NULL;
    if (!layout || !tstate || (tstate & 7) || (finalizer && (uintptr_t)finalizer != tstate) ||
        (proven < PROVING && failed >= TRIES)) {
        *flags |= REC_STACK_NO_PYTHON;
        return cells;
    }
    cpython_reader_init(&r, layout, proven < PROVING ? by_kernel : NULL, NULL);
    cpython_walk_begin(&w, &r, tstate, code_type);
    for (; cpython_walk_next(&w, &f); i++) {
        if (i == SHIM_PYTHON_FRAMES) {
            *flags |= REC_STACK_PYTHON_CUT;
            break;
        }
        if (i == 0)
            *place = place_of(&f);
        uint32_t cell = cell_of(&r, &f);
        if (!cell) {
            whole = false;
            break;
        }
        cells[i] = cell | (f.entry ? REC_ENTRY_FRAME : 0);
    }
    code_type = w.code_type;
    if (!whole || w.broken) {
        if (proven < PROVING)
            failed++;
        *flags |= i ? REC_STACK_PYTHON_CUT : REC_STACK_NO_PYTHON;
        *n = i;
        return cells;
    }
    if (proven < PROVING && i)
        proven++;
    *n = i;
    return cells;
}

static uint64_t callee(uintptr_t tstate, uint64_t *place,
                       uint64_t (*find)(struct cpython_reader *, uint64_t, struct cpython_frame *))
{
    struct cpython_reader r;
    struct cpython_frame f = {.code = 0};
    if (!layout || proven < PROVING || !tstate || (tstate & 7))
        return 0;
    cpython_reader_init(&r, layout, by_kernel, NULL);
    uint64_t function = find(&r, tstate, &f);
    *place = place_of(&f);
    return function;
}

uint64_t shim_frames_callee(uintptr_t tstate, uint64_t *place)
{
    return callee(tstate, place, cpython_callee);
}

uint64_t shim_frames_callee_of_ctypes(uintptr_t tstate, uint64_t *place)
{
    return callee(tstate, place, cpython_callee_of_ctypes);
}
