/* SPDX-License-Identifier: MIT */
/* shim-host.c - what the header says of the process and its machine. */
#define _GNU_SOURCE
#include "shim-host.h"

#include <sched.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cpu-limit.h"
#include "proc-file.h"
#include "shim-file.h"

/* By the affinity mask. */
static uint32_t usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (uint32_t)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than the mask has room for */
    return online > 0 ? (uint32_t)online : 1;
}

static void write_command(void)
{
    static char bytes[4096]; /* static: a thread's stack may be small */
    size_t n = proc_file_read("/proc/self/cmdline", bytes, sizeof bytes);
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
    cpu_limit_begin(0, h);
    if (uname(&u) == 0)
        memcpy(h->host, u.nodename, strnlen(u.nodename, sizeof h->host - 1));
    if (proc_file_read("/proc/sys/kernel/random/boot_id", line, sizeof line) >= 36)
        memcpy(h->boot_id, line, 36);
    if (proc_file_read("/proc/self/stat", line, sizeof line)) {
        /* Field 22; the second one, the name, may hold spaces and parentheses (proc(5)). */
        const char *s = strrchr(line, ')');
        for (int field = 2; s && field < 22; field++)
            s = strchr(s + 1, ' ');
        if (s)
            h->proc_start_jiffies = proc_file_number(&s);
    }
    write_command();
}
