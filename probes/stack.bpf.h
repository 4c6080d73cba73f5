/* SPDX-License-Identifier: MIT */
/*
 * stack.bpf.h - Python frames of the current thread, and the weights of samples.
 */
#ifndef GILSCOPE_STACK_BPF_H
#define GILSCOPE_STACK_BPF_H

static __always_inline void wait_stack(struct gs_thread *t, const struct gs_target *target)
{
}
static __always_inline void weigh_wait(struct gs_thread *t, gs_u64 ns)
{
}
static __always_inline void off_stack(struct gs_thread *t, const struct gs_target *target)
{
}
static __always_inline void weigh_off(struct gs_thread *t, gs_u64 now)
{
}
static __always_inline void clock_stack(struct gs_thread *t, const struct gs_target *target, struct gs_gil *gil,
                                        bool mine, void *ctx)
{
}

#endif
