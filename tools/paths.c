/* SPDX-License-Identifier: MIT */
/*
 * paths.c - finds the preload shim that belongs to this executable.
 */
#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"

/* The directory that this executable is in; false where /proc is not there or the path is too long. */
static int own_directory(char *dir, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", dir, size - 1);

    if (length <= 0 || (size_t)length >= size - 1)
        return 0;
    dir[length] = '\0';
    char *slash = strrchr(dir, '/');
    if (!slash)
        return 0;
    slash[slash == dir] = '\0';
    return 1;
}

char *paths_shim(void)
{
    /* Relative to the executable first: an installation that was moved, or built beside another one, must not take
     * the other one's shim. */
    static const char *const beside[] = {"%s/.libs/" PATHS_SHIM_NAME, "%s/../lib/gilscope/" PATHS_SHIM_NAME};
    char dir[PATH_MAX], candidate[PATH_MAX + 64];
    char *path = NULL;

    if (own_directory(dir, sizeof dir)) {
        for (size_t i = 0; i < sizeof beside / sizeof beside[0] && !path; i++) {
            snprintf(candidate, sizeof candidate, beside[i], dir);
            path = realpath(candidate, NULL);
        }
    }
    if (!path)
        path = realpath(PKGLIBDIR "/" PATHS_SHIM_NAME, NULL);
    if (!path) {
        msg_error("cannot find %s: neither beside this executable nor in %s", PATHS_SHIM_NAME, PKGLIBDIR);
        return NULL;
    }
    if (strpbrk(path, " :")) {
        msg_error("cannot preload '%s': the dynamic loader splits LD_PRELOAD at spaces and colons; "
                  "move gilscope to a directory without them",
                  path);
        free(path);
        return NULL;
    }
    return path;
}
