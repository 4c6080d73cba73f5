/* SPDX-License-Identifier: MIT */
/*
 * doctor-inert.c - looks for what the preload library stays inert for: rights, limits, the directory of recordings.
 */
#include "doctor.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "mem.h"

#define LEAST_BYTES (64u << 10) /* of a recording: FIRST_BYTES in lib/shim-file.c */

/* The bytes of /proc/PID/NAME, ended by a 0; NULL where they cannot be read.  The caller frees them. */
static char *read_proc(int pid, const char *name, size_t *length)
{
    char path[64];
    const size_t room = 256 << 10;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *bytes = mem_zeroed(room + 1, 1);
    ssize_t n;
    *length = 0;
    while (*length < room && (n = read(fd, bytes + *length, room - *length)) > 0)
        *length += (size_t)n;
    close(fd);
    return bytes;
}

static void check_rights(int pid)
{
    size_t length = 0;
    char *bytes = read_proc(pid, "auxv", &length);

    for (size_t at = 0; bytes && at + sizeof(Elf64_auxv_t) <= length; at += sizeof(Elf64_auxv_t)) {
        Elf64_auxv_t entry;
        memcpy(&entry, bytes + at, sizeof entry);
        if (entry.a_type == AT_SECURE && entry.a_un.a_val)
            doctor_line("rights", DOCTOR_MISSING,
                        "the program runs with rights that its user has not (AT_SECURE): LD_PRELOAD and GILSCOPE are "
                        "ignored there; use gilscope attach");
    }
    free(bytes);
}

static void check_limits(int pid)
{
    struct rlimit limit;

    if (!prlimit(pid, RLIMIT_FSIZE, NULL, &limit) && limit.rlim_cur < LEAST_BYTES)
        doctor_line("file size", DOCTOR_MISSING,
                    "limited to %" PRIu64 " bytes, a recording has at least 64 KiB (ulimit -f)",
                    (uint64_t)limit.rlim_cur);
    if (!prlimit(pid, RLIMIT_AS, NULL, &limit) && limit.rlim_cur != RLIM_INFINITY)
        doctor_line("address space", DOCTOR_NOTE, "limited to %" PRIu64 " MiB (ulimit -v): small recordings",
                    (uint64_t)limit.rlim_cur >> 20);
}

void doctor_output(const char *dir)
{
    struct statvfs space;
    struct stat status;

    if (stat(dir, &status))
        doctor_line("output", DOCTOR_MISSING, "no recording can be made in %s: %s", dir, strerror(errno));
    else if (!S_ISDIR(status.st_mode))
        doctor_line("output", DOCTOR_MISSING, "no recording can be made in %s: %s", dir, strerror(ENOTDIR));
    else if (access(dir, W_OK | X_OK))
        doctor_line("output", DOCTOR_MISSING, "no recording can be made in %s: %s; use `gilscope run -o DIR'", dir,
                    strerror(errno));
    else if (!statvfs(dir, &space) && (uint64_t)space.f_bavail * space.f_frsize < LEAST_BYTES)
        doctor_line("output", DOCTOR_MISSING, "no recording can be made in %s: no space, less than 64 KiB are free",
                    dir);
    else
        doctor_line("output", DOCTOR_OK, "recordings can be written to %s", dir);
}

/* The directory that GILSCOPE=output=DIR names in the environment of PID; a backslash keeps what follows it. */
static char *output_of(int pid)
{
    size_t length = 0;
    char *environment = read_proc(pid, "environ", &length), *dir = NULL;

    for (char *word = environment; word && word < environment + length && !dir; word += strlen(word) + 1) {
        char *option = strncmp(word, "GILSCOPE=", 9) ? NULL : word + 9;
        while (option && *option && strncmp(option, "output=", 7)) {
            option = strchr(option, ',');
            option += option != NULL;
        }
        if (!option || !*option)
            continue;
        dir = mem_zeroed(strlen(option) + 1, 1);
        char *to = dir;
        for (const char *from = option + 7; *from && *from != ','; from++) {
            if (*from == '\\' && from[1])
                from++;
            *to++ = *from;
        }
    }
    free(environment);
    return dir;
}

void doctor_inert(int pid)
{
    char *dir = pid == getpid() ? NULL : output_of(pid);

    check_rights(pid);
    check_limits(pid);
    if (dir)
        doctor_output(dir);
    free(dir);
}
