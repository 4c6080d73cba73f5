/* SPDX-License-Identifier: MIT */
/*
 * recdir.c - names and makes the directory that a recording goes to.
 */
#include "recdir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "msg.h"
#include "record.h"

#define MAX_NAMES 10000 /* NAME-2 ... before giving up */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* The option of the python command line at *argv that takes the next argument as its value. */
static int takes_value(const char *option)
{
    return !strcmp(option, "-W") || !strcmp(option, "-X") || !strcmp(option, "--check-hash-based-pycs");
}

/* What the command is about: the script or module that a python runs, else the command itself. */
static const char *subject(char *const *argv)
{
    const char *command = base_name(argv[0]);

    if (strncmp(command, "python", strlen("python")))
        return command;
    for (char *const *arg = argv + 1; *arg; arg++) {
        if (!strcmp(*arg, "-m") && arg[1])
            return arg[1];
        if ((*arg)[0] != '-')
            return base_name(*arg);
        if (!strcmp(*arg, "-c") || !strcmp(*arg, "-"))
            break;
        if (takes_value(*arg) && arg[1])
            arg++;
    }
    return command;
}

static char *default_name(char *const *argv)
{
    char *name = strdup(subject(argv));

    if (!name)
        return NULL;
    size_t length = strlen(name);
    if (length > 3 && !strcmp(name + length - 3, ".py"))
        name[length - 3] = '\0';
    else if (!length || name[0] == '.')
        strcpy(name, length ? "_" : ""); /* no hidden directory, and neither . nor .. */
    return name;
}

/* What is in DIR that a recording must not be mixed with: 0 nothing, 1 something, -1 cannot be told (errno). */
static int is_in_use(const char *dir)
{
    DIR *stream = opendir(dir);
    int found = 0;

    if (!stream)
        return -1;
    for (struct dirent *entry; !found && (entry = readdir(stream));)
        found = strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(stream);
    return found;
}

/* A link that another user has put in our way, such as in /tmp: the library does not follow it either
 * (lib/shim-file.c), but is told where it leads to. */
static int is_foreign_link(const char *dir)
{
    struct stat status;
    char *plain = strdup(dir);
    size_t n = plain ? strlen(plain) : 0;

    while (n > 1 && (plain[n - 1] == '/' || (plain[n - 1] == '.' && plain[n - 2] == '/')))
        plain[--n] = '\0'; /* "link/" and "link/." are what it leads to */
    int foreign =
        plain && !lstat(plain, &status) && S_ISLNK(status.st_mode) && status.st_uid != 0 && status.st_uid != geteuid();
    free(plain);
    return foreign;
}

static int make_wanted(const char *dir, int *made)
{
    if (is_foreign_link(dir)) {
        msg_error("cannot record into '%s': it is a symbolic link of another user's", dir);
        return -1;
    }
    *made = !mkdir(dir, 0700);
    if (*made)
        return 0;
    if (errno != EEXIST) {
        msg_error("cannot create the directory '%s': %s", dir, strerror(errno));
        return -1;
    }
    int used = is_in_use(dir);
    if (used < 0)
        msg_error("cannot record into '%s': %s", dir, strerror(errno));
    else if (used)
        msg_error("cannot record into '%s': it is not empty; name another directory with -o", dir);
    return used ? -1 : 0;
}

static char *make_default(char *const *argv, int *made)
{
    char *name = default_name(argv), *dir = NULL;

    for (int i = 1; name && i < MAX_NAMES; i++) {
        char number[16] = "";
        if (i > 1)
            snprintf(number, sizeof number, "-%d", i);
        if (asprintf(&dir, "%s%s%s", name, number, REC_DIR_SUFFIX) < 0) {
            dir = NULL;
            break;
        }
        *made = !mkdir(dir, 0700);
        if (*made || errno != EEXIST)
            break;
        free(dir);
        dir = NULL;
    }
    free(name);
    if (!dir || !*made) {
        msg_error("cannot create the directory '%s' for the recording: %s; name another place with -o",
                  dir ? dir : REC_DIR_SUFFIX, strerror(errno));
        free(dir);
        return NULL;
    }
    return dir;
}

char *recdir_make(const char *wanted, char *const *argv, int *made)
{
    char *dir;

    *made = 0;
    if (!wanted)
        dir = make_default(argv, made);
    else
        dir = make_wanted(wanted, made) ? NULL : strdup(wanted);
    if (!dir)
        return NULL;
    /* Absolute: the program may change its working directory, and its children start anywhere. */
    char *absolute = realpath(dir, NULL);
    if (!absolute)
        msg_error("cannot use the directory '%s': %s", dir, strerror(errno));
    free(dir);
    return absolute;
}

int recdir_is_recording(const char *name)
{
    size_t length = strlen(name), suffix = strlen(REC_SUFFIX);

    return length > suffix && !strcmp(name + length - suffix, REC_SUFFIX);
}

int recdir_has_recordings(const char *dir)
{
    DIR *stream = opendir(dir);
    int found = 0;

    if (!stream)
        return 0;
    for (struct dirent *entry; !found && (entry = readdir(stream));)
        found = recdir_is_recording(entry->d_name);
    closedir(stream);
    return found;
}
