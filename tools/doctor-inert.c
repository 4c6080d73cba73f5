/* SPDX-License-Identifier: MIT */
/*
 * doctor-inert.c - looks for what the preload library stays inert for: rights, limits, the directory of recordings.
 */
#include "doctor.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"
#include "record.h"

#define LEAST_BYTES (64u << 10) /* of a recording: FIRST_BYTES in lib/shim-file.c */
#define LEAST_MAPPED_BYTES ((1u << 20) + (64u << 10)) /* of address space: MAP_LEAST, and what is behind it */

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
    if (prlimit(pid, RLIMIT_AS, NULL, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return;
    size_t length = 0;
    char *bytes = read_proc(pid, "statm", &length);
    uint64_t used = bytes ? strtoull(bytes, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    free(bytes);
    if (used + LEAST_MAPPED_BYTES > limit.rlim_cur)
        doctor_line("address space", DOCTOR_MISSING,
                    "limited to %" PRIu64 " MiB, of which less than %u KiB are left, which a recording needs (ulimit -v)",
                    (uint64_t)limit.rlim_cur >> 20, LEAST_MAPPED_BYTES >> 10);
    else
        doctor_line("address space", DOCTOR_NOTE, "limited to %" PRIu64 " MiB (ulimit -v): small recordings",
                    (uint64_t)limit.rlim_cur >> 20);
}

static void check_descriptors(int pid)
{
    char path[64];
    struct rlimit limit;
    uint64_t n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *stream = opendir(path);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        n += entry->d_name[0] != '.';
    if (stream)
        closedir(stream);
    if (pid == getpid() && n)
        n--; /* the directory itself */
    if (!prlimit(pid, RLIMIT_NOFILE, NULL, &limit) && n >= limit.rlim_cur)
        doctor_line("descriptors", DOCTOR_MISSING,
                    "all %" PRIu64 " that are allowed are in use, and a recording needs one for a moment (ulimit -n)",
                    (uint64_t)limit.rlim_cur);
}

/* A number behind NAME in /proc/PID/status, the one at INDEX; 0 where there is none. */
static unsigned long status_number(int pid, const char *name, int index)
{
    size_t length = 0, n = strlen(name);
    char *bytes = read_proc(pid, "status", &length), *rest = NULL;
    unsigned long value = 0;

    for (char *line = bytes ? strtok_r(bytes, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, name, n) || line[n] != ':')
            continue;
        char *at = line + n + 1;
        for (int i = 0; i <= index; i++)
            value = strtoul(at, &at, 10);
        break;
    }
    free(bytes);
    return value;
}

static void check_filter(int pid)
{
    if (status_number(pid, "Seccomp", 0) > 0)
        doctor_line("filter", DOCTOR_NOTE,
                    "the process's system calls are filtered (seccomp): where open, mkdir, fallocate, mmap or rename are "
                    "denied, it has no recording");
}

/* --- the directory ----------------------------------------------------------------------------------------------- */
/* Whether process PID may make files in the directory: 0, or an errno.  Root asks as the process's user. */
static int may_write(int pid, const char *path)
{
    uid_t uid = (uid_t)status_number(pid, "Uid", 1);
    gid_t gid = (gid_t)status_number(pid, "Gid", 1);
    int status = 0;

    if (geteuid() != 0 || uid == 0)
        return access(path, W_OK | X_OK) ? errno : 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        return 0;
    if (!child) {
        if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
            _exit(0);
        _exit(access(path, W_OK | X_OK) ? errno : 0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

/* A link that somebody else has made is not followed: lib/shim-file.c. */
static int is_foreign_link(int pid, const char *path)
{
    struct stat status;

    return !lstat(path, &status) && S_ISLNK(status.st_mode) && status.st_uid != 0 &&
           status.st_uid != (uid_t)status_number(pid, "Uid", 1);
}

/* Why process PID can make no recording in the directory PATH; "" where nothing is found.  may_make: it may be made. */
static const char *why_not(int pid, const char *path, int may_make)
{
    struct statvfs space;
    struct stat status;

    if (is_foreign_link(pid, path))
        return "it is a symbolic link of another user's";
    if (stat(path, &status)) {
        int error = errno;
        const char *slash = strrchr(path, '/');
        if (!may_make || error != ENOENT || !slash || slash == path)
            return strerror(error);
        char *parent = strndup(path, (size_t)(slash - path)); /* the library makes its directory, but not that one */
        const char *why = parent ? why_not(pid, parent, 0) : "";
        free(parent);
        return why;
    }
    if (!S_ISDIR(status.st_mode))
        return strerror(ENOTDIR);
    int error = may_write(pid, path);
    if (error)
        return strerror(error);
    if (!statvfs(path, &space)) {
        if ((uint64_t)space.f_bavail * space.f_frsize < LEAST_BYTES)
            return "no space, less than 64 KiB are free";
        if (space.f_files && !space.f_favail)
            return "no space, there are no inodes left";
    }
    return "";
}

static void report_output(int pid, const char *dir, const char *path, int may_make)
{
    const char *why = why_not(pid, path, may_make);

    if (*why)
        doctor_line("output", DOCTOR_MISSING, "no recording can be made in %s: %s; use `gilscope run -o DIR'", dir, why);
    else
        doctor_line("output", DOCTOR_OK, "recordings can be written to %s", dir);
}

void doctor_output(const char *dir)
{
    report_output(getpid(), dir, dir, 0);
}

/* Where PID's directory can be found from here: it may have another root, or a relative path.  The caller frees it. */
static char *outer_directory(int pid, const char *dir)
{
    char root[64], *path = NULL;
    struct stat theirs, ours;

    snprintf(root, sizeof root, "/proc/%d/root", pid);
    if (*dir != '/') {
        snprintf(root, sizeof root, "/proc/%d/cwd", pid);
        if (asprintf(&path, "%s/%s", root, dir) < 0)
            return NULL;
    } else if (!stat(root, &theirs) && !stat("/", &ours) &&
               (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev)) {
        if (asprintf(&path, "%s%s", root, dir) < 0)
            return NULL;
    } else {
        path = strdup(dir);
    }
    return path;
}

/* A recording of PID's in the directory that was cut short while it was measured. */
static void check_failed(int pid, const char *path)
{
    char number[32];
    DIR *stream = opendir(path);

    snprintf(number, sizeof number, "-%d-", pid);
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
        struct rec_header header;
        const char *end = strstr(entry->d_name, REC_SUFFIX);
        if (!end || strcmp(end, REC_SUFFIX) || !strstr(entry->d_name, number))
            continue;
        int fd = openat(dirfd(stream), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        ssize_t n = fd >= 0 ? pread(fd, &header, sizeof header, 0) : -1;
        if (fd >= 0)
            close(fd);
        if (n >= 0 && ((size_t)n < sizeof header || header.losses[REC_LOSS_STORAGE]))
            doctor_line("storage", DOCTOR_MISSING, "measuring ended when %s was cut short, or its disk failed",
                        entry->d_name);
    }
    if (stream)
        closedir(stream);
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

static void check_output(int pid)
{
    char *dir = output_of(pid);

    if (!dir && asprintf(&dir, "python-%d" REC_DIR_SUFFIX, pid) < 0)
        return;
    char *path = outer_directory(pid, dir);
    if (path) {
        report_output(pid, dir, path, 1);
        check_failed(pid, path);
    }
    free(path);
    free(dir);
}

void doctor_inert(int pid)
{
    check_rights(pid);
    check_limits(pid);
    check_descriptors(pid);
    if (pid == getpid())
        return;
    check_filter(pid);
    check_output(pid);
}
