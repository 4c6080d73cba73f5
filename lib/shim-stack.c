/* SPDX-License-Identifier: MIT */
/*
 * shim-stack.c - the stacks of the recording: found again, or entered.
 *
 * The records lie in the recording, allotted by shim_file_record; what is here are hash tables of their cells, in
 * private memory that grows with them.
 */
#include "shim-stack.h"

#include <string.h>
#include <sys/mman.h>

#include "shim-file.h"
#include "shim-native.h"

#define STACKS_BYTES (32u << 20) /* of the recording, at most */
#define FIRST_SLOTS 512u
#define SLOTS_MAX (1u << 18)
#define TRIES 500 /* to enter, each about 20 ns */

struct slot {
    uint32_t hash, cell; /* cell 0 = free */
};
struct table {
    struct slot *slots;
    uint32_t n_slots, used;
};

static struct table strings, frames, stacks, aliases;
static uint64_t bytes_used;
static uint32_t busy;

bool shim_stack_enter(void)
{
    for (int tries = 0; tries < TRIES; tries++) {
        if (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE) == 0)
            return true;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    return false;
}

void shim_stack_leave(void)
{
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

static void empty(struct table *t)
{
    if (t->slots)
        munmap(t->slots, t->n_slots * sizeof *t->slots);
    memset(t, 0, sizeof *t);
}

void shim_stack_reset(void)
{
    empty(&strings);
    empty(&frames);
    empty(&stacks);
    empty(&aliases);
    bytes_used = 0;
    busy = 0;
}

static struct slot *free_slot(struct slot *slots, uint32_t n_slots, uint32_t hash)
{
    uint32_t i = hash & (n_slots - 1);
    while (slots[i].cell)
        i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

/* Makes room for one more; false if there is none. */
static bool reserve(struct table *t)
{
    if (t->used < t->n_slots / 4 * 3)
        return true;
    uint32_t n_slots = t->n_slots ? t->n_slots * 2 : FIRST_SLOTS;
    if (n_slots > SLOTS_MAX)
        return false;
    struct slot *slots =
        mmap(NULL, n_slots * sizeof *slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slots == MAP_FAILED)
        return false;
    for (uint32_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].cell)
            *free_slot(slots, n_slots, t->slots[i].hash) = t->slots[i];
    if (t->slots)
        munmap(t->slots, t->n_slots * sizeof *t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    return true;
}

static void add(struct table *t, uint32_t hash, uint32_t cell)
{
    *free_slot(t->slots, t->n_slots, hash) = (struct slot){hash, cell};
    t->used++;
}

/* Walks the slots with this hash: the first of them, or the next. */
static struct slot *find(const struct table *t, uint32_t hash, struct slot *after)
{
    if (!t->n_slots)
        return NULL;
    uint32_t i = after ? (uint32_t)(after - t->slots) + 1 : hash;
    for (;; i++) {
        struct slot *s = &t->slots[i & (t->n_slots - 1)];
        if (!s->cell)
            return NULL;
        if (s->hash == hash)
            return s;
    }
}

static void *allot(struct table *t, size_t bytes)
{
    if (bytes_used + bytes > STACKS_BYTES || bytes_used + bytes > SHIM.map_bytes / 2 || !reserve(t))
        return NULL;
    void *record = shim_file_record((uint32_t)bytes);
    if (record)
        bytes_used += bytes;
    return record;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint32_t finish(uint64_t hash)
{
    return (uint32_t)(hash ^ hash >> 32);
}

/* --- strings and frames ------------------------------------------------------------------------------------------ */
uint32_t shim_stack_string(const char *bytes, size_t n)
{
    uint64_t sum = n;
    for (size_t i = 0; i < n; i++)
        sum = mix(sum, (unsigned char)bytes[i]);
    uint32_t hash = finish(sum);
    for (struct slot *s = NULL; (s = find(&strings, hash, s)) != NULL;) {
        const struct rec_string *found = shim_file_at(s->cell);
        if (found->length == n && memcmp(found->bytes, bytes, n) == 0)
            return s->cell;
    }
    struct rec_string *made = allot(&strings, sizeof *made + n);
    if (!made)
        return 0;
    made->hash = hash;
    made->length = (uint32_t)n;
    memcpy(made->bytes, bytes, n);
    shim_file_publish(made, REC_STRING);
    add(&strings, hash, shim_file_cell(made));
    return shim_file_cell(made);
}

uint32_t shim_stack_frame(uint32_t function, uint32_t file, uint32_t line, uint32_t first_line)
{
    if (!function || !file)
        return 0;
    uint32_t hash = finish(mix(mix(function, file), (uint64_t)line << 32 | first_line));
    for (struct slot *s = NULL; (s = find(&frames, hash, s)) != NULL;) {
        const struct rec_frame *found = shim_file_at(s->cell);
        if (found->function == function && found->file == file && found->line == line &&
            found->first_line == first_line)
            return s->cell;
    }
    struct rec_frame *made = allot(&frames, sizeof *made);
    if (!made)
        return 0;
    made->function = function;
    made->file = file;
    made->line = line;
    made->first_line = first_line;
    shim_file_publish(made, REC_FRAME);
    add(&frames, hash, shim_file_cell(made));
    return shim_file_cell(made);
}

/* --- stacks ------------------------------------------------------------------------------------------------------ */
static bool same_python(const struct rec_stack *s, uint32_t n_native, const uint32_t *python, uint32_t n_python,
                        uint32_t flags)
{
    return s->n_python == n_python &&
           (s->flags & (REC_STACK_PYTHON_CUT | REC_STACK_NO_PYTHON)) ==
               (flags & (REC_STACK_PYTHON_CUT | REC_STACK_NO_PYTHON)) &&
           memcmp(&s->native[n_native], python, n_python * sizeof *python) == 0;
}

/* Do its native frames still mean the same? */
static bool still(const struct rec_stack *s, uint32_t n_native, uint32_t generation)
{
    return s->generation == generation || shim_native_still(s->native, n_native, s->generation);
}

/* Remembers the stack as the one with native frames for these Python ones. */
static void set_alias(uint32_t hash, uint32_t cell)
{
    struct slot *s = find(&aliases, hash, NULL);
    if (s)
        s->cell = cell;
    else if (reserve(&aliases))
        add(&aliases, hash, cell);
}

/* The stack that is remembered for these Python frames under this hash, if it still means the same, and the number of
 * its native frames. */
static struct rec_stack *alias(uint32_t hash, const uint32_t *python, uint32_t n_python, uint32_t flags,
                               uint32_t generation, uint32_t *n_native)
{
    const struct slot *s = find(&aliases, hash, NULL);
    struct rec_stack *known = s ? shim_file_at(s->cell) : NULL;
    *n_native = known ? __atomic_load_n(&known->n_native, __ATOMIC_RELAXED) : 0;
    return known && *n_native <= SHIM_NATIVE_FRAMES && same_python(known, *n_native, python, n_python, flags) &&
                   still(known, *n_native, generation)
               ? known
               : NULL;
}

struct rec_stack *shim_stack_get(const uint32_t *python, uint32_t n_python, uint32_t flags,
                                 const struct shim_half *half, uint64_t place, uint32_t generation)
{
    const uint64_t *native = NULL;
    uint32_t n_native = 0, n_known;
    uint64_t sum = flags;
    for (uint32_t i = 0; i < n_python; i++)
        sum = mix(sum, python[i]);
    uint32_t everybodys = finish(mix(sum, place));
    sum = mix(sum, T.rec->index);
    uint32_t own = finish(mix(sum, place));
    if (half) {
        native = half->native;
        n_native = half->n;
        generation = half->generation;
        flags |= half->flags;
    } else {
        struct rec_stack *known = alias(own, python, n_python, flags, generation, &n_known);
        if (known && known->thread == T.rec->index)
            return known;
        known = alias(everybodys, python, n_python, flags, generation, &n_known);
        if (known) { /* another thread was at the same place of the same code */
            native = known->native;
            n_native = n_known;
            generation = known->generation;
            flags = known->flags;
        } else {
            flags |= REC_STACK_NO_NATIVE;
        }
    }
    for (uint32_t i = 0; i < n_native; i++)
        sum = mix(sum, native[i]);
    uint32_t hash = finish(mix(sum, flags)), cell = 0;
    for (struct slot *s = NULL; (s = find(&stacks, hash, s)) != NULL && !cell;) {
        const struct rec_stack *found = shim_file_at(s->cell);
        if (found->thread == T.rec->index && found->n_native == n_native && found->flags == flags &&
            same_python(found, n_native, python, n_python, flags) &&
            (!n_native || memcmp(found->native, native, n_native * sizeof *native) == 0) &&
            still(found, n_native, generation))
            cell = s->cell;
    }
    struct rec_stack *stack = cell ? shim_file_at(cell) : NULL;
    if (!stack) {
        stack = allot(&stacks, sizeof *stack + n_native * sizeof *native + n_python * sizeof *python);
        if (!stack)
            return NULL;
        stack->thread = T.rec->index;
        stack->hash = hash;
        stack->n_native = n_native;
        stack->n_python = n_python;
        stack->flags = flags;
        stack->generation = generation;
        if (n_native)
            memcpy(stack->native, native, n_native * sizeof *native);
        memcpy(&stack->native[n_native], python, n_python * sizeof *python);
        shim_file_publish(stack, REC_STACK);
        cell = shim_file_cell(stack);
        add(&stacks, hash, cell);
    }
    if (native && !(half && half->callee)) { /* which is not there each time */
        set_alias(own, cell);
        set_alias(everybodys, cell);
    }
    return stack;
}
