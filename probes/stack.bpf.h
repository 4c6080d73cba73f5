/* SPDX-License-Identifier: MIT */
/*
 * stack.bpf.h - Python frames of the current thread, and the weights of samples.
 *
 * On a processor the clock takes the samples.  Waits and times off the processor have their stack taken at their begin,
 * by chance: one in so many that it costs little, and then with that many times their length, so that the sums are right
 * on average.  The longer one is expected to be, the better its chance; where they are so many that a processor would
 * walk stacks more often than every STACK_EVERY_NS, all chances get smaller.  Where that would be a matter of luck, in
 * long times off the processor, the loader has the time to look at the stack itself.
 */
#ifndef GILSCOPE_STACK_BPF_H
#define GILSCOPE_STACK_BPF_H

#define WAIT_TYPICAL_NS 200000 /* waits and ...  */
#define OFF_TYPICAL_NS 1000000 /* ... times off the processor that are so long on average are all looked at */
#define CHANCE_MOST 64
#define STACK_EVERY_NS 2000000 /* on one processor: on average a walk is at least so far from the last one */

static __always_inline gs_u64 read_pointer(gs_u64 address)
{
    gs_u64 value = 0;

    bpf_probe_read_user(&value, sizeof value, (void *)address);
    return value;
}

/* Of the frame, or thread state, that was read last. */
static __always_inline gs_u64 raw_field(const struct gs_scratch *s, gs_u32 offset)
{
    return *(const gs_u64 *)(s->raw + (offset & (GS_RAW - 1)));
}

/* The innermost frame of a thread; 0 = none, or its thread state is not its own any more. */
static __always_inline gs_u64 first_frame(struct gs_thread *t, const struct gs_target *l)
{
    gs_u32 zero = 0;
    struct gs_scratch *s = bpf_map_lookup_elem(&scratch, &zero);

    if (!s || !t->tstate || bpf_probe_read_user(s->raw, l->tstate_bytes & (GS_RAW - 1), (void *)t->tstate))
        return 0;
    if (raw_field(s, l->tstate_thread_id) != t->self) {
        t->tstate = 0;
        return 0;
    }
    gs_u64 frame = raw_field(s, l->tstate_frame);
    return l->cframe_current >= 0 && frame ? read_pointer(frame + l->cframe_current) : frame;
}

static __always_inline gs_u64 raw_instruction(const struct gs_scratch *s, const struct gs_target *l)
{
    gs_u64 at = raw_field(s, l->frame_instruction);

    return l->instruction_bytes == 4 ? (gs_u32)at : at;
}

/* Where the innermost frame of the current thread is; 0, 0 if that cannot be read. */
static __always_inline void innermost(struct gs_thread *t, const struct gs_target *l, gs_u64 *code, gs_u64 *at)
{
    gs_u32 zero = 0;
    struct gs_scratch *s = bpf_map_lookup_elem(&scratch, &zero);
    gs_u64 frame = s && l->knows_frames ? first_frame(t, l) : 0;

    *code = *at = 0;
    if (!frame || bpf_probe_read_user(s->raw, l->frame_bytes & (GS_RAW - 1), (void *)frame))
        return;
    *code = raw_field(s, l->frame_code) & ~3ull;
    if (*code)
        *at = raw_instruction(s, l);
}

#define UNREAD 1 /* in place of a frame's address */

/* Enters a frame of the current thread as the i-th; the one that called it.  As a function of its own, the verifier
 * looks at it once. */
__noinline gs_u64 walk_one(const struct gs_target *l, gs_u32 i, gs_u64 frame)
{
    gs_u32 zero = 0;
    struct gs_scratch *s = bpf_map_lookup_elem(&scratch, &zero);

    if (!s || !l || i >= GS_FRAMES || bpf_probe_read_user(s->raw, l->frame_bytes & (GS_RAW - 1), (void *)frame))
        return UNREAD;
    gs_u64 code = raw_field(s, l->frame_code) & ~3ull, at = raw_instruction(s, l);
    if (l->border && s->raw[l->frame_owner & (GS_RAW - 1)] >= 3) /* between C and Python */
        code = at = 0;
    if (l->frame_entry && s->raw[l->frame_entry & (GS_RAW - 1)])
        at |= GS_ENTRY;
    s->stack.frame[i].code = code;
    s->stack.frame[i].at = at;
    s->hash = mix(mix(s->hash, code), at);
    return raw_field(s, l->frame_back);
}

/* Enters the frames of the current thread, from this one on, among the stacks; their hash, 0 = there is nothing to be
 * read.  As cpython_walk_next() in lib/cpython-frames.c, but raw: what they mean is found out later. */
__noinline gs_u64 walk(const struct gs_target *l, gs_u64 frame)
{
    gs_u32 zero = 0, n = 0;
    struct gs_scratch *s = bpf_map_lookup_elem(&scratch, &zero);

    if (!s || !l)
        return 0;
    s->hash = 0xcbf29ce484222325ull;
    for (n = 0; n < GS_FRAMES && frame; n++) {
        gs_u64 back = walk_one(l, n, frame);
        if (back == UNREAD)
            break;
        frame = back;
    }
    if (!n)
        return 0;
    s->stack.n = n;
    s->stack.cut = frame != 0;
    gs_u64 hash = s->hash ? s->hash : 1;
    if (!bpf_map_lookup_elem(&stacks, &hash) && bpf_map_update_elem(&stacks, &hash, &s->stack, BPF_ANY))
        __sync_fetch_and_add(&losses[GS_LOSS_STACKS], 1);
    return hash;
}

/* 0 = none could be read. */
static __always_inline gs_u64 own_stack(struct gs_thread *t, const struct gs_target *target)
{
    return target->walk_frames ? walk(target, first_frame(t, target)) : 0;
}

static __always_inline void weigh(struct gs_thread *t, gs_u64 stack, gs_s32 native, gs_u32 weight, gs_u64 ns,
                                  gs_u64 charged_ns)
{
    struct gs_sample_key key = {.stack = stack, .id = t->id, .native = native};
    struct gs_sample *sample = bpf_map_lookup_elem(&samples, &key);

    if (!key.id)
        return;
    if (!sample) {
        gs_u32 zero = 0;
        struct gs_sample *empty = bpf_map_lookup_elem(&no_sample, &zero);
        if (!empty || bpf_map_update_elem(&samples, &key, empty, BPF_NOEXIST))
            __sync_fetch_and_add(&losses[GS_LOSS_STACKS], 1);
        sample = bpf_map_lookup_elem(&samples, &key);
        if (!sample)
            return;
    }
    if (weight < GS_WEIGHTS) {
        __sync_fetch_and_add(&sample->ns[weight], ns);
        __sync_fetch_and_add(&sample->n[weight], 1);
    }
    if (charged_ns) {
        __sync_fetch_and_add(&sample->ns[GS_WEIGHT_CHARGED], charged_ns);
        __sync_fetch_and_add(&sample->n[GS_WEIGHT_CHARGED], 1);
    }
}

/* One in how many intervals is to be looked at.  One begins at `now`, and is expected to take mean_ns; one of
 * typical_ns would be looked at if there were few. */
static __always_inline gs_u32 chance_of(gs_u64 mean_ns, gs_u64 typical_ns, gs_u64 now)
{
    gs_u32 zero = 0;
    struct gs_pace *pace = bpf_map_lookup_elem(&paces, &zero);

    if (mean_ns > 10 * (gs_u64)GS_LONG_NS)
        mean_ns = 10 * (gs_u64)GS_LONG_NS;
    if (pace) {
        gs_u64 gap = now - pace->last_ns, busy;
        pace->last_ns = now;
        if (gap > 10 * STACK_EVERY_NS)
            gap = 10 * STACK_EVERY_NS;
        pace->gap_ns = pace->gap_ns - pace->gap_ns / 16 + gap / 16;
        pace->length_ns = pace->length_ns - pace->length_ns / 16 + mean_ns / 16;
        busy = pace->length_ns * STACK_EVERY_NS / (pace->gap_ns + 1);
        if (typical_ns < busy)
            typical_ns = busy;
    }
    if (mean_ns >= typical_ns)
        return 1;
    if (mean_ns * CHANCE_MOST <= typical_ns)
        return CHANCE_MOST;
    return typical_ns / (mean_ns + 1);
}

static __always_inline bool chosen(gs_u32 chance)
{
    return chance <= 1 || bpf_get_prandom_u32() % chance == 0;
}

static __always_inline void wait_stack(struct gs_thread *t, const struct gs_target *target, gs_u64 now)
{
    if (!target->walk_frames)
        return;
    t->wait_chance = chance_of(t->wait_mean_ns, WAIT_TYPICAL_NS, now);
    t->wait_chosen = chosen(t->wait_chance);
    if (t->wait_chosen)
        t->wait_stack = own_stack(t, target);
}

static __always_inline void weigh_wait(struct gs_thread *t, gs_u64 ns)
{
    t->wait_mean_ns = t->wait_mean_ns - t->wait_mean_ns / 8 + ns / 8;
    if (t->wait_chosen)
        weigh(t, t->wait_stack, -1, GS_WEIGHT_WAIT, ns * t->wait_chance, 0);
    t->wait_chosen = 0;
}

static __always_inline void off_stack(struct gs_thread *t, const struct gs_target *target, gs_u64 now)
{
    if (!target->walk_frames)
        return;
    t->off_chance = chance_of(t->off_mean_ns, OFF_TYPICAL_NS, now);
    t->off_chosen = chosen(t->off_chance);
    if (t->off_chosen)
        t->off_stack = own_stack(t, target);
}

static __always_inline void weigh_off(struct gs_thread *t, gs_u64 now)
{
    gs_u64 ns = now > t->since_ns ? now - t->since_ns : 0;
    struct gs_gil *gil = bpf_map_lookup_elem(&gils, &t->gil);

    t->off_mean_ns = t->off_mean_ns - t->off_mean_ns / 8 + ns / 8;
    if (ns >= GS_LONG_NS) {
        t->long_ns = ns;
        t->long_held = t->off_held;
        t->long_since_ns = t->since_ns;
    } else if (t->off_chosen) {
        ns *= t->off_chance;
        weigh(t, t->off_stack, -1, t->off_held ? GS_WEIGHT_HELD_OFF : GS_WEIGHT_RELEASED_OFF, ns,
              t->off_held && gil ? ns * gil->n_waiters : 0);
    }
    t->off_chosen = 0;
}

static __always_inline void clock_stack(struct gs_thread *t, const struct gs_target *target, struct gs_gil *gil,
                                        bool mine, void *ctx)
{
    gs_s32 native = -1;

    if (!target->walk_frames)
        return;
    if (target->walk_native)
        native = bpf_get_stackid(ctx, &native_stacks, BPF_F_USER_STACK);
    weigh(t, own_stack(t, target), native, mine ? GS_WEIGHT_HELD_ON : GS_WEIGHT_RELEASED_ON, sample_ns,
          mine ? sample_ns * gil->n_waiters : 0);
}

#endif
