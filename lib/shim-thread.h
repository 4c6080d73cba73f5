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
 * T.generation, and T.busy to 0.  since: when its first state, released, began (ticks); in a pause, or after it has
 * been seen in one, that is the pause's begin.  Not holding gil->mutex, if it can be helped: it may take long. */
void shim_thread_attach(uint64_t since, bool main_thread);

/* The calling thread is about to take or drop a GIL but not in step with the recording: attaches it if it has no
 * record yet, where that may be slow.  False: not to be measured now.  Not holding gil->mutex. */
bool shim_thread_present(void);

/* Readings that are due: CPU clock, heartbeat.  Called when the thread's state_ticks have reached T.check_ticks, after
 * the real unlock of gil->mutex that follows a release.  Preserves errno, as does the next. */
void shim_thread_check_release(void);

/* The thread's name is due to be read; it holds the GIL, but not gil->mutex. */
void shim_thread_check_name(void);

/* The thread is through with this GIL, for now or for good: adds its holds and waits that have not been counted there so
 * far to the GIL's. */
void shim_thread_leave_gil(struct rec_gil *gr);

/* Writes the second calibration point, and that which gives the rate if there is none yet and this is far enough from
 * the start, or the process has ended.  Any thread. */
void shim_thread_beat(bool ended);

/* Closes the process's recording: the end, and the CPU clocks of the threads that are still alive.  From the
 * destructor. */
void shim_thread_close_all(void);

#endif
