/* SPDX-License-Identifier: MIT */
/*
 * cpu-limit.c - how much of the processors a process's control group lets it use.
 *
 * /proc/PID/cgroup names the groups, one line for each hierarchy; /proc/self/mountinfo says where they are to be seen,
 * and from which group on: in a container that is often a part of the hierarchy only.  Each group from there down to
 * the process's own may have a limit; the lowest counts.  It runs in a host's thread: no memory is allotted.
 */
#include "cpu-limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "proc-file.h"
#include "shim-text.h"

enum { PATH_ROOM = 1024, LINE_ROOM = 2048 };

/* Static, all of it: a thread's stack may be small. */
static char groups[8192];     /* /proc/PID/cgroup: up to 13 lines, in which Kubernetes' groups have 200 bytes */
static char line[LINE_ROOM];  /* of mountinfo */
static char place[PATH_ROOM]; /* a group's directory, and a file in it */

/* What has been found of one version's, in mounts of the process's group or of one that it is in, and in mounts of
 * others.
 */
struct found {
    struct cpu_limit limit, elsewhere;
    bool is_inside;
};

/* Is "cpu" one of the words between commas, up to `end`? */
static bool has_cpu(const char *words, const char *end)
{
    for (const char *word = words; word < end;) {
        const char *comma = memchr(word, ',', (size_t)(end - word));
        const char *stop = comma ? comma : end;
        if (stop - word == 3 && memcmp(word, "cpu", 3) == 0)
            return true;
        word = stop + 1;
    }
    return false;
}

/* The process's group in the hierarchy of cgroup v2, or in that of v1 which has the cpu controller ("0::PATH",
 * "N:CONTROLLERS:PATH"), and its length; NULL = none. */
static const char *group_of(bool v2, size_t *length)
{
    for (const char *s = groups; *s;) {
        const char *end = strchrnul(s, '\n'), *first = strchr(s, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        if (second && second < end && (v2 ? second == first + 1 : has_cpu(first + 1, second))) {
            *length = (size_t)(end - second - 1);
            return second + 1;
        }
        s = *end ? end + 1 : end;
    }
    return NULL;
}

static uint32_t milli(uint64_t quota_us, uint64_t period_us)
{
    if (!quota_us || !period_us || quota_us > UINT32_MAX)
        return 0;
    uint64_t n = (quota_us * 1000 + period_us / 2) / period_us;
    return n == 0 ? 1 : n < UINT32_MAX ? (uint32_t)n : 0;
}

/* The first bytes of a file in the directory whose name the first `length` bytes of `place` are. */
static bool read_in_place(size_t length, const char *file, char *bytes, size_t room)
{
    size_t n = strlen(file) + 1;
    if (length + n > sizeof place)
        return false;
    memcpy(place + length, file, n);
    return proc_file_read(place, bytes, room) != 0;
}

/* The number behind a word at the begin of a line, 0 = there is none. */
static uint64_t value_of(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *s = text; s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL)
        if (strncmp(s, word, n) == 0 && s[n] == ' ') {
            s += n;
            return proc_file_number(&s);
        }
    return 0;
}

static uint32_t limit_in_place(size_t length, bool v2)
{
    char text[64], period[64];
    if (v2) { /* "MAX PERIOD" or "max PERIOD" */
        if (!read_in_place(length, "/cpu.max", text, sizeof text) || text[0] == 'm')
            return 0;
        const char *s = text;
        uint64_t quota_us = proc_file_number(&s);
        return milli(quota_us, proc_file_number(&s));
    }
    if (!read_in_place(length, "/cpu.cfs_quota_us", text, sizeof text) || text[0] == '-' ||
        !read_in_place(length, "/cpu.cfs_period_us", period, sizeof period))
        return 0;
    const char *s = text, *t = period;
    uint64_t quota_us = proc_file_number(&s);
    return milli(quota_us, proc_file_number(&t));
}

/* Lowers *limit to that of the group whose directory's name the first `length` bytes of `place` are. */
static void lower(struct cpu_limit *limit, size_t length, bool v2)
{
    static char text[1024];
    uint32_t here = limit_in_place(length, v2);
    if (!here || (limit->milli && limit->milli <= here))
        return;
    *limit = (struct cpu_limit){.milli = here};
    if (read_in_place(length, "/cpu.stat", text, sizeof text)) {
        limit->n_periods = value_of(text, "nr_periods");
        limit->n_throttled = value_of(text, "nr_throttled");
    }
}

/* The lowest limit from the process's group up to the one that is mounted.  root: the mounted group, mount: where. */
static void lowest(struct found *found, const char *mount, size_t mount_length, const char *root, size_t root_length,
                   bool v2)
{
    size_t length, part_length;
    const char *group = group_of(v2, &length);
    if (!group)
        return;
    if (root_length == 1) /* "/" */
        root_length = 0;
    bool below = length >= root_length && memcmp(group, root, root_length) == 0 &&
                 (length == root_length || group[root_length] == '/');
    /* Else one of the two is named from another namespace of control groups; or another group happens to be mounted
     * there, which counts for nothing where there is one that the process is in. */
    const char *part = below ? group + root_length : "";
    struct cpu_limit *limit = below ? &found->limit : &found->elsewhere;
    part_length = below ? length - root_length : 0;
    if ((part_length >= 3 && memcmp(part, "/..", 3) == 0) || (part_length == 1 && part[0] == '/'))
        part_length = 0;
    if (mount_length + part_length >= sizeof place)
        return;
    found->is_inside |= below;
    memcpy(place, mount, mount_length);
    memcpy(place + mount_length, part, part_length);
    for (size_t n = mount_length + part_length;;) {
        lower(limit, n, v2);
        if (n == mount_length)
            return;
        do
            n--;
        while (n > mount_length && place[n] != '/');
    }
}

/* Spaces, tabs, ends of lines and backslashes are spelled in octal: "\\040".  Writes the text over it, returns its
 * length. */
static size_t unescape(char *text, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; n++) {
        const char *s = text + i;
        bool octal = s[0] == '\\' && length - i >= 4 && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
                     s[3] >= '0' && s[3] <= '7';
        text[n] = octal ? (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0')) : s[0];
        i += octal ? 4 : 1;
    }
    return n;
}

/* "ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [TAGS...] - TYPE SOURCE SUPER_OPTIONS" (proc(5)) */
static void limit_of_mount(struct found *found)
{
    char *field[5], *s = line;
    const char *tail = strstr(line, " - ");
    size_t length[5];
    if (!tail)
        return;
    for (int i = 0; i < 5; i++) {
        field[i] = s;
        length[i] = strcspn(s, " ");
        s += length[i];
        if (*s != ' ')
            return;
        s++;
    }
    const char *type = tail + 3, *source = strchr(type, ' ');
    const char *options = source ? strchr(source + 1, ' ') : NULL;
    if (!options)
        return;
    bool v2 = strncmp(type, "cgroup2 ", 8) == 0;
    if (!v2 && (strncmp(type, "cgroup ", 7) != 0 || !has_cpu(options + 1, options + 1 + strlen(options + 1))))
        return;
    length[3] = unescape(field[3], length[3]);
    length[4] = unescape(field[4], length[4]);
    lowest(&found[v2], field[4], length[4], field[3], length[3], v2);
}

void cpu_limit_read_from(const char *cgroup, const char *mountinfo, struct cpu_limit *limit)
{
    *limit = (struct cpu_limit){0};
    int fd = proc_file_read(cgroup, groups, sizeof groups) ? open(mountinfo, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    struct found found[2] = {{.is_inside = false}};
    size_t have = 0;
    for (bool skip = false;;) {
        ssize_t got = read(fd, line + have, sizeof line - 1 - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
        line[have] = 0;
        for (char *end; (end = strchr(line, '\n'));) {
            *end = 0;
            if (!skip)
                limit_of_mount(found);
            skip = false;
            have -= (size_t)(end + 1 - line);
            memmove(line, end + 1, have + 1);
        }
        if (have == sizeof line - 1) { /* a longer line is none of ours */
            skip = true;
            have = 0;
        }
    }
    close(fd);
    for (int v2 = 0; v2 < 2; v2++) {
        const struct cpu_limit *one = found[v2].is_inside ? &found[v2].limit : &found[v2].elsewhere;
        if (one->milli && (!limit->milli || one->milli < limit->milli))
            *limit = *one;
    }
}

void cpu_limit_read(uint32_t pid, struct cpu_limit *limit)
{
    char path[40];
    struct shim_text text;
    shim_text_init(&text, path, sizeof path);
    shim_text_add(&text, "/proc/");
    if (pid)
        shim_text_number(&text, pid);
    else
        shim_text_add(&text, "self");
    shim_text_add(&text, "/cgroup");
    cpu_limit_read_from(path, "/proc/self/mountinfo", limit);
}

void cpu_limit_begin(uint32_t pid, struct rec_header *h)
{
    struct cpu_limit limit;
    cpu_limit_read(pid, &limit);
    h->cpu_limit_milli = limit.milli;
    h->cpu_start_periods = limit.n_periods;
    h->cpu_start_throttled = limit.n_throttled;
}

void cpu_limit_end(uint32_t pid, struct rec_header *h)
{
    struct cpu_limit limit;
    if (!h->cpu_limit_milli)
        return;
    cpu_limit_read(pid, &limit);
    if (limit.milli == h->cpu_limit_milli) { /* else it is another group's */
        h->cpu_end_periods = limit.n_periods;
        h->cpu_end_throttled = limit.n_throttled;
    }
}
