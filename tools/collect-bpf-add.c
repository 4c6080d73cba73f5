/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-add.c - enters a process and its threads into the BPF maps, with what they are doing at that moment.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collect-bpf.h"
#include "cpython.h"
#include "gilscope.skel.h"
#include "mem.h"
#include "peer.h"
#include "textfile.h"

struct adding {
    struct bpf_collector *c;
    const struct find_process *found;
    const struct gs_target *target;
    uint32_t index;
    uint64_t now_ns;
    struct threads_list tstates;
    struct bpf_seen seen;
    uint32_t *slots; /* of its threads */
    size_t n, room;
};

/* Reads a field of /proc/PID/task/TID/FILE into text. */
static bool read_task(int pid, uint32_t tid, const char *file, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task/%u/%s", pid, tid, file);
    return textfile_read(path, text, size) > 0;
}

/* What the thread is doing just now: it may have been at it for long, and no event will tell. */
static void set_state(const struct adding *a, struct gs_thread *t)
{
    char text[1024], *at;
    unsigned long long number, args[6], sp, word;

    if (read_task(a->found->pid, t->tid, "stat", text, sizeof text) && (at = strrchr(text, ')')))
        t->on_cpu = at[1] == ' ' && at[2] == 'R';
    if (t->on_cpu || !read_task(a->found->pid, t->tid, "syscall", text, sizeof text) ||
        sscanf(text, "%llu %llx %llx %llx %llx %llx %llx %llx", &number, &args[0], &args[1], &args[2], &args[3],
               &args[4], &args[5], &sp) != 8 ||
        number != SYS_futex)
        return;
    word = args[0];
    for (uint32_t i = 0; i < a->target->n_gils; i++) {
        struct gs_gil *gil = &a->c->gils[a->target->gil[i]];
        uint64_t offset = word - gil->address;
        if (offset < AT_COND || offset >= GIL_BYTES)
            continue;
        t->gil = a->target->gil[i];
        t->state = offset < AT_SWITCH_COND    ? GS_WAITS
                   : offset < AT_SWITCH_MUTEX ? GS_FORCED
                                              : GS_RUNS;
        t->state_ns = t->divided_ns = a->now_ns;
        t->in_futex = 1;
        if (t->state == GS_WAITS)
            __atomic_fetch_add(&gil->n_waiters, 1, __ATOMIC_RELAXED);
        if (offset < AT_MUTEX) { /* in its condition variable */
            t->asleep = 1;
            __atomic_fetch_add(&gil->n_asleep, 1, __ATOMIC_RELAXED);
        }
        return;
    }
    bpf_locks_open(a->c->processes[a->index].locks, t, args, sp);
}

/* Who it is to Python, where that is known before its first event tells. */
static void set_self(struct adding *a, struct gs_thread *t)
{
    uint32_t inner_tid = threads_inner_tid(a->found->pid, t->tid);
    struct gs_self key = {.target = a->index};
    uint32_t id = t->id;

    for (uint32_t i = 0; i < a->tstates.n && !t->self; i++) {
        if (a->tstates.thread[i].native_id != inner_tid)
            continue;
        t->self = key.self = a->tstates.thread[i].pthread_id;
        t->tstate = a->tstates.thread[i].tstate;
        bpf_map_update_elem(bpf_map__fd(a->c->skeleton->maps.selves), &key, &id, BPF_ANY);
    }
}

/* As enter_tid() and remove_tid() in probes/thread.bpf.h; false: it has got another slot meanwhile. */
static bool enter_tid(struct bpf_collector *c, uint32_t tid, uint32_t id)
{
    gs_u64 *entry = &c->skeleton->bss->tid_table[tid % GS_TIDS], none = 0;

    if (bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.tids), &tid, &id, BPF_NOEXIST))
        return false;
    if (!__atomic_compare_exchange_n(entry, &none, (gs_u64)tid << 32 | id, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        __atomic_store_n(entry, GS_TIDS_SHARED, __ATOMIC_RELEASE);
    return true;
}

static void remove_tid(struct bpf_collector *c, uint32_t tid, uint32_t id)
{
    gs_u64 mine = (gs_u64)tid << 32 | id;

    __atomic_compare_exchange_n(&c->skeleton->bss->tid_table[tid % GS_TIDS], &mine, 0, false, __ATOMIC_RELEASE,
                                __ATOMIC_RELAXED);
    bpf_map_delete_elem(bpf_map__fd(c->skeleton->maps.tids), &tid);
}

static uint32_t kernel_tid(const struct adding *a, uint32_t tid)
{
    return a->c->translates ? bpf_seen_kernel_tid(&a->seen, tid) : tid;
}

/* Gives a thread its slot; the programs do not know it yet. */
static void add_thread(void *context, uint32_t tid)
{
    struct adding *a = context;
    struct bpf_collector *c = a->c;
    int tids = bpf_map__fd(c->skeleton->maps.tids);
    uint32_t id, slot, kernel = kernel_tid(a, tid);

    if (!kernel || !bpf_map_lookup_elem(tids, &kernel, &id)) /* it was made since the programs run */
        return;
    id = bpf_free_id(c);
    slot = GS_SLOT(id);
    if (!id) {
        __atomic_fetch_add(&c->skeleton->bss->losses[GS_LOSS_THREADS], 1, __ATOMIC_RELAXED);
        return;
    }
    struct gs_thread *t = &c->threads[slot];
    a->slots = mem_grow(a->slots, a->n, &a->room, sizeof *a->slots);
    a->slots[a->n++] = slot;
    t->tid = tid;
    t->id = id;
    t->target = a->index;
    t->gil = t->home_gil = a->target->gil[0];
    t->wait_mean_ns = t->off_mean_ns = 1000000; /* the first ones are looked at */
    t->start_ns = t->since_ns = t->free_ns = a->now_ns;
    set_self(a, t);
}

/* Enters who has a GIL just now, before anything else is known of it: what is waited for from the begin on.  Id 0:
 * nobody. */
static void set_holder(const struct adding *a, struct gs_gil *gil)
{
    int pid = a->found->pid;
    uint64_t tstate = peer_pointer(pid, gil->address + GIL_LAST_HOLDER);
    struct gs_self key = {.target = a->index};
    uint32_t id = 0;

    if ((uint32_t)peer_pointer(pid, gil->address + GIL_LOCKED) == 1) {
        key.self = peer_pointer(pid, tstate + a->found->layout.tstate_thread_id);
        if (bpf_map_lookup_elem(bpf_map__fd(a->c->skeleton->maps.selves), &key, &id))
            return;
    }
    gil->ring[0] = (struct gs_change){.ns = a->now_ns, .holder = id};
    __atomic_store_n(&gil->n_changes, 1, __ATOMIC_RELEASE);
}

/* From here on the programs follow the thread. */
static void begin_thread(const struct adding *a, uint32_t slot)
{
    struct gs_thread *t = &a->c->threads[slot];
    uint32_t tid = t->tid, kernel = kernel_tid(a, tid);
    char path[64];

    set_state(a, t);
    if (!enter_tid(a->c, kernel, t->id)) {
        t->start_ns = 0; /* the slot is lost */
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/task/%u", a->found->pid, tid);
    if (access(path, F_OK) && !t->end_ns) { /* it ended before the programs knew it */
        t->end_ns = a->now_ns;
        remove_tid(a->c, kernel, t->id);
    }
}

static void set_walk(struct gs_target *target, const struct cpython_layout *l, const struct collect_options *options)
{
    target->tstate_bytes =
        8 + (l && l->tstate_frame > target->tstate_thread_id ? l->tstate_frame : target->tstate_thread_id);
    if (!l || target->tstate_bytes >= GS_RAW)
        return;
    target->walk_frames = !options->no_stacks;
    target->walk_native = target->walk_frames && !options->no_native;
    target->knows_frames = 1;
    target->tstate_frame = l->tstate_frame;
    target->cframe_current = l->cframe_current == 255 ? -1 : l->cframe_current;
    target->frame_code = l->frame_code;
    target->frame_back = l->frame_back;
    target->frame_instruction = l->frame_instruction;
    target->frame_entry = l->frame_entry;
    target->frame_owner = l->frame_owner;
    target->frame_bytes = CPYTHON_FRAME_BYTES(l->minor);
    target->border = l->minor >= 12;
    target->instruction_bytes = l->minor <= 10 ? 4 : 8;
}

static uint32_t gils_left(const struct bpf_collector *c)
{
    return c->n_gils_max - c->n_gils + c->n_free_gils;
}

static void enter_gil(struct bpf_collector *c, struct gs_target *target, uint32_t index, uint64_t address)
{
    uint32_t gil = c->n_free_gils ? c->free_gils[--c->n_free_gils] : c->n_gils++;

    c->gils[gil].address = address;
    c->gils[gil].target = index;
    target->gil[target->n_gils++] = gil;
}

/* A handle that is nobody's; GS_TARGETS = there is none. */
static uint32_t free_handle(const struct bpf_collector *c)
{
    uint32_t handle = 0;

    while (handle < (uint32_t)c->n_processes && !c->processes[handle].is_free)
        handle++;
    return handle;
}

void bpf_find_gils(struct bpf_collector *c, int handle)
{
    struct bpf_process *p = &c->processes[handle];
    uint32_t index = (uint32_t)handle, first = p->found.n_gils, n = find_gil_again(&p->found);

    for (uint32_t i = first; i < first + n; i++) {
        if (!gils_left(c)) {
            p->found.n_gils_left_out += p->found.n_gils - i;
            p->found.n_gils = i;
            break;
        }
        p->gil_start_ns[i] = collect_now_ns();
        enter_gil(c, &p->target, index, p->found.gil[i].address);
    }
    if (p->found.n_gils != first)
        bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.target_info), &index, &p->target, BPF_ANY);
}

int bpf_add(struct bpf_collector *c, const struct find_process *found, char error[COLLECT_ERROR_BYTES])
{
    uint32_t index = free_handle(c), tgid = (uint32_t)found->pid;
    struct gs_target target = {.n_gils = 0};
    struct adding adding = {.c = c, .found = found, .target = &target, .index = index};

    if (index == GS_TARGETS || found->n_gils > gils_left(c)) {
        snprintf(error, COLLECT_ERROR_BYTES, "too many processes at once");
        return -1;
    }
    if (c->translates) {
        if (bpf_seen_read(c, found->pid, &adding.seen))
            return bpf_fail(error, "the kernel does not tell its number of the process");
        tgid = adding.seen.thread[0].kernel_tgid;
    }
    target.tstate_thread_id = found->layout.tstate_thread_id;
    set_walk(&target, cpython_layout(found->hex), &c->options);
    for (uint32_t i = 0; i < found->n_gils; i++)
        enter_gil(c, &target, index, found->gil[i].address);
    if (bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.target_info), &index, &target, BPF_ANY) ||
        bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.targets), &tgid, &index, BPF_ANY)) {
        bpf_seen_free(&adding.seen);
        return bpf_fail(error, "the process cannot be entered into the BPF maps");
    }
    c->processes[index] =
        (struct bpf_process){.found = *found, .target = target, .kernel_pid = tgid, .used = true};
    c->processes[index].start_ns = collect_now_ns();
    for (uint32_t i = 0; i < found->n_gils; i++)
        c->processes[index].gil_start_ns[i] = c->processes[index].start_ns;
    c->processes[index].locks = bpf_locks_new(found);
    if (target.walk_frames)
        c->processes[index].stacks = bpf_stacks_new(found);
    if (index == (uint32_t)c->n_processes)
        c->n_processes++;
    adding.now_ns = c->processes[index].start_ns;
    threads_read(&adding.tstates, found);
    if (c->translates) /* those that were made meanwhile, too */
        bpf_seen_read(c, found->pid, &adding.seen);
    threads_each(found->pid, add_thread, &adding);
    for (uint32_t i = 0; i < target.n_gils; i++)
        set_holder(&adding, &c->gils[target.gil[i]]);
    for (size_t i = 0; i < adding.n; i++)
        begin_thread(&adding, adding.slots[i]);
    threads_free(&adding.tstates);
    bpf_seen_free(&adding.seen);
    free(adding.slots);
    return (int)index;
}
