/* SPDX-License-Identifier: MIT */
/*
 * reader-find.c - from the names on the command line to the files of recordings.
 */
#include "reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem.h"

static void add(struct reader_paths *paths, char *path)
{
    paths->path = mem_grow(paths->path, paths->n, &paths->capacity, sizeof *paths->path);
    paths->path[paths->n++] = path;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name), n_suffix = strlen(suffix);

    return n > n_suffix && !strcmp(name + n - n_suffix, suffix);
}

static bool add_directory(const char *name, struct reader_paths *paths, char error[READER_ERROR_BYTES])
{
    DIR *directory = opendir(name);
    const struct dirent *entry;
    size_t first = paths->n;

    if (!directory) {
        snprintf(error, READER_ERROR_BYTES, "cannot open '%s': %s", name, strerror(errno));
        return false;
    }
    while ((entry = readdir(directory))) {
        const char *slash = has_suffix(name, "/") ? "" : "/";
        if (has_suffix(entry->d_name, REC_SUFFIX))
            add(paths, mem_print("%s%s%s", name, slash, entry->d_name));
    }
    closedir(directory);
    if (paths->n > first)
        qsort(paths->path + first, paths->n - first, sizeof *paths->path, by_name);
    return true;
}

bool reader_find(const char *name, struct reader_paths *paths, char error[READER_ERROR_BYTES])
{
    struct stat status;

    if (stat(name, &status)) {
        snprintf(error, READER_ERROR_BYTES, "cannot open '%s': %s", name, strerror(errno));
        return false;
    }
    if (S_ISDIR(status.st_mode))
        return add_directory(name, paths, error);
    add(paths, mem_print("%s", name));
    return true;
}

static bool same_process(const struct rec_header *a, const struct rec_header *b)
{
    return a->pid == b->pid && a->proc_start_jiffies == b->proc_start_jiffies &&
           a->start_realtime_ns == b->start_realtime_ns && !strcmp(a->host, b->host) && !strcmp(a->boot_id, b->boot_id);
}

struct reader_file *reader_open_holds(const struct reader_file *of, char error[READER_ERROR_BYTES])
{
    struct reader_file *file = NULL;
    struct stat status;
    char *path;

    error[0] = 0;
    if (!has_suffix(of->path, REC_SUFFIX))
        return NULL;
    path = mem_print("%.*s" REC_HOLDS_SUFFIX, (int)(strlen(of->path) - strlen(REC_SUFFIX)), of->path);
    if (!lstat(path, &status))
        file = reader_open(path, error);
    if (file && (file->header.source != REC_SOURCE_HOLDS || !same_process(&file->header, &of->header))) {
        snprintf(error, READER_ERROR_BYTES,
                 "cannot read '%s': it does not belong to the recording beside it; remove it", path);
        reader_close(file);
        file = NULL;
    }
    free(path);
    return file;
}

void reader_paths_free(struct reader_paths *paths)
{
    for (size_t i = 0; i < paths->n; i++)
        free(paths->path[i]);
    free(paths->path);
    memset(paths, 0, sizeof *paths);
}
