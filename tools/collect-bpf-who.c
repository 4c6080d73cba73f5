/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-who.c - who the threads are that the BPF programs have accounts of: names, thread states, delays.
 */
#include <string.h>

#include "collect-bpf.h"
#include "live.h"

#define NAME_TRIES 50
#define RUN_DELAY_EVERY 10 /* pictures: reading a file for each thread is not for nothing */

/* The thread's state, in the list that was read before the thread's figures were.  glibc gives a new thread the memory
 * of one that has ended, and so its pthread_self(): of a thread that has ended meanwhile, or had not begun then, a
 * state is its own only if its number is, too. */
static const struct find_thread *tstate_of(const struct threads_list *tstates, uint64_t now_ns, const struct bpf_slot *s,
                                           const struct gs_thread *t)
{
    const struct find_thread *tstate = threads_find(tstates, t->self);

    if (tstate && (t->end_ns || t->start_ns > now_ns) && tstate->native_id != s->inner_tid)
        return NULL;
    return tstate;
}

/* The thread had no processor for so long in all its life. */
static void learn_delay(struct bpf_collector *c, uint32_t slot, const struct gs_thread *t, uint64_t delay_ns)
{
    struct bpf_slot *s = &c->slots[slot];

    if (!s->run_delay_known)
        s->run_delay_first_ns = t->start_ns > c->processes[t->target].start_ns ? 0 : delay_ns;
    s->run_delay_known = true;
    s->run_delay_ns = delay_ns;
}

void bpf_learn_end(struct bpf_collector *c, uint32_t slot, const struct gs_thread *t)
{
    if (t->end_ns && t->run_delay_ns)
        learn_delay(c, slot, t, t->run_delay_ns);
}

void bpf_learn(struct bpf_collector *c, const struct threads_list *tstates, uint64_t now_ns, bool last, uint32_t slot,
               struct gs_thread *t)
{
    struct bpf_slot *s = &c->slots[slot];
    const struct find_process *found = &c->processes[t->target].found;
    const struct find_thread *tstate;

    if (!s->inner_tid)
        s->inner_tid = threads_inner_tid(found->pid, t->tid);
    tstate = tstate_of(tstates, now_ns, s, t);
    uint64_t oncpu_ns, delay_ns;
    if (!t->end_ns && (last || !s->run_delay_known || s->pictures++ % RUN_DELAY_EVERY == 0) &&
        live_schedstat(found->pid, t->tid, &oncpu_ns, &delay_ns))
        learn_delay(c, slot, t, delay_ns);
    bpf_learn_end(c, slot, t);
    if (!tstate) /* not seen on a processor yet, perhaps, but the version knows its number */
        for (uint32_t i = 0; i < tstates->n && !t->self; i++)
            if (tstates->thread[i].native_id == s->inner_tid)
                tstate = &tstates->thread[i];
    if (!tstate)
        return;
    s->is_python = true;
    t->tstate = c->threads[slot].tstate = tstate->tstate; /* for waits before the first hold that is seen */
    if (s->name_source == REC_NAME_PYTHON || s->looked >= NAME_TRIES)
        return;
    s->looked++;
    char name[sizeof s->name] = "";
    enum rec_name_source source = threads_name(found, tstate, name, sizeof name);
    if (source == REC_NAME_NONE || (source != REC_NAME_PYTHON && s->name_source != REC_NAME_NONE))
        return;
    s->name_source = source;
    memcpy(s->name, name, sizeof name);
}

/* All that shows of a thread that lived shortly, took a free GIL and let it go may be that others waited for it. */
bool bpf_touches_gil(const struct bpf_slot *s, const struct gs_thread *t, uint64_t charged_ns)
{
    return s->is_python || t->had_gil || t->contended || t->samples_held || t->releases || t->held_off_ns ||
           t->forced_switches || charged_ns || t->state != GS_RUNS;
}
