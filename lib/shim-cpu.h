/* SPDX-License-Identifier: MIT */
/* shim-cpu.h - CPU time: when a thread's clock is read, and which state what it shows is for. */
#ifndef GILSCOPE_SHIM_CPU_H
#define GILSCOPE_SHIM_CPU_H

#include "shim.h"

/* CPU time of the calling process's thread tid, ns; 0: of the calling thread.  0 if it is gone.  Async-signal-safe. */
uint64_t shim_cpu_ns(uint32_t tid);

/* CPU time of all threads of the calling process, those that have ended too, ns.  Async-signal-safe. */
uint64_t shim_cpu_process_ns(void);

/* Reads the process's clock and adds what was used since the last reading; under h's beat_seq. */
void shim_cpu_read_process(struct rec_header *h);

/* Reads the calling thread's clock and enters the period since the last reading.  t: now or just now, ticks; the thread
 * has released the GIL and not asked for it again.  tr: its record, which is not shim_sink. */
void shim_cpu_read(struct rec_thread *tr, uint64_t t);

/* What the calling thread used while paused is nobody's: the next reading of its clock starts afresh. */
void shim_cpu_forget(void);

/* The clock's reading is due at a release, which was at t (ticks), after the real unlock of gil->mutex that follows it.
 * Says when it is due next (T.check_ticks).  May change errno; between shim_enter and shim_leave. */
void shim_cpu_at_release(uint64_t t);

/* T.look says that a take, which is about to begin and finds the GIL free, may be worth a look at the clock.  Returns
 * the time before the reading, ticks, at which it has also looked at H (T.want_held), 0 if the clock was not read.  The
 * thread is in step with the recording.  Preserves errno, as does the next. */
uint64_t shim_cpu_before_take(void);

/* The calling thread is about to wait for a GIL that another one has, since t (ticks), and is in step with the
 * recording: reads the clock where that encloses a released interval that lasted.  Where it is switched out for it, it
 * waits all the same. */
void shim_cpu_before_wait(uint64_t t);

#endif
