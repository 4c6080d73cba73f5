/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-stacks.c - takes the stacks and their weights out of the BPF maps.
 */
#include <bpf/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "collect-bpf.h"
#include "mem.h"

#define CACHE_SIZE 65536u               /* of hashes of raw stacks: a power of 2 */
#define ASLEEP_NS (GS_LONG_NS / 10 * 7) /* who sleeps for so long is looked at, in time before it is long */
#define CACHE_MOST (CACHE_SIZE * 3 / 4)

struct bpf_stacks {
    struct collect_stacks *stacks;
    struct cached {
        uint64_t hash;
        uint32_t number;
    } * cache;
    uint32_t n_cached;
    uint32_t native[GS_NATIVE_STACKS]; /* numbers, 0 = not known yet */
};

struct bpf_stacks *bpf_stacks_new(const struct find_process *found)
{
    struct bpf_stacks *s = mem_zeroed(1, sizeof *s);

    s->stacks = collect_stacks_new(found);
    s->cache = mem_zeroed(CACHE_SIZE, sizeof *s->cache);
    return s;
}

void bpf_stacks_free(struct bpf_stacks *s)
{
    if (!s)
        return;
    collect_stacks_free(s->stacks);
    free(s->cache);
    free(s);
}

void bpf_stacks_move(struct bpf_stacks *s, uint32_t *indices, size_t n)
{
    if (s)
        collect_stacks_move(s->stacks, indices, n, RECWRITER_ENDED);
}

void bpf_stacks_write(const struct bpf_stacks *s, struct recwriter *writer)
{
    collect_stacks_write(s->stacks, writer);
}

/* The number of the stack with this hash in the maps, 0 if it cannot be had. */
static uint32_t python_of(const struct bpf_collector *c, struct bpf_stacks *s, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & (CACHE_SIZE - 1);
    struct collect_frame frames[COLLECT_FRAMES];
    struct gs_stack raw;

    if (!hash)
        return 0;
    for (; s->cache[i].hash; i = (i + 1) & (CACHE_SIZE - 1))
        if (s->cache[i].hash == hash)
            return s->cache[i].number;
    if (bpf_map_lookup_elem(c->stacks_fd, &hash, &raw))
        return 0;
    for (uint32_t k = 0; k < raw.n && k < GS_FRAMES; k++)
        frames[k] =
            (struct collect_frame){raw.frame[k].code, raw.frame[k].at & ~GS_ENTRY, (raw.frame[k].at & GS_ENTRY) != 0};
    uint32_t number = collect_stacks_resolve(s->stacks, frames, raw.n < GS_FRAMES ? raw.n : GS_FRAMES, raw.cut);
    bpf_map_delete_elem(c->stacks_fd, &hash); /* makes room; if it is seen again, it is known here */
    if (s->n_cached < CACHE_MOST) {
        s->cache[i] = (struct cached){hash, number};
        s->n_cached++;
    }
    return number;
}

static uint32_t native_of(const struct bpf_collector *c, struct bpf_stacks *s, int32_t id)
{
    uint64_t addresses[GS_NATIVE];
    uint32_t n = 0;

    if (id < 0 || id >= GS_NATIVE_STACKS)
        return 0;
    if (!s->native[id] && !bpf_map_lookup_elem(c->native_fd, &id, addresses)) {
        while (n < GS_NATIVE && addresses[n])
            n++;
        s->native[id] = collect_stacks_native(s->stacks, addresses, n);
    }
    return s->native[id];
}

static void add(struct bpf_collector *c, const struct gs_sample_key *key, const struct gs_sample *sample)
{
    uint64_t ns[REC_WEIGHTS] = {0};
    uint32_t n[REC_WEIGHTS] = {0};
    const struct bpf_process *p;
    uint32_t slot = bpf_slot_of(c, key->id);

    if (!slot || c->threads[slot].target >= (uint32_t)c->n_processes)
        return;
    p = &c->processes[c->threads[slot].target];
    if (!p->used || !p->stacks)
        return;
    ns[REC_WEIGHT_WAIT] = sample->ns[GS_WEIGHT_WAIT];
    ns[REC_WEIGHT_CHARGED] = sample->ns[GS_WEIGHT_CHARGED];
    ns[REC_WEIGHT_HELD_ONCPU] = sample->ns[GS_WEIGHT_HELD_ON];
    ns[REC_WEIGHT_HELD] = sample->ns[GS_WEIGHT_HELD_ON] + sample->ns[GS_WEIGHT_HELD_OFF];
    ns[REC_WEIGHT_RELEASED_ONCPU] = sample->ns[GS_WEIGHT_RELEASED_ON];
    ns[REC_WEIGHT_RELEASED] = sample->ns[GS_WEIGHT_RELEASED_ON] + sample->ns[GS_WEIGHT_RELEASED_OFF];
    n[REC_WEIGHT_WAIT] = sample->n[GS_WEIGHT_WAIT];
    n[REC_WEIGHT_CHARGED] = sample->n[GS_WEIGHT_CHARGED];
    n[REC_WEIGHT_HELD_ONCPU] = sample->n[GS_WEIGHT_HELD_ON];
    n[REC_WEIGHT_HELD] = sample->n[GS_WEIGHT_HELD_ON] + sample->n[GS_WEIGHT_HELD_OFF];
    n[REC_WEIGHT_RELEASED_ONCPU] = sample->n[GS_WEIGHT_RELEASED_ON];
    n[REC_WEIGHT_RELEASED] = sample->n[GS_WEIGHT_RELEASED_ON] + sample->n[GS_WEIGHT_RELEASED_OFF];
    collect_stacks_add(p->stacks->stacks, c->slots[slot].index, python_of(c, p->stacks, key->stack),
                       native_of(c, p->stacks, key->native), ns, n);
}

static void add_entry(void *context, const void *key, const void *value)
{
    add(context, key, value);
}

void bpf_stacks_drain(struct bpf_collector *c)
{
    bpf_each(c->samples_fd, true, sizeof(struct gs_sample_key), sizeof(struct gs_sample), add_entry, c);
}

/* --- long times off the processors ------------------------------------------------------------------------------- */
static void add_long(struct bpf_process *p, uint32_t index, uint32_t stack, bool held, uint64_t ns)
{
    uint64_t weights[REC_WEIGHTS] = {0};
    uint32_t n[REC_WEIGHTS] = {0};
    int k = held ? REC_WEIGHT_HELD : REC_WEIGHT_RELEASED;

    weights[k] = ns;
    n[k] = 1;
    collect_stacks_add(p->stacks->stacks, index, stack, 0, weights, n);
}

void bpf_stacks_poll(struct bpf_collector *c)
{
    uint64_t now_ns = collect_now_ns();

    for (uint32_t slot = 1, n = bpf_n_slots(c); slot < n; slot++) {
        const volatile struct gs_thread *t = &c->threads[slot];
        struct bpf_slot *s = &c->slots[slot];
        struct bpf_process *p = &c->processes[t->target];
        if (t->target >= (uint32_t)c->n_processes || !p->used || !p->stacks || !t->start_ns || !bpf_meet(c, slot))
            continue;
        if (s->asleep_since_ns && t->long_since_ns == s->asleep_since_ns && s->entered_since_ns != s->asleep_since_ns) {
            add_long(p, s->index, s->asleep_stack, t->long_held, t->long_ns);
            s->entered_since_ns = s->asleep_since_ns;
        }
        uint64_t since_ns = t->since_ns, tstate = t->tstate;
        if (t->end_ns || t->state != GS_RUNS || t->on_cpu || s->asleep_since_ns == since_ns || !tstate ||
            now_ns < since_ns + ASLEEP_NS)
            continue;
        uint32_t stack = collect_stacks_walk(p->stacks->stacks, tstate);
        if (t->on_cpu || t->since_ns != since_ns) /* it has run meanwhile */
            continue;
        s->asleep_since_ns = since_ns;
        s->asleep_stack = stack;
    }
}

void bpf_stacks_add_open(struct bpf_collector *c, uint32_t slot, const struct gs_thread *t, uint64_t now_ns)
{
    struct gs_sample_key key = {.id = t->id, .native = -1, .stack = t->wait_stack};
    struct gs_sample sample = {{0}, {0}};
    struct bpf_slot *s = &c->slots[slot];
    uint64_t ns = now_ns > t->state_ns ? now_ns - t->state_ns : 0;

    if (t->end_ns)
        return;
    if (t->state == GS_RUNS && !t->on_cpu && s->asleep_since_ns == t->since_ns && now_ns > t->since_ns) {
        add_long(&c->processes[t->target], s->index, s->asleep_stack, t->off_held, now_ns - t->since_ns);
    } else if (t->state == GS_RUNS && !t->on_cpu && t->off_chosen && now_ns > t->since_ns) {
        int weight = t->off_held ? GS_WEIGHT_HELD_OFF : GS_WEIGHT_RELEASED_OFF;
        key.stack = t->off_stack;
        sample.ns[weight] = (now_ns - t->since_ns) * t->off_chance;
        sample.n[weight] = 1;
        add(c, &key, &sample);
    } else if (t->state == GS_WAITS && t->wait_chosen) {
        sample.ns[GS_WEIGHT_WAIT] = ns * t->wait_chance;
        sample.n[GS_WEIGHT_WAIT] = 1;
        add(c, &key, &sample);
    }
}
