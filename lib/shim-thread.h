/* SPDX-License-Identifier: MIT */
/* shim-thread.h - a thread's record: made, kept up, closed. */
#ifndef GILSCOPE_SHIM_THREAD_H
#define GILSCOPE_SHIM_THREAD_H

#include <stdbool.h>

#include "shim.h"

/* The record of threads for which there is no space: private memory, index 0, shared by them all.  What is written
 * there is lost, but the accounts of the GIL, which others depend on, stay right. */
extern struct rec_thread shim_sink;

/* Makes a key whose destructor closes a thread's record.  Once for a process. */
void shim_thread_init(void);

/* Gives the calling thread a record in the present recording, at its first use of a GIL; sets T.rec and
 * T.generation.  since: when its first state, released, began (ticks).  Not holding gil->mutex. */
void shim_thread_attach(uint64_t since, bool main_thread);

/* Readings that are due: CPU clock, name, heartbeat.  Called when T.since has reached T.check_ticks, after the real
 * unlock of gil->mutex; acquired: the thread now holds the GIL.  Preserves errno. */
void shim_thread_check(bool acquired);

/* CPU time of the calling process's thread tid, ns; 0 if it is gone.  Async-signal-safe. */
uint64_t shim_thread_cpu_ns(uint32_t tid);

/* Writes the second calibration point.  Any thread. */
void shim_thread_beat(void);

/* Closes the process's recording: the end, and the CPU clocks of the threads that are still alive.  From the
 * destructor. */
void shim_thread_close_all(void);

#endif
