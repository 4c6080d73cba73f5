/* SPDX-License-Identifier: MIT */
/*
 * threads.h - the threads of a process that is measured from outside: ids and names.
 */
#ifndef GILSCOPE_THREADS_H
#define GILSCOPE_THREADS_H

#include <stddef.h>

#include "find-gil.h"
#include "record.h"

struct threads_list { /* of thread states, by pthread_id */
    struct find_thread *thread;
    uint32_t n, capacity;
};

/* Reads the list anew.  */
void threads_read(struct threads_list *list, const struct find_process *process);
void threads_free(struct threads_list *list);

/* The thread state of a thread by its pthread_self(); NULL = it has none. */
const struct find_thread *threads_find(const struct threads_list *list, uint64_t pthread_id);

/* The name of a thread of the list, which may be running, or may have ended since and made room for another one: what
 * does not fit together gives none. */
enum rec_name_source threads_name(const struct find_process *process, const struct find_thread *thread, char *name,
                                  size_t size);

/* A thread's id as its own process sees it; the same where it has ended. */
uint32_t threads_inner_tid(int pid, uint32_t tid);

/* Calls each() for every thread of a process.  Returns how many there were, -1 if it is gone. */
int threads_each(int pid, void (*each)(void *context, uint32_t tid), void *context);

#endif
