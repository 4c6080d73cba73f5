/* SPDX-License-Identifier: MIT */
/*
 * collect-stacks.c - tables of places, stacks and weights, each found again by a hash of its contents.
 */
#include "collect-stacks.h"

#include <stdlib.h>
#include <string.h>

#include "cpython-frames.h"
#include "maps.h"
#include "mem.h"
#include "peer.h"

#define PLACES_MAX 65536u
#define STACKS_MAX 32768u
#define WEIGHTS_MAX 65536u
#define NAME_BYTES 512
#define TORN_MAX 3 /* the thread runs on while its frames are read: a few microseconds later they may be whole */

struct place {         /* a line of a function */
    uint64_t code, at; /* by which it is found again; its names are checked */
    char *function, *file;
    uint32_t line, first_line;
};

struct stack {
    uint64_t hash;
    uint32_t n, flags;
    uint32_t *frame; /* places, 1 and up, with REC_ENTRY_FRAME; of a native one, NULL */
    uint64_t *address;
};

struct weight {
    uint64_t hash;
    uint32_t index, python, native;
    uint64_t ns[REC_WEIGHTS];
    uint32_t samples[REC_WEIGHTS];
};

/* Open addressing: slot[] has numbers, 1 and up, 0 = free. */
struct table {
    uint32_t *slot;
    uint32_t size; /* a power of 2 */
};

struct collect_stacks {
    struct find_process process;
    const struct cpython_layout *layout;
    struct place *places;
    struct stack *stacks;
    struct weight *weights;
    size_t n_places, places_room, n_stacks, stacks_room, n_weights, weights_room;
    struct table by_place, by_stack, by_weight;
    uint64_t n_lost;
    uint64_t n_unread;
    struct maps maps;
    uint64_t code_type; /* of code objects, once seen */
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

struct collect_stacks *collect_stacks_new(const struct find_process *process)
{
    struct collect_stacks *s = mem_zeroed(1, sizeof *s);

    s->process = *process;
    s->layout = cpython_layout(process->hex);
    s->by_place = (struct table){mem_zeroed(2 * PLACES_MAX, sizeof(uint32_t)), 2 * PLACES_MAX};
    s->by_stack = (struct table){mem_zeroed(2 * STACKS_MAX, sizeof(uint32_t)), 2 * STACKS_MAX};
    s->by_weight = (struct table){mem_zeroed(2 * WEIGHTS_MAX, sizeof(uint32_t)), 2 * WEIGHTS_MAX};
    return s;
}

void collect_stacks_free(struct collect_stacks *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_places; i++) {
        free(s->places[i].function);
        free(s->places[i].file);
    }
    for (size_t i = 0; i < s->n_stacks; i++) {
        free(s->stacks[i].frame);
        free(s->stacks[i].address);
    }
    free(s->places);
    free(s->stacks);
    free(s->weights);
    free(s->by_place.slot);
    free(s->by_stack.slot);
    free(s->by_weight.slot);
    maps_free(&s->maps);
    free(s);
}

/* --- places ------------------------------------------------------------------------------------------------------ */
static bool read_place(const struct collect_stacks *s, const struct collect_frame *f, struct place *place)
{
    struct cpython_reader reader;
    struct cpython_code code;
    char name[NAME_BYTES], file[NAME_BYTES];
    int pid = s->process.pid;
    int64_t at = (int64_t)f->at;

    cpython_reader_init(&reader, s->layout, peer_read_callback, &pid);
    if (!cpython_code(&reader, f->code, &code) || !cpython_text(&reader, code.name, name, sizeof name, NULL) ||
        !cpython_text(&reader, code.file, file, sizeof file, NULL))
        return false;
    if (s->layout->minor <= 10)
        at = s->layout->minor == 10 ? (int32_t)f->at * 2 : (int32_t)f->at;
    else
        at -= (int64_t)(f->code + s->layout->code_bytes);
    place->function = mem_print("%s", name);
    place->file = mem_print("%s", file);
    place->first_line = code.first_line;
    place->line = at > INT32_MAX || at < -2 ? 0 : cpython_line(&reader, &code, (int32_t)at);
    return true;
}

/* The number of a place, 0 if it cannot be read or there are too many.  It is found again by the addresses of the code
 * object and the instruction: a code object that is made where another one was freed is taken for that one. */
static uint32_t place_of(struct collect_stacks *s, const struct collect_frame *f)
{
    uint64_t hash = mix(mix(0, f->code), f->at);
    struct place place = {.code = f->code, .at = f->at};
    uint32_t i = (uint32_t)hash & (s->by_place.size - 1);

    for (; s->by_place.slot[i]; i = (i + 1) & (s->by_place.size - 1)) {
        const struct place *known = &s->places[s->by_place.slot[i] - 1];
        if (known->code == f->code && known->at == f->at)
            return s->by_place.slot[i];
    }
    if (s->n_places == PLACES_MAX || !read_place(s, f, &place))
        return 0;
    s->places = mem_grow(s->places, s->n_places, &s->places_room, sizeof *s->places);
    s->places[s->n_places++] = place;
    return s->by_place.slot[i] = (uint32_t)s->n_places;
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */
static uint32_t enter_stack(struct collect_stacks *s, const struct stack *stack)
{
    uint32_t i = (uint32_t)stack->hash & (s->by_stack.size - 1);

    for (; s->by_stack.slot[i]; i = (i + 1) & (s->by_stack.size - 1)) {
        const struct stack *known = &s->stacks[s->by_stack.slot[i] - 1];
        if (known->hash == stack->hash && known->n == stack->n && !known->frame == !stack->frame &&
            (stack->frame ? !memcmp(known->frame, stack->frame, stack->n * sizeof *stack->frame)
                          : !memcmp(known->address, stack->address, stack->n * sizeof *stack->address)))
            return s->by_stack.slot[i];
    }
    if (s->n_stacks == STACKS_MAX)
        return 0;
    struct stack copy = *stack;
    if (stack->frame) {
        copy.frame = mem_zeroed(stack->n, sizeof *copy.frame);
        memcpy(copy.frame, stack->frame, stack->n * sizeof *copy.frame);
    } else {
        copy.address = mem_zeroed(stack->n, sizeof *copy.address);
        memcpy(copy.address, stack->address, stack->n * sizeof *copy.address);
    }
    s->stacks = mem_grow(s->stacks, s->n_stacks, &s->stacks_room, sizeof *s->stacks);
    s->stacks[s->n_stacks++] = copy;
    return s->by_stack.slot[i] = (uint32_t)s->n_stacks;
}

uint32_t collect_stacks_resolve(struct collect_stacks *s, const struct collect_frame *frames, uint32_t n, bool cut)
{
    uint32_t numbers[COLLECT_FRAMES];
    struct stack stack = {.hash = 1, .frame = numbers, .flags = cut ? REC_STACK_PYTHON_CUT : 0};

    if (!s->layout)
        return 0;
    for (uint32_t i = 0; i < n && i < COLLECT_FRAMES; i++) {
        if (!frames[i].code) { /* 3.12+: native code called the loop of the frame before it */
            if (stack.n)
                numbers[stack.n - 1] |= REC_ENTRY_FRAME;
            continue;
        }
        uint32_t place = place_of(s, &frames[i]);
        if (!place) { /* torn: the thread ran on meanwhile */
            stack.flags |= REC_STACK_PYTHON_CUT;
            break;
        }
        numbers[stack.n++] = place | (s->layout->minor <= 10 || frames[i].entry ? REC_ENTRY_FRAME : 0);
    }
    if (!stack.n)
        return 0;
    for (uint32_t i = 0; i < stack.n; i++)
        stack.hash = mix(stack.hash, numbers[i]);
    return enter_stack(s, &stack);
}

uint32_t collect_stacks_walk(struct collect_stacks *s, uint64_t tstate)
{
    struct collect_frame frames[COLLECT_FRAMES];
    struct cpython_reader reader;
    struct cpython_walk walk;
    uint32_t n = 0;
    int pid = s->process.pid;
    bool more = false;

    if (!s->layout)
        return 0;
    for (int again = 0; again < TORN_MAX; again++) {
        struct cpython_frame f;
        cpython_reader_init(&reader, s->layout, peer_read_callback, &pid);
        cpython_walk_begin(&walk, &reader, tstate, s->code_type);
        n = 0;
        while ((more = cpython_walk_next(&walk, &f)) && n < COLLECT_FRAMES) {
            uint64_t at = s->layout->minor >= 11   ? f.code + s->layout->code_bytes + (uint64_t)(int64_t)f.at
                          : s->layout->minor == 10 ? (uint64_t)(int64_t)(f.at / 2)
                                                   : (uint64_t)(int64_t)f.at;
            frames[n++] = (struct collect_frame){f.code, at, f.entry};
        }
        s->code_type = walk.code_type;
        if (!walk.broken)
            break;
    }
    return collect_stacks_resolve(s, frames, n, more || walk.broken);
}

uint32_t collect_stacks_native(struct collect_stacks *s, const uint64_t *addresses, uint32_t n)
{
    uint64_t copy[COLLECT_FRAMES];
    struct stack stack = {.hash = 2, .address = copy};

    /* Without frame pointers the kernel follows whatever the register has: what is no code ends it. */
    for (uint32_t i = 0; i < n && i < COLLECT_FRAMES && maps_is_code(&s->maps, s->process.pid, addresses[i]); i++) {
        copy[stack.n++] = addresses[i];
        stack.hash = mix(stack.hash, addresses[i]);
    }
    return stack.n ? enter_stack(s, &stack) : 0;
}

static void add_weight(struct collect_stacks *s, uint32_t index, uint32_t python, uint32_t native,
                       const uint64_t ns[REC_WEIGHTS], const uint32_t samples[REC_WEIGHTS])
{
    uint64_t hash = mix(mix(mix(3, index), python), native);
    uint32_t i = (uint32_t)hash & (s->by_weight.size - 1);
    struct weight *w = NULL;

    for (; s->by_weight.slot[i] && !w; i = (i + 1) & (s->by_weight.size - 1)) {
        struct weight *known = &s->weights[s->by_weight.slot[i] - 1];
        if (known->index == index && known->python == python && known->native == native)
            w = known;
    }
    if (!w && s->n_weights == WEIGHTS_MAX) {
        s->n_lost++;
        return;
    }
    if (!w) {
        s->weights = mem_grow(s->weights, s->n_weights, &s->weights_room, sizeof *s->weights);
        w = &s->weights[s->n_weights++];
        *w = (struct weight){.hash = hash, .index = index, .python = python, .native = native};
        s->by_weight.slot[i] = (uint32_t)s->n_weights;
    }
    for (int k = 0; k < REC_WEIGHTS; k++) {
        w->ns[k] += ns[k];
        w->samples[k] += samples[k];
    }
}

void collect_stacks_add(struct collect_stacks *s, uint32_t index, uint32_t python, uint32_t native,
                        const uint64_t ns[REC_WEIGHTS], const uint32_t samples[REC_WEIGHTS])
{
    if (!python && !native) {
        for (int k = 0; k < REC_WEIGHTS; k++)
            s->n_unread += samples[k];
        return;
    }
    add_weight(s, index, python, native, ns, samples);
}

static int compare_indices(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void collect_stacks_move(struct collect_stacks *s, uint32_t *indices, size_t n, uint32_t index)
{
    size_t n_weights = s->n_weights;

    qsort(indices, n, sizeof *indices, compare_indices);

    /* Each is entered anew, at a place no later than its own. */
    memset(s->by_weight.slot, 0, s->by_weight.size * sizeof *s->by_weight.slot);
    s->n_weights = 0;
    for (size_t i = 0; i < n_weights; i++) {
        struct weight w = s->weights[i];
        if (bsearch(&w.index, indices, n, sizeof *indices, compare_indices))
            w.index = index;
        add_weight(s, w.index, w.python, w.native, w.ns, w.samples);
    }
}

/* --- the picture ------------------------------------------------------------------------------------------------- */
void collect_stacks_write(const struct collect_stacks *s, struct recwriter *writer)
{
    uint32_t *cells = mem_zeroed(s->n_places, sizeof *cells), python[COLLECT_FRAMES];

    for (size_t i = 0; i < s->n_places; i++) {
        const struct place *p = &s->places[i];
        cells[i] = recwriter_frame(writer, p->function, p->file, p->line, p->first_line);
    }
    for (size_t i = 0; i < s->n_weights; i++) {
        const struct weight *w = &s->weights[i];
        const struct stack *py = w->python ? &s->stacks[w->python - 1] : NULL;
        const struct stack *native = w->native ? &s->stacks[w->native - 1] : NULL;
        uint32_t flags = (py ? py->flags : REC_STACK_NO_PYTHON) | (native ? 0 : REC_STACK_NO_NATIVE);
        for (uint32_t j = 0; py && j < py->n; j++)
            python[j] = cells[(py->frame[j] & ~REC_ENTRY_FRAME) - 1] | (py->frame[j] & REC_ENTRY_FRAME);
        struct recwriter_stack stack = {
            w->index, flags,     python, py ? py->n : 0, native ? native->address : NULL, native ? native->n : 0,
            w->ns,    w->samples};
        recwriter_stack(writer, &stack);
    }
    maps_write(&s->maps, writer);
    recwriter_loss(writer, REC_LOSS_STACKS, s->n_lost);
    recwriter_loss(writer, REC_LOSS_STACKS_UNREAD, s->n_unread);
    free(cells);
}
