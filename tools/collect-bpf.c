/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf.c - loads the BPF programs, tells them whom to measure, and takes them away again.
 */
#include "collect-bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "cpython.h"
#include "gilscope.skel.h"
#include "mem.h"
#include "peer.h"

#define SLOTS_LEAST 1024u
#define SLOTS_MOST 16384u
#define SPARE_GILS COLLECT_PROCESSES /* for children that are followed, and interpreters that are made later */

static struct bpf_collector bpf;
static char libbpf_says[256]; /* its first warning */

static int keep_warning(enum libbpf_print_level level, const char *format, va_list args)
{
    if (level == LIBBPF_WARN && !libbpf_says[0]) {
        vsnprintf(libbpf_says, sizeof libbpf_says, format, args);
        libbpf_says[strcspn(libbpf_says, "\n")] = 0;
    }
    return 0;
}

uint32_t bpf_n_slots(const struct bpf_collector *c)
{
    uint32_t n = __atomic_load_n(&c->skeleton->data->n_slots, __ATOMIC_ACQUIRE);

    return n < c->n_slots_max ? n : c->n_slots_max;
}

uint64_t bpf_loss(const struct bpf_collector *c, enum gs_loss loss)
{
    return __atomic_load_n(&c->skeleton->bss->losses[loss], __ATOMIC_RELAXED);
}

/* --- loading ----------------------------------------------------------------------------------------------------- */
static bool usable(char error[COLLECT_ERROR_BYTES])
{
    union bpf_attr attr;

#if !defined(__x86_64__)
    snprintf(error, COLLECT_ERROR_BYTES, "the BPF collector knows x86-64 only");
    return false;
#endif
    if (access("/sys/kernel/btf/vmlinux", R_OK)) {
        snprintf(error, COLLECT_ERROR_BYTES, "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF; /sys/kernel/btf/vmlinux)");
        return false;
    }
    memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
    if (fd < 0) {
        snprintf(error, COLLECT_ERROR_BYTES,
                 errno == EPERM ? "BPF needs the capabilities CAP_BPF and CAP_PERFMON, or root"
                                : "the kernel refuses BPF: %s",
                 strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

static int fail(char *error, const char *what)
{
    int reason = errno;

    snprintf(error, COLLECT_ERROR_BYTES, "%s: %s%s%s", what,
             reason == EPERM || reason == EACCES ? "not permitted (it takes CAP_BPF and CAP_PERFMON, or root)"
                                                 : strerror(reason),
             libbpf_says[0] ? "; " : "", libbpf_says);
    return -1;
}

static int open_clocks(struct bpf_collector *c)
{
    struct perf_event_attr attr;
    int n_cpus = libbpf_num_possible_cpus();

    memset(&attr, 0, sizeof attr);
    attr.type = PERF_TYPE_SOFTWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_SW_CPU_CLOCK;
    attr.freq = 1;
    attr.sample_freq = c->options.sample_hz;
    attr.exclude_idle = 1;
    c->clock_fds = mem_zeroed((size_t)(n_cpus > 0 ? n_cpus : 1), sizeof *c->clock_fds);
    c->links = mem_zeroed((size_t)(n_cpus > 0 ? n_cpus : 1), sizeof(struct bpf_link *));
    for (int cpu = 0; cpu < n_cpus; cpu++) {
        int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd < 0 && (errno == ENODEV || errno == EINVAL) && cpu) /* a processor that is not there */
            continue;
        if (fd < 0)
            return -1;
        struct bpf_link *link = bpf_program__attach_perf_event(c->skeleton->progs.on_clock, fd);
        if (!link) {
            close(fd);
            return -1;
        }
        c->links[c->n_clocks] = link; /* it owns fd */
        c->clock_fds[c->n_clocks++] = fd;
    }
    return c->n_clocks ? 0 : -1;
}

static void *map_array(struct bpf_map *map, size_t value, uint32_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (value * n + page - 1) / page * page;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

    return at == MAP_FAILED ? NULL : at;
}

static size_t array_bytes(size_t value, uint32_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (value * n + page - 1) / page * page;
}

static void stop(void)
{
    struct bpf_collector *c = &bpf;

    for (int i = 0; i < c->n_clocks; i++)
        bpf_link__destroy(c->links[i]);
    if (c->threads)
        munmap(c->threads, array_bytes(sizeof *c->threads, c->n_slots_max));
    if (c->gils)
        munmap(c->gils, array_bytes(sizeof *c->gils, c->n_gils_max));
    if (c->skeleton)
        gilscope_bpf__destroy(c->skeleton);
    free(c->clock_fds);
    free(c->links);
    free(c->slots);
    memset(c, 0, sizeof *c);
}

static int load(struct bpf_collector *c, char *error)
{
    uint32_t n = c->options.n_threads * 4;

    c->n_slots_max = n < SLOTS_LEAST ? SLOTS_LEAST : n > SLOTS_MOST ? SLOTS_MOST : n;
    c->n_gils_max = FIND_GIL_MAX + SPARE_GILS;
    c->skeleton = gilscope_bpf__open();
    if (!c->skeleton)
        return fail(error, "the BPF programs cannot be opened");
    bpf_map__set_max_entries(c->skeleton->maps.slots, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.tids, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.selves, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.gils, c->n_gils_max);
    c->skeleton->rodata->sample_ns = 1000000000 / c->options.sample_hz;
    c->skeleton->bss->max_slots = c->n_slots_max;
    int result = gilscope_bpf__load(c->skeleton);
    if (result) {
        errno = -result;
        return fail(error, "the kernel does not take the BPF programs");
    }
    c->threads = map_array(c->skeleton->maps.slots, sizeof *c->threads, c->n_slots_max);
    c->gils = map_array(c->skeleton->maps.gils, sizeof *c->gils, c->n_gils_max);
    if (!c->threads || !c->gils)
        return fail(error, "the BPF maps cannot be mapped");
    c->slots = mem_zeroed(c->n_slots_max, sizeof *c->slots);
    c->pairs_fd = bpf_map__fd(c->skeleton->maps.pairs);
    c->samples_fd = bpf_map__fd(c->skeleton->maps.samples);
    c->stacks_fd = bpf_map__fd(c->skeleton->maps.stacks);
    c->lock_waits_fd = bpf_map__fd(c->skeleton->maps.lock_waits);
    c->native_fd = bpf_map__fd(c->skeleton->maps.native_stacks);
    return 0;
}

static int start(const struct collect_options *options, char error[COLLECT_ERROR_BYTES])
{
    struct bpf_collector *c = &bpf;

    memset(c, 0, sizeof *c);
    c->options = *options;
    libbpf_says[0] = 0;
    libbpf_set_print(keep_warning);
    if (load(c, error)) {
        stop();
        return -1;
    }
    struct bpf_program *program;
    bpf_object__for_each_program(program, c->skeleton->obj)
    {
        if (bpf_program__type(program) == BPF_PROG_TYPE_PERF_EVENT)
            bpf_program__set_autoattach(program, false);
    }
    int result = gilscope_bpf__attach(c->skeleton);
    if (result) {
        errno = -result;
        fail(error, "the BPF programs cannot be attached");
    } else if (open_clocks(c)) {
        result = fail(error, "the CPU clock cannot be sampled");
    }
    if (result) {
        stop();
        return -1;
    }
    return 0;
}

/* --- processes --------------------------------------------------------------------------------------------------- */
struct adding {
    struct bpf_collector *c;
    const struct find_process *found;
    const struct gs_target *target;
    uint32_t index;
    uint64_t now_ns;
    struct threads_list tstates;
};

/* Reads a field of /proc/PID/task/TID/FILE into text. */
static bool read_task(int pid, uint32_t tid, const char *file, char *text, size_t size)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task/%u/%s", pid, tid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* What the thread is doing just now: it may have been at it for long, and no event will tell. */
static void set_state(const struct adding *a, struct gs_thread *t)
{
    char text[1024], *at;
    unsigned long long number, args[6], sp, word;

    if (read_task(a->found->pid, t->tid, "stat", text, sizeof text) && (at = strrchr(text, ')')))
        t->on_cpu = at[1] == ' ' && at[2] == 'R';
    if (t->on_cpu || !read_task(a->found->pid, t->tid, "syscall", text, sizeof text) ||
        sscanf(text, "%llu %llx %llx %llx %llx %llx %llx %llx", &number, &args[0], &args[1], &args[2], &args[3], &args[4],
               &args[5], &sp) != 8 ||
        number != SYS_futex)
        return;
    word = args[0];
    for (uint32_t i = 0; i < a->target->n_gils; i++) {
        struct gs_gil *gil = &a->c->gils[a->target->gil[i]];
        uint64_t offset = word - gil->address;
        if (offset < GIL_COND || offset >= 208)
            continue;
        t->gil = a->target->gil[i];
        t->state = offset < 120 ? GS_WAITS : offset < 168 ? GS_FORCED : GS_RUNS;
        t->state_ns = a->now_ns;
        t->in_futex = 1;
        if (t->state == GS_WAITS)
            __atomic_fetch_add(&gil->n_waiters, 1, __ATOMIC_RELAXED);
        return;
    }
    bpf_locks_open(a->c->processes[a->index].locks, t, args, sp);
}

/* Who it is to Python, where that is known before its first event tells. */
static void set_self(struct adding *a, struct gs_thread *t, uint32_t slot)
{
    uint32_t inner_tid = threads_inner_tid(a->found->pid, t->tid);
    struct gs_self key = {.target = a->index};

    for (uint32_t i = 0; i < a->tstates.n && !t->self; i++) {
        if (a->tstates.thread[i].native_id != inner_tid)
            continue;
        t->self = key.self = a->tstates.thread[i].pthread_id;
        t->tstate = a->tstates.thread[i].tstate;
        bpf_map_update_elem(bpf_map__fd(a->c->skeleton->maps.selves), &key, &slot, BPF_ANY);
    }
}

static void add_thread(void *context, uint32_t tid)
{
    struct adding *a = context;
    struct bpf_collector *c = a->c;
    int tids = bpf_map__fd(c->skeleton->maps.tids);
    uint32_t slot;

    if (!bpf_map_lookup_elem(tids, &tid, &slot)) /* it was made since the programs run */
        return;
    slot = __atomic_fetch_add(&c->skeleton->data->n_slots, 1, __ATOMIC_ACQ_REL);
    if (slot >= c->n_slots_max) {
        __atomic_fetch_add(&c->skeleton->bss->losses[GS_LOSS_THREADS], 1, __ATOMIC_RELAXED);
        return;
    }
    struct gs_thread *t = &c->threads[slot];
    t->tid = tid;
    t->slot = slot;
    t->target = a->index;
    t->gil = a->target->gil[0];
    t->wait_mean_ns = t->off_mean_ns = 1000000; /* the first ones are looked at */
    t->start_ns = t->since_ns = t->free_ns = a->now_ns;
    set_self(a, t, slot);
    set_state(a, t);
    bpf_map_update_elem(tids, &tid, &slot, BPF_NOEXIST);
}

static void set_walk(struct gs_target *target, const struct cpython_layout *l)
{
    if (!l)
        return;
    target->walk_frames = !bpf.options.no_stacks;
    target->walk_native = target->walk_frames && !bpf.options.no_native;
    target->knows_frames = 1;
    target->tstate_frame = l->tstate_frame;
    target->cframe_current = l->cframe_current == 255 ? -1 : l->cframe_current;
    target->frame_code = l->frame_code;
    target->frame_back = l->frame_back;
    target->frame_instruction = l->frame_instruction;
    target->frame_entry = l->frame_entry;
    target->frame_owner = l->frame_owner;
    target->border = l->minor >= 12;
    target->instruction_bytes = l->minor <= 10 ? 4 : 8;
}

static void enter_gil(struct bpf_collector *c, struct gs_target *target, uint32_t index, uint64_t address)
{
    c->gils[c->n_gils].address = address;
    c->gils[c->n_gils].target = index;
    target->gil[target->n_gils++] = c->n_gils++;
}

void bpf_find_gils(struct bpf_collector *c, int handle)
{
    struct bpf_process *p = &c->processes[handle];
    struct find_process now;
    char error[FIND_GIL_ERROR_BYTES];
    uint32_t index = (uint32_t)handle, n = p->target.n_gils;

    if (p->found.layout.interp_gil == 0 || find_gil_now(p->found.pid, &now, error))
        return;
    for (uint32_t i = 0; i < now.n_gils; i++) {
        bool known = false;
        for (uint32_t j = 0; j < p->found.n_gils; j++)
            known |= p->found.gil[j].address == now.gil[i].address;
        if (known)
            continue;
        if (p->found.n_gils == FIND_GIL_MAX || c->n_gils == c->n_gils_max) {
            p->found.n_gils_left_out = 1;
            break;
        }
        p->gil_start_ns[p->found.n_gils] = collect_now_ns();
        p->found.gil[p->found.n_gils++] = now.gil[i];
        enter_gil(c, &p->target, index, now.gil[i].address);
    }
    if (p->target.n_gils != n)
        bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.target_info), &index, &p->target, BPF_ANY);
}

static int add(const struct find_process *found, char error[COLLECT_ERROR_BYTES])
{
    struct bpf_collector *c = &bpf;
    uint32_t index = (uint32_t)c->n_processes, tgid = (uint32_t)found->pid;
    struct gs_target target = {.n_gils = 0};

    if (c->n_processes == COLLECT_PROCESSES || c->n_gils + found->n_gils > c->n_gils_max) {
        snprintf(error, COLLECT_ERROR_BYTES, "too many processes at once");
        return -1;
    }
    target.tstate_thread_id = found->layout.tstate_thread_id;
    set_walk(&target, cpython_layout(found->hex));
    for (uint32_t i = 0; i < found->n_gils; i++)
        enter_gil(c, &target, index, found->gil[i].address);
    if (bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.target_info), &index, &target, BPF_ANY) ||
        bpf_map_update_elem(bpf_map__fd(c->skeleton->maps.targets), &tgid, &index, BPF_ANY))
        return fail(error, "the process cannot be entered into the BPF maps");
    c->processes[index] =
        (struct bpf_process){.found = *found, .target = target, .used = true, .start_ns = collect_now_ns()};
    for (uint32_t i = 0; i < found->n_gils; i++)
        c->processes[index].gil_start_ns[i] = c->processes[index].start_ns;
    c->processes[index].locks = bpf_locks_new(found);
    if (target.walk_frames)
        c->processes[index].stacks = bpf_stacks_new(found);
    c->n_processes++;
    struct adding adding = {c, found, &target, index, c->processes[index].start_ns, {0}};
    threads_read(&adding.tstates, found);
    threads_each(found->pid, add_thread, &adding);
    threads_free(&adding.tstates);
    return (int)index;
}

static void work(uint64_t until_ns)
{
    bpf_stacks_poll(&bpf);
    bpf_locks_poll(&bpf);
    while (!*bpf.options.stop) {
        uint64_t now_ns = collect_now_ns();
        if (now_ns >= until_ns)
            return;
        struct timespec pause = {(time_t)((until_ns - now_ns) / 1000000000), (long)((until_ns - now_ns) % 1000000000)};
        nanosleep(&pause, NULL);
    }
}

static bool has_gone(int handle)
{
    uint32_t tgid = (uint32_t)bpf.processes[handle].found.pid, index;

    return bpf_map_lookup_elem(bpf_map__fd(bpf.skeleton->maps.targets), &tgid, &index) != 0; /* by on_exec() */
}

static void picture(int handle, struct recwriter *writer, uint64_t now_ns, bool last)
{
    bpf_picture(&bpf, handle, writer, now_ns, last);
}

static void forget(int handle)
{
    uint32_t tgid = (uint32_t)bpf.processes[handle].found.pid;

    bpf_map_delete_elem(bpf_map__fd(bpf.skeleton->maps.targets), &tgid);
    bpf_stacks_free(bpf.processes[handle].stacks);
    bpf_locks_free(bpf.processes[handle].locks);
    bpf.processes[handle].locks = NULL;
    bpf.processes[handle].stacks = NULL;
    bpf.processes[handle].used = false;
}

const struct collector collect_bpf = {
    .name = "bpf",
    .source = REC_SOURCE_BPF,
    .usable = usable,
    .start = start,
    .add = add,
    .work = work,
    .picture = picture,
    .has_gone = has_gone,
    .forget = forget,
    .stop = stop,
};
