/* SPDX-License-Identifier: MIT */
/*
 * live.c - looks at /proc and at the clocks.
 */
#include "live.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "recfile.h"
#include "procstat.h"
#include "textfile.h"

bool live_same_boot(const struct rec_header *header)
{
    char id[64];

    if (textfile_read("/proc/sys/kernel/random/boot_id", id, sizeof id) <= 0)
        return false;
    id[strcspn(id, "\n")] = 0;
    return header->boot_id[0] && !strncmp(header->boot_id, id, sizeof header->boot_id);
}

bool live_read_now(uint32_t clock, struct live_now *now)
{
    uint64_t best_ns = UINT64_MAX;

    if (clock == REC_CLOCK_MONOTONIC) {
        now->ticks = clock_ns(CLOCK_MONOTONIC);
        now->mono_ns = (int64_t)now->ticks;
        return true;
    }
    /* The counter is read between two readings of the other clock; the closest of some tries is the best one. */
    for (int i = 0; i < 8; i++) {
        uint64_t before_ns = clock_ns(CLOCK_MONOTONIC), ticks = recfile_now(clock);
        if (!ticks)
            return false;
        uint64_t apart_ns = clock_ns(CLOCK_MONOTONIC) - before_ns;
        if (apart_ns < best_ns) {
            best_ns = apart_ns;
            now->ticks = ticks;
            now->mono_ns = (int64_t)(before_ns + apart_ns / 2);
        }
    }
    return true;
}

static bool has_ended(int pid)
{
    char state = procstat_state(pid, pid, NULL);

    return !state || state == 'Z' || state == 'X';
}

/* True if the process, as it sees itself, has this PID. */
static bool is_pid_inside(int pid, uint32_t inside)
{
    char path[64], text[4096], *at, *last;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (textfile_read(path, text, sizeof text) <= 0 || !(at = strstr(text, "\nNSpid:")))
        return false;
    at += strlen("\nNSpid:");
    at[strcspn(at, "\n")] = 0;
    last = strrchr(at, '\t');
    return strtoul(last ? last : at, NULL, 10) == inside;
}

/* True if this is the recorded process and runs. */
static bool is_recorded(int pid, const struct rec_header *header)
{
    return recfile_proc_start(pid) == header->proc_start_jiffies && is_pid_inside(pid, header->pid) && !has_ended(pid);
}

static int find_in_namespaces(const struct rec_header *header)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    int found = 0;

    while (proc && !found && (entry = readdir(proc))) {
        int pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid && is_recorded(pid, header))
            found = pid;
    }
    if (proc)
        closedir(proc);
    return found;
}

int live_pid(const struct rec_header *header)
{
    if (!header->proc_start_jiffies || header->pid > INT32_MAX || !live_same_boot(header))
        return 0;
    if (header->pid && is_recorded((int)header->pid, header))
        return (int)header->pid;
    return find_in_namespaces(header);
}

bool live_has_mapped(int pid, const char *name)
{
    char path[64], *line = NULL;
    size_t capacity = 0;
    bool any = false, found = false;
    FILE *maps;

    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    if (!maps)
        return true;
    while (!found && getline(&line, &capacity, maps) > 0) {
        const char *slash = strrchr(line, '/');
        any = true;
        found = slash && !strncmp(slash + 1, name, strlen(name));
    }
    free(line);
    fclose(maps);
    return found || !any;
}

uint64_t live_process_cpu_ns(int pid)
{
    clockid_t clock;

    return clock_getcpuclockid(pid, &clock) ? 0 : clock_ns(clock);
}

bool live_schedstat(int pid, uint32_t tid, uint64_t *oncpu_ns, uint64_t *run_delay_ns)
{
    char path[96], text[128], *at;

    snprintf(path, sizeof path, "/proc/%d/task/%u/schedstat", pid, tid);
    if (textfile_read(path, text, sizeof text) <= 0)
        return false;
    *oncpu_ns = strtoull(text, &at, 10);
    *run_delay_ns = strtoull(at, NULL, 10);
    return true;
}
