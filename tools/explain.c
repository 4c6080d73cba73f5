/* SPDX-License-Identifier: MIT */
/*
 * explain.c - finds out why a run recorded nothing.
 */
#include "explain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elfscan.h"
#include "msg.h"

#define MAX_SHEBANGS 4 /* as many as the kernel follows */

char *explain_find_command(const char *command)
{
    char *path = NULL;

    if (strchr(command, '/'))
        return access(command, X_OK) ? NULL : strdup(command);
    const char *search = getenv("PATH");
    for (const char *dir = search ? search : "/usr/bin:/bin"; dir;) {
        int length = (int)strcspn(dir, ":");
        struct stat status;
        if (asprintf(&path, "%.*s%s%s", length, dir, length ? "/" : "", command) < 0)
            return NULL;
        if (!access(path, X_OK) && !stat(path, &status) && S_ISREG(status.st_mode))
            return path;
        free(path);
        dir = dir[length] ? dir + length + 1 : NULL;
    }
    return NULL;
}

/* The program that a script's first line names; NULL where PATH is no script.  The caller frees it. */
static char *shebang_of(const char *path)
{
    char line[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return NULL;
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    if (length < 3 || memcmp(line, "#!", 2))
        return NULL;
    line[length] = '\0';
    char *program = line + 2 + strspn(line + 2, " \t");
    program[strcspn(program, " \t\n")] = '\0';
    return strdup(program);
}

/* Why LD_PRELOAD did not reach the program in the file PATH; NULL where nothing speaks against it. */
static const char *unreachable(const char *path)
{
    struct stat status;
    struct elfscan scan;

    if (stat(path, &status) || elfscan_read(path, &scan))
        return NULL;
    if ((status.st_mode & S_ISUID && status.st_uid != getuid()) ||
        (status.st_mode & S_ISGID && status.st_gid != getgid()))
        return "it takes another user's rights, and then the dynamic loader ignores LD_PRELOAD";
    if (scan.is_elf && !scan.is_native)
        return "it was built for another processor than this gilscope";
    if (scan.is_elf && !scan.is_dynamic)
        return "it is linked statically, which LD_PRELOAD does not reach";
    return NULL;
}

void explain_nothing(const char *command)
{
    char *path = explain_find_command(command);

    for (int i = 0; i < MAX_SHEBANGS && path; i++) {
        char *interpreter = shebang_of(path);
        if (!interpreter)
            break;
        free(path);
        path = interpreter;
    }
    const char *reason = path ? unreachable(path) : NULL;
    if (reason)
        msg_error("nothing was recorded: '%s' cannot be measured: %s", path, reason);
    else
        msg_error("nothing was recorded: neither '%s' nor a program that it started is a CPython that can be measured "
                  "(or LD_PRELOAD was cleared on the way)",
                  command);
    free(path);
}
