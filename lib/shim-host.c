/* SPDX-License-Identifier: MIT */
/* shim-host.c - what the header says of the process and its machine. */
#define _GNU_SOURCE
#include "shim-host.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "shim-file.h"

/* The first bytes of a file, ended by a 0; how many were read, 0 if none could. */
static size_t read_file(const char *path, char *bytes, size_t room)
{
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bytes[0] = 0;
    if (fd < 0)
        return 0;
    while (n + 1 < room) {
        ssize_t got = read(fd, bytes + n, room - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    bytes[n] = 0;
    return n;
}

static uint64_t number(const char **s)
{
    uint64_t n = 0;
    while (**s == ' ')
        ++*s;
    while (**s >= '0' && **s <= '9')
        n = n * 10 + (uint64_t)(*(*s)++ - '0');
    return n;
}

/* The affinity mask, cut to the quota of the cgroup: "MAX PERIOD" or "max PERIOD" in cpu.max (cgroup v2). */
static uint32_t usable_cpus(void)
{
    char line[64];
    cpu_set_t set;
    uint32_t cpus = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = (uint32_t)CPU_COUNT(&set);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 0) /* more processors than the mask has room for */
        cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    if (read_file("/sys/fs/cgroup/cpu.max", line, sizeof line) && line[0] != 'm') {
        const char *s = line;
        uint64_t quota = number(&s), period = number(&s);
        uint64_t whole = period ? (quota + period - 1) / period : 0;
        if (whole && whole < cpus)
            cpus = (uint32_t)whole;
    }
    return cpus;
}

static void write_command(void)
{
    static char bytes[4096]; /* static: a thread's stack may be small */
    size_t n = read_file("/proc/self/cmdline", bytes, sizeof bytes);
    struct rec_text *text = n ? shim_file_record((uint32_t)(sizeof *text + n)) : NULL;
    if (!text)
        return;
    text->kind = REC_TEXT_COMMAND;
    text->length = (uint32_t)n;
    memcpy(text->bytes, bytes, n);
    shim_file_publish(text, REC_TEXT);
}

void shim_host_describe(struct rec_header *h)
{
    struct utsname u;
    char line[1024];
    h->pid = SHIM.pid = (uint32_t)getpid();
    h->ppid = (uint32_t)getppid();
    h->cpus = usable_cpus();
    if (uname(&u) == 0)
        memcpy(h->host, u.nodename, strnlen(u.nodename, sizeof h->host - 1));
    if (read_file("/proc/sys/kernel/random/boot_id", line, sizeof line) >= 36)
        memcpy(h->boot_id, line, 36);
    if (read_file("/proc/self/stat", line, sizeof line)) {
        /* Field 22; the second one, the name, may hold spaces and parentheses (proc(5)). */
        const char *s = strrchr(line, ')');
        for (int field = 2; s && field < 22; field++)
            s = strchr(s + 1, ' ');
        if (s)
            h->proc_start_jiffies = number(&s);
    }
    write_command();
}
