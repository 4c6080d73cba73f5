/* SPDX-License-Identifier: MIT */
/*
 * find-module.c - looks through /proc/PID/maps for the file that defines _PyRuntime.
 */
#include "find-module.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "find-gil.h"
#include "peer.h"
#include "refused.h"
#include "textfile.h"

#define CHUNK 65536u

struct mapping {
    uint64_t start, end, offset;
    char permissions[5];
    const char *path; /* "" = none */
};

static bool parse_line(char *line, struct mapping *m)
{
    int at = 0;

    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &m->start, &m->end, m->permissions,
               &m->offset, &at) < 4)
        return false;
    m->path = at && line[at] == '/' ? line + at : "";
    return true;
}

static FILE *open_maps(int pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task/%d/maps", pid, peer_thread(pid));
    return fopen(path, "re");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void say_why_refused(int pid, char *error)
{
    char reason[FIND_GIL_ERROR_BYTES - 64];

    refused_why(pid, reason, sizeof reason);
    snprintf(error, FIND_GIL_ERROR_BYTES, "its memory may not be read: %s", reason);
}

/* Says what the process is, as it is no CPython that can be measured. */
static void say_what(int pid, const struct find_module *module, bool pypy, bool old, bool refused, bool empty,
                     char *error)
{
    if (refused)
        say_why_refused(pid, error);
    else if (empty)
        snprintf(error, FIND_GIL_ERROR_BYTES, "it has no memory: a kernel thread, or a process that has ended");
    else if (pypy)
        snprintf(error, FIND_GIL_ERROR_BYTES, "it runs PyPy, whose GIL is another one: gilscope measures CPython");
    else if (old)
        snprintf(error, FIND_GIL_ERROR_BYTES, "%s is a CPython older than 3.8", module->path);
    else
        snprintf(error, FIND_GIL_ERROR_BYTES, "it does not run Python: nothing in it defines _PyRuntime");
}

/* Whether /proc has the numbers of another PID namespace than calls have: an outer one, in which this process has more
 * than one number, or one in which it has none. */
static bool proc_is_anothers(void)
{
    char text[4096];

    if (textfile_read("/proc/self/status", text, sizeof text) <= 0)
        return !access("/proc/1", F_OK); /* else nothing is mounted there */
    const char *line = strstr(text, "\nNSpid:\t");
    return line && line[strcspn(line + 8, "\t\n") + 8] == '\t';
}

int find_module(int pid, struct find_module *module, char *error)
{
    char *line = NULL;
    size_t size = 0;
    bool pypy = false, old = false, refused = false, empty = true, found = false;
    FILE *stream = open_maps(pid);

    memset(module, 0, sizeof *module);
    if (proc_is_anothers()) { /* one process's maps, and another's memory */
        module->is_certain = true;
        snprintf(error, FIND_GIL_ERROR_BYTES, "/proc is that of another PID namespace than the one that gilscope is in: "
                                              "mount it anew there (unshare --mount-proc)");
        if (stream)
            fclose(stream);
        return -1;
    }
    if (!stream) {
        module->is_certain = true;
        if (errno == ENOENT || errno == ESRCH)
            snprintf(error, FIND_GIL_ERROR_BYTES, "there is no such process");
        else if (errno == EACCES || errno == EPERM)
            say_why_refused(pid, error);
        else
            snprintf(error, FIND_GIL_ERROR_BYTES, "its /proc/PID/maps cannot be read: %s", strerror(errno));
        return -1;
    }
    while (!found && getline(&line, &size, stream) > 0) {
        struct mapping m;
        if (!parse_line(line, &m))
            continue;
        empty = false;
        if (!*m.path || m.offset || m.permissions[0] != 'r')
            continue;
        char probe;
        if (peer_read(pid, m.start, &probe, 1) && errno == EPERM) {
            refused = true;
            break;
        }
        pypy |= !strncmp(base_name(m.path), "libpypy", 7) || !strncmp(base_name(m.path), "pypy", 4);
        module->runtime = peer_symbol(pid, m.start, "_PyRuntime", NULL);
        if (module->runtime) {
            module->base = m.start;
            found = true;
        } else if (peer_symbol(pid, m.start, "Py_Initialize", NULL) &&
                   peer_symbol(pid, m.start, "PyEval_RestoreThread", NULL) && !pypy) {
            old = true; /* 3.6 or before */
        } else {
            continue;
        }
        snprintf(module->path, sizeof module->path, "%s", m.path);
    }
    free(line);
    if (ferror(stream))
        empty = true;
    fclose(stream);
    if (found)
        return 0;
    module->is_certain = refused || pypy || old || empty;
    say_what(pid, module, pypy, old, refused, empty, error);
    return -1;
}

/* "3.9.18" or "3.9.18+" with a 0 byte behind it; 0 if it is no such thing. */
static uint32_t version_at(const char *text)
{
    unsigned minor, micro;
    int length = 0;

    if (text[0] != '3' || text[1] != '.' || sscanf(text, "3.%2u.%2u%n", &minor, &micro, &length) < 2 || !length ||
        (text[length] && text[length] != '+'))
        return 0;
    return 3u << 24 | minor << 16 | micro << 8 | 0xf0;
}

/* The version that the file's name tells, "libpython3.9.so.1.0" or "python3.9". */
static uint32_t version_of_name(const char *path)
{
    const char *python = strstr(base_name(path), "python3.");
    unsigned minor;

    return python && sscanf(python, "python3.%2u", &minor) == 1 ? 3u << 24 | minor << 16 : 0;
}

static uint32_t search(int pid, const struct mapping *m, uint32_t named, char *bytes)
{
    for (uint64_t at = m->start; at < m->end; at += CHUNK - 16) {
        size_t n = m->end - at < CHUNK ? m->end - at : CHUNK;
        if (peer_read(pid, at, bytes, n))
            return 0;
        bytes[n] = 0;
        /* The linker may have made it the tail of a longer text, such as a directory's name. */
        for (char *c = bytes; (c = memmem(c, n - (size_t)(c - bytes), "3.", 2)); c++) {
            uint32_t hex = version_at(c);
            if (hex && hex >> 16 == named >> 16 && (c == bytes || (!isdigit((unsigned char)c[-1]) && c[-1] != '.')))
                return hex;
        }
    }
    return 0;
}

uint32_t find_module_version(int pid, uint64_t base, const char *path)
{
    char *line = NULL, *bytes = malloc(CHUNK + 1);
    size_t size = 0;
    uint32_t hex = 0, named = version_of_name(path);
    FILE *stream = open_maps(pid);

    while (bytes && stream && !hex && getline(&line, &size, stream) > 0) {
        struct mapping m;
        if (parse_line(line, &m) && m.start >= base && !strncmp(m.path, path, 255) && m.permissions[0] == 'r')
            hex = search(pid, &m, named, bytes);
    }
    if (stream)
        fclose(stream);
    free(line);
    free(bytes);
    return hex ? hex : named;
}
