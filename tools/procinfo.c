/* SPDX-License-Identifier: MIT */
/*
 * procinfo.c - reads what gilscope needs to know about a process from /proc.
 */
#include "procinfo.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"
#include "paths.h"
#include "procstat.h"
#include "recfile.h"

int procinfo_parse_pid(const char *text)
{
    char *end;

    errno = 0;
    long pid = strtol(text, &end, 10);
    if (errno || end == text || *end || pid <= 0 || pid > INT_MAX || text[0] < '0' || text[0] > '9')
        return -1;
    return (int)pid;
}

static FILE *open_maps(int pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    return fopen(path, "re");
}

/* The path at the end of a line of /proc/PID/maps, or NULL where the mapping has none.  Cuts the newline. */
static char *path_of_line(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    return strchr(line, '/'); /* no field before the path holds a slash */
}

static int ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), suffix_length = strlen(suffix);

    return length >= suffix_length && !strcmp(text + length - suffix_length, suffix);
}

int procinfo_read_maps(int pid, struct procinfo_maps *maps)
{
    char *line = NULL;
    size_t size = 0;
    FILE *stream = open_maps(pid);

    memset(maps, 0, sizeof *maps);
    if (!stream)
        return -1;
    while (getline(&line, &size, stream) > 0) {
        char *path = path_of_line(line);
        if (!path || strlen(path) >= sizeof maps->python)
            continue;
        const char *base = strrchr(path, '/') + 1;
        if (!strncmp(base, PATHS_SHIM_NAME, strlen(PATHS_SHIM_NAME)))
            maps->has_shim = 1;
        if (!strncmp(base, "libpython", strlen("libpython")) && strstr(base, ".so")) {
            strcpy(maps->python, path);
            maps->python_is_library = 1;
        }
    }
    int failed = ferror(stream);
    free(line);
    fclose(stream);
    if (failed) {
        errno = EIO;
        return -1;
    }
    if (!maps->python_is_library) {
        char link[64];
        snprintf(link, sizeof link, "/proc/%d/exe", pid);
        ssize_t length = readlink(link, maps->python, sizeof maps->python - 1);
        maps->python[length > 0 ? length : 0] = '\0';
    }
    return 0;
}

/* PID as the process sees itself, in its own PID namespace. */
static uint32_t inner_pid(int pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    uint32_t inner = (uint32_t)pid;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *stream = fopen(path, "re");
    if (!stream)
        return inner;
    while (getline(&line, &size, stream) > 0) {
        if (!strncmp(line, "NSpid:", 6)) {
            char *last = strrchr(line, '\t'); /* outermost first */
            if (last)
                inner = (uint32_t)strtoul(last, NULL, 10);
            break;
        }
    }
    free(line);
    fclose(stream);
    return inner;
}

/* Whether the recording that was opened is PID's own. */
static int is_recording_of(int pid, uint32_t inner, const struct rec_header *header)
{
    uint64_t start = recfile_proc_start(pid);

    return header->pid == inner && (!header->proc_start_jiffies || !start || header->proc_start_jiffies == start);
}

char *procinfo_outer_path(int pid, const char *path)
{
    char *outer;

    if (asprintf(&outer, "/proc/%d/root%s", pid, path) < 0)
        return NULL;
    if (!access(outer, F_OK) || access(path, F_OK))
        return outer;
    free(outer);
    return strdup(path);
}

/* As procinfo_open_recording, but with the reason in *problem (errno is that of the system, or 0) in place of a line.
 */
static int find_recording(int pid, struct rec_header *header, const char **problem)
{
    char *line = NULL;
    size_t size = 0;
    int fd = -1, reason = 0;
    uint32_t inner = inner_pid(pid);

    *problem = NULL;
    FILE *stream = open_maps(pid);
    if (!stream) {
        *problem = errno == ENOENT ? "there is no such process" : "its /proc/PID/maps cannot be read";
        errno = errno == ENOENT ? 0 : errno;
        return -1;
    }
    while (fd < 0 && getline(&line, &size, stream) > 0) {
        char *path = path_of_line(line);
        if (!path || !ends_with(path, REC_SUFFIX))
            continue;
        char *outer = procinfo_outer_path(pid, path);
        if (!outer)
            break;
        fd = recfile_open(outer, header, problem);
        reason = errno;
        free(outer);
        if (fd >= 0 && !is_recording_of(pid, inner, header)) {
            *problem = "the recording that it has mapped is that of another process";
            reason = 0;
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0 && !*problem) {
        *problem = ferror(stream) ? "its /proc/PID/maps cannot be read" : "it writes no recording";
        reason = ferror(stream) ? errno : 0;
    }
    free(line);
    fclose(stream);
    errno = reason;
    return fd;
}

int procinfo_open_recording(int pid, struct rec_header *header)
{
    const char *problem;
    int fd = find_recording(pid, header, &problem);

    if (fd < 0) {
        int reason = errno;
        msg_error("cannot control process %d: %s%s%s", pid, problem, reason ? ": " : "",
                  reason ? strerror(reason) : "");
    }
    return fd;
}

int procinfo_find_recording(int pid, struct rec_header *header)
{
    const char *problem;

    return find_recording(pid, header, &problem);
}

bool procinfo_is_stopped(int pid)
{
    return procstat_is_stopped(procstat_state(pid, pid, NULL));
}

int procinfo_threads(int pid)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *stream = opendir(path);
    if (!stream)
        return -1;
    for (struct dirent *entry; (entry = readdir(stream));)
        n += entry->d_name[0] != '.';
    closedir(stream);
    return n;
}

bool procinfo_in_own_namespace(const char *kind)
{
    static const struct {
        const char *kind;
        unsigned inode; /* PROC_..._INIT_INO of include/linux/proc_ns.h */
    } first[] = {{"pid", 4026531836u}, {"user", 4026531837u}, {"time", 4026531834u}};
    char path[64], text[64], expected[64];

    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        if (strcmp(first[i].kind, kind) != 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
        snprintf(expected, sizeof expected, "%s:[%u]", kind, first[i].inode);
        ssize_t n = readlink(path, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        return n > 0 && strcmp(text, expected) != 0;
    }
    return false;
}
