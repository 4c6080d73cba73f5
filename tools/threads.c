/* SPDX-License-Identifier: MIT */
/*
 * threads.c - reads what /proc and CPython's memory tell about threads.
 */
#include "threads.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpython.h"
#include "mem.h"
#include "peer.h"
#include "textfile.h"

#define LIST_MAX 65536

static int by_pthread_id(const void *a, const void *b)
{
    const struct find_thread *x = a, *y = b;

    return x->pthread_id < y->pthread_id ? -1 : x->pthread_id > y->pthread_id;
}

void threads_read(struct threads_list *list, const struct find_process *process)
{
    if (!list->capacity) {
        list->capacity = 1024;
        list->thread = mem_zeroed(list->capacity, sizeof *list->thread);
    }
    list->n = find_gil_threads(process, list->thread, list->capacity);
    while (list->n == list->capacity && list->capacity < LIST_MAX) {
        free(list->thread);
        list->capacity *= 4;
        list->thread = mem_zeroed(list->capacity, sizeof *list->thread);
        list->n = find_gil_threads(process, list->thread, list->capacity);
    }
    if (list->n)
        qsort(list->thread, list->n, sizeof *list->thread, by_pthread_id);
}

void threads_free(struct threads_list *list)
{
    free(list->thread);
    memset(list, 0, sizeof *list);
}

const struct find_thread *threads_find(const struct threads_list *list, uint64_t pthread_id)
{
    struct find_thread key = {.pthread_id = pthread_id};

    if (!list->n || !pthread_id)
        return NULL;
    return bsearch(&key, list->thread, list->n, sizeof *list->thread, by_pthread_id);
}

enum rec_name_source threads_name(const struct find_process *process, const struct find_thread *thread, char *name,
                                  size_t size)
{
    const struct cpython_layout *layout = cpython_layout(process->hex);
    int pid = process->pid;
    enum cpython_name source = CPYTHON_NAME_NONE;

    if (layout)
        source = cpython_thread_name(layout, peer_read_callback, &pid, thread->tstate, name, size);
    if (!find_gil_is_still(process, thread)) /* what was read may be another one's */
        return REC_NAME_NONE;
    switch (source) {
    case CPYTHON_NAME_THREAD:
        return REC_NAME_PYTHON;
    case CPYTHON_NAME_FUNCTION:
        return REC_NAME_FUNCTION;
    default:
        return REC_NAME_NONE;
    }
}

uint32_t threads_inner_tid(int pid, uint32_t tid)
{
    char path[64], text[4096];

    snprintf(path, sizeof path, "/proc/%d/task/%u/status", pid, tid);
    if (textfile_read(path, text, sizeof text) <= 0)
        return tid;
    char *line = strstr(text, "\nNSpid:");
    if (!line)
        return tid;
    line++;
    line[strcspn(line, "\n")] = 0;
    char *last = strrchr(line, '\t');
    return last ? (uint32_t)strtoul(last, NULL, 10) : tid;
}

int threads_each(int pid, void (*each)(void *context, uint32_t tid), void *context)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *stream = opendir(path);
    if (!stream)
        return -1;
    for (const struct dirent *entry; (entry = readdir(stream));) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        each(context, (uint32_t)strtoul(entry->d_name, NULL, 10));
        n++;
    }
    closedir(stream);
    return n;
}
