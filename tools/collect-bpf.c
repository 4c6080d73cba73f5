/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf.c - loads the BPF programs, tells them whom to measure, and takes them away again.
 */
#include "collect-bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <linux/perf_event.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "brief.h"
#include "cpython.h"
#include "gilscope.skel.h"
#include "mem.h"
#include "peer.h"
#include "privileges.h"
#include "procinfo.h"
#include "textfile.h"

#define SLOTS_SPARE 1024u
#define SLOTS_MOST (GS_SLOTS - 1u)
#define SPARE_GILS GS_TARGETS /* for children that are followed, and interpreters that are made later */

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
/* What is in the way of who has the capabilities. */
static const char *why_in_spite(int reason)
{
    if (reason != EPERM && reason != EACCES && reason != ENOSYS)
        return "";
    if (privileges_are_of_namespace())
        return " (the capabilities are those of a user namespace, and the kernel wants the machine's: run gilscope "
               "outside of it)";
    if (privileges_are_filtered())
        return " (by a filter of system calls, seccomp, perhaps: see gilscope doctor)";
    return " (by a security module or lockdown, perhaps: see gilscope doctor)";
}

/* In a time namespace CLOCK_MONOTONIC may be another one than the programs': bpf_ktime_get_ns() is the machine's. */
static bool has_other_clock(void)
{
    char text[256];
    long long s, ns;

    return procinfo_in_own_namespace("time") && textfile_read("/proc/self/timens_offsets", text, sizeof text) > 0 &&
           sscanf(text, "monotonic %lld %lld", &s, &ns) == 2 && (s || ns);
}

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
    if (has_other_clock()) {
        snprintf(error, COLLECT_ERROR_BYTES, "this is a time namespace, whose clock is not that of the BPF programs: run "
                                             "gilscope outside of it");
        return false;
    }
    if (privileges_lack_for_bpf(error, COLLECT_ERROR_BYTES))
        return false;
    memset(&attr, 0, sizeof attr);
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
    if (fd < 0) {
        int reason = errno;
        snprintf(error, COLLECT_ERROR_BYTES, "the kernel refuses BPF: %s%s", strerror(reason), why_in_spite(reason));
        return false;
    }
    close(fd);
    return true;
}

int bpf_fail(char error[COLLECT_ERROR_BYTES], const char *what)
{
    int reason = errno;

    snprintf(error, COLLECT_ERROR_BYTES, "%s: %s%s%s%s", what, strerror(reason), why_in_spite(reason),
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
    bpf_link__destroy(c->each_thread);
    if (c->threads)
        munmap(c->threads, array_bytes(sizeof *c->threads, c->n_slots_max));
    if (c->gils)
        munmap(c->gils, array_bytes(sizeof *c->gils, c->n_gils_max));
    for (int i = 0; i < c->n_processes; i++)
        bpf_ended_free(&c->processes[i]);
    if (c->skeleton)
        gilscope_bpf__destroy(c->skeleton);
    free(c->clock_fds);
    free(c->links);
    free(c->slots);
    free(c->copies);
    free(c->free_gils);
    memset(c, 0, sizeof *c);
}

/* Whether the kernel's BTF has this name.  libbpf would read all of it once more: of what it takes to attach, a tenth.
 * Documentation/bpf/btf.rst: struct btf_header, and strings with a 0 before and behind each. */
static bool kernel_knows(const char *name)
{
    struct btf_header header;
    char *strings = NULL;
    bool found = false;
    int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && pread(fd, &header, sizeof header, 0) == (ssize_t)sizeof header && header.magic == BTF_MAGIC &&
        (strings = malloc(header.str_len))) {
        off_t at = (off_t)header.hdr_len + header.str_off;
        size_t n = 0;
        ssize_t got;
        while (n < header.str_len && (got = pread(fd, strings + n, header.str_len - n, at + (off_t)n)) > 0)
            n += (size_t)got;
        const char *end = strings + n, *s = strings;
        while (s < end && !found && memchr(s, 0, (size_t)(end - s))) {
            found = !strcmp(s, name);
            s += strlen(s) + 1;
        }
    }
    free(strings);
    if (fd >= 0)
        close(fd);
    return found;
}

static int load(struct bpf_collector *c, char *error)
{
    uint32_t n = c->options.n_threads + SLOTS_SPARE; /* threads that are made later have theirs, too */

    c->n_slots_max = n > SLOTS_MOST ? SLOTS_MOST : n;
    c->n_gils_max = FIND_GIL_MAX + SPARE_GILS;
    c->skeleton = gilscope_bpf__open();
    if (!c->skeleton)
        return bpf_fail(error, "the BPF programs cannot be opened");
    bpf_map__set_max_entries(c->skeleton->maps.slots, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.free_ids, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.tids, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.selves, c->n_slots_max);
    bpf_map__set_max_entries(c->skeleton->maps.gils, c->n_gils_max);
    bpf_map__set_max_entries(c->skeleton->maps.family, c->options.follow ? GS_FAMILY : 1);
    c->skeleton->rodata->follows = c->options.follow;
    c->skeleton->rodata->sample_ns = 1000000000 / c->options.sample_hz;
    c->sees_returns = kernel_knows("btf_trace_rseq_update");
    bpf_program__set_autoload(c->skeleton->progs.on_return, c->sees_returns);
    c->translates = procinfo_in_own_namespace("pid");
    c->skeleton->rodata->seen_translated = c->translates;
    bpf_program__set_autoload(c->skeleton->progs.each_thread, c->translates);
    c->skeleton->bss->max_slots = c->n_slots_max;
    int result = gilscope_bpf__load(c->skeleton);
    if (result) {
        errno = -result;
        return bpf_fail(error, "the kernel does not take the BPF programs");
    }
    c->threads = map_array(c->skeleton->maps.slots, sizeof *c->threads, c->n_slots_max);
    c->gils = map_array(c->skeleton->maps.gils, sizeof *c->gils, c->n_gils_max);
    if (!c->threads || !c->gils)
        return bpf_fail(error, "the BPF maps cannot be mapped");
    c->slots = mem_zeroed(c->n_slots_max, sizeof *c->slots);
    c->free_gils = mem_zeroed(c->n_gils_max, sizeof *c->free_gils);
    c->pairs_fd = bpf_map__fd(c->skeleton->maps.pairs);
    c->free_fd = bpf_map__fd(c->skeleton->maps.free_ids);
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
        if (bpf_program__type(program) == BPF_PROG_TYPE_PERF_EVENT || program == c->skeleton->progs.each_thread)
            bpf_program__set_autoattach(program, false);
    }
    int result = gilscope_bpf__attach(c->skeleton);
    if (result) {
        errno = -result;
        bpf_fail(error, "the BPF programs cannot be attached");
    } else if (open_clocks(c)) {
        result = bpf_fail(error, "the CPU clock cannot be sampled");
    } else if (c->translates && !(c->each_thread = bpf_program__attach_iter(c->skeleton->progs.each_thread, NULL))) {
        result = bpf_fail(error, "the kernel does not tell its numbers of what is in this PID namespace");
    }
    if (result) {
        stop();
        return -1;
    }
    /* With many threads a picture takes some MiB for some ms: as blocks of their own they leave no holes between
     * others, whatever their size was before. */
    mallopt(M_MMAP_THRESHOLD, 1 << 18);
    brief_give_way(); /* a picture takes some ms, which those who serve should not have to wait */
    return 0;
}

/* --- what attach.c asks for ------------------------------------------------------------------------------------- */
static int add(const struct find_process *found, char error[COLLECT_ERROR_BYTES])
{
    return bpf_add(&bpf, found, error);
}

static void work(uint64_t until_ns)
{
    bpf_stacks_poll(&bpf);
    bpf_locks_poll(&bpf);
    while (!*bpf.options.stop) {
        bpf_ended_poll(&bpf);
        uint64_t now_ns = collect_now_ns();
        if (now_ns >= until_ns)
            return;
        uint64_t ns = until_ns - now_ns;
        if (bpf.ended_every_ns && ns > bpf.ended_every_ns)
            ns = bpf.ended_every_ns;
        struct timespec pause = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
        nanosleep(&pause, NULL);
    }
}

static bool has_gone(int handle)
{
    uint32_t tgid = bpf.processes[handle].kernel_pid, index;

    return bpf_map_lookup_elem(bpf_map__fd(bpf.skeleton->maps.targets), &tgid, &index) != 0; /* by on_exec() */
}

static void picture(int handle, struct recwriter *writer, uint64_t now_ns, bool last)
{
    bpf_picture(&bpf, handle, writer, now_ns, last);
}

struct family {
    int *pids, n, max;
};

static void add_to_family(void *context, const void *key, const void *value)
{
    struct family *f = context;

    (void)key;
    if (f->n < f->max && *(const uint32_t *)value)
        f->pids[f->n++] = (int)*(const uint32_t *)value;
}

static int descendants(int *pids, int max)
{
    struct family f = {.pids = pids, .max = max};

    bpf_each(bpf_map__fd(bpf.skeleton->maps.family), false, sizeof(uint32_t), sizeof(uint32_t), add_to_family, &f);
    return f.n;
}

static void forget(int handle)
{
    uint32_t tgid = bpf.processes[handle].kernel_pid;

    bpf_map_delete_elem(bpf_map__fd(bpf.skeleton->maps.targets), &tgid);
    bpf_stacks_free(bpf.processes[handle].stacks);
    bpf_locks_free(bpf.processes[handle].locks);
    bpf.processes[handle].locks = NULL;
    bpf.processes[handle].stacks = NULL;
    bpf_ended_free(&bpf.processes[handle]);
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
    .descendants = descendants,
    .forget = forget,
    .stop = stop,
};
