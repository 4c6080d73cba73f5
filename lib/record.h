/* SPDX-License-Identifier: MIT */
/*
 * record.h - the recording: what a collector writes and the reader reads.
 *
 * A recording is a directory NAME.gilscope/ with one file per process, HOST-PID-START.gil.  The file is the
 * collector's live memory (mmap, MAP_SHARED): whatever has been counted is in the file, whatever becomes of the
 * process.  gilscope-recording(5) describes the same format for people.
 *
 * Rules
 *  - Little-endian, naturally aligned, no pointers and no bit fields.  References are "cells": file offset / 16.
 *  - Every record starts with struct rec_head; a reader skips types that it does not know by their size.
 *  - Fields are only ever appended to a record, which then grows in size; a reader treats missing ones as 0.
 *  - Times are ticks of header.clock; the two calibration points in the header turn them into CLOCK_MONOTONIC
 *    nanoseconds.  Exceptions carry their unit in their name (_ns, _us).
 *  - A record that changes together is under a sequence counter: odd while being written.  A reader of a live file
 *    retries; a file whose writer was killed in the middle keeps an odd counter and is read as it is.
 *  - Takes and releases, millions a second, do not touch the counter: they store the new state with its ticks first
 *    and add to the sums then.  A thread's state_ticks differ after each, so that a reader that finds them unchanged
 *    around its copy, and again a microsecond later, has copied no half of one.
 *
 * "Writer" below is one of
 *    owner    the thread that the record describes, and nobody else
 *    mutex    any thread that holds the GIL's gil->mutex
 *    atomic   any thread, by an atomic addition
 *    once     the thread that creates the record, before the record's type is published
 *    control  the `gilscope pause` and `gilscope resume` commands
 *    closer   the collector at the end of the process, or `gilscope run` after it; of what is seen, meanwhile
 * Any process that may open the file may read all of it at any time.
 */
#ifndef GILSCOPE_RECORD_H
#define GILSCOPE_RECORD_H

#include <stdint.h>

#define REC_MAGIC "GILSCOPE"   /* 8 bytes, without the terminating 0 */
#define REC_ENDIAN 0x01020304u /* reads as 0x04030201 in a file of the other byte order */
#define REC_VERSION 3          /* what this source writes */
#define REC_VERSION_MIN 1      /* the oldest version that can be read */
#define REC_VERSION_TURN 2     /* the first that knows rec_gil.turn */
#define REC_VERSION_RECENT 3   /* the first that knows rec_gil.recent */

#define REC_HEADER_BYTES 4096u /* records start here */
#define REC_CELL_BYTES 16u     /* every record starts at, and is sized in, multiples of this */
#define REC_SUFFIX ".gil"
#define REC_HOLDS_SUFFIX ".holds" /* in place of REC_SUFFIX: see REC_SOURCE_HOLDS */
#define REC_DIR_SUFFIX ".gilscope"

enum rec_source {
    REC_SOURCE_PRELOAD = 1,
    REC_SOURCE_BPF = 2,
    REC_SOURCE_SAMPLE = 3,
    /* No process's recording, but what belongs to one: stacks that `gilscope run` has seen from outside while threads
     * held the GIL.  Pid, start and name, but for the suffix, are that recording's; it has no GILs and no threads. */
    REC_SOURCE_HOLDS = 4,
};

enum rec_clock {
    REC_CLOCK_MONOTONIC = 1, /* ticks are CLOCK_MONOTONIC nanoseconds */
    REC_CLOCK_TSC = 2,       /* x86-64 rdtsc, invariant */
    REC_CLOCK_CNTVCT = 3,    /* aarch64 cntvct_el0 */
};

/* What could not be recorded, by cause; header.losses is indexed by it.  The names that reports use are in
 * REC_LOSS_NAMES, in the same order. */
enum rec_loss {
    REC_LOSS_NO_SPACE,       /* a record could not be allotted: the disk, a limit, or the size bound of the file */
    REC_LOSS_THREADS,        /* threads that were not measured, for want of a record */
    REC_LOSS_THREADS_FOLDED, /* ended threads whose figures were added to the "(ended threads)" record */
    REC_LOSS_PAIRS,          /* waits whose holders could not be told apart any more: charged to "other" */
    REC_LOSS_UNEXPLAINED,    /* calls on a GIL that fit none of the rules of recognition */
    REC_LOSS_CONTROL,        /* intervals dropped because pause and resume came too often to follow */
    REC_LOSS_GILS,           /* interpreters whose GIL was not measured, for want of a slot */
    REC_LOSS_CLOCK,          /* intervals dropped because the clock went backwards */
    REC_LOSS_NAMES_UNREAD,   /* threads whose name could not be read from memory */
    REC_LOSS_STACKS,         /* samples whose stack found no room: they are in no view */
    REC_LOSS_STACKS_UNREAD,  /* samples whose frames could not be read, or not all of them */
    REC_LOSS_STORAGE,        /* 1: the file was cut short or its disk failed; measuring ended there */
    REC_LOSS_CHARGES,        /* waits that were charged, in part, to one of several holders in place of all */
    REC_LOSS_N
};
#define REC_LOSS_NAMES                                                                                                 \
    {                                                                                                                  \
        "no_space", "threads", "threads_folded", "pairs", "unexplained", "control", "gils", "clock", "names_unread",   \
            "stacks", "stacks_unread", "storage", "charges"                                                            \
    }
#define REC_LOSS_MAX 32 /* room in the header */

#define REC_TOGGLES 64 /* how many of the last pause/resume instants are kept */

struct rec_header {
    char magic[8];               /* REC_MAGIC                                                                  once */
    uint32_t endian;             /* REC_ENDIAN                                                                 once */
    uint16_t version;            /* version of this file                                                       once */
    uint16_t version_min;        /* the oldest reader version that may read this file                          once */
    uint32_t header_bytes;       /* offset of the first record                                                 once */
    uint32_t source;             /* enum rec_source                                                            once */
    uint64_t reserved_bytes;     /* bytes of the file that are backed by storage                             atomic */
    uint64_t used_bytes;         /* end of the last record; grows                                            atomic */
    uint32_t clock;              /* enum rec_clock                                                             once */
    uint32_t pid;                /* as the process itself sees it                                              once */
    uint32_t ppid;               /*                                                                            once */
    uint32_t cpus;               /* processors that the process may use (affinity)                             once */
    uint32_t complete;           /* 1: the process ended in the ordinary way and closed its file             closer */
    uint32_t free_threaded;      /* 1: a free-threaded build of CPython                                        once */
    uint32_t python_hex;         /* PY_VERSION_HEX of the interpreter, 0 where unknown                         once */
    uint32_t n_threads;          /* threads that ever had a record, folded ones too                          atomic */
    char python_version[64];     /* "3.11.2"                                                                   once */
    char host[64];               /* uname nodename                                                             once */
    char tool_version[32];       /* version of gilscope that wrote the file                                    once */
    char boot_id[40];            /* /proc/sys/kernel/random/boot_id: ticks compare only within one boot        once */
    uint64_t proc_start_jiffies; /* field 22 of /proc/PID/stat: tells a process from another with its pid  once */
    int64_t start_realtime_ns;   /* CLOCK_REALTIME at start_ticks                                          once */
    uint64_t start_ticks;        /* the recording starts here; first calibration point                     once */
    int64_t start_mono_ns;       /* CLOCK_MONOTONIC at start_ticks                                         once */
    uint32_t beat_seq;           /* sequence counter of the next two                                     atomic */
    uint32_t pad0;
    uint64_t beat_ticks;  /* second calibration point: renewed about every 100 ms and at the end       atomic */
    int64_t beat_mono_ns; /* CLOCK_MONOTONIC at beat_ticks                                             atomic */
    uint64_t end_ticks;   /* the process ended here; 0: it runs still, or nobody saw it end            closer */
    uint64_t losses[REC_LOSS_MAX]; /* by enum rec_loss                                                    atomic */
    uint32_t pad1;
    uint32_t n_toggles; /* pauses and resumes so far: odd = paused                                  control */
    uint64_t toggle_ticks[REC_TOGGLES]; /* toggle i happened at [i % REC_TOGGLES]; 0: nobody has said when.  It is
                                           counted first and gets its time then, from the command or from the thread
                                           that needs it first: what does not know of it came before.  control, atomic */
    uint64_t toggle_paused_ticks[REC_TOGGLES]; /* for how long measuring had been paused before toggle i, pauses that
                                                  had ended then                                        control */
    uint64_t rate_ticks;  /* the calibration point that gives the clock's rate, 0 = none yet: one of the beats, the
                             first that is far enough from the start.  It stays, so that times that stand still are the
                             same in each report                                                         atomic */
    int64_t rate_mono_ns; /*                                                                             atomic */
    uint64_t first_ticks;  /* gives the rate until then, roughly                                           once */
    int64_t first_mono_ns; /*                                                                              once */

    /* CPU time of all threads of the process, of those that never take the GIL too.  Under beat_seq. */
    uint64_t cpu_last_ns; /* the process's CPU clock when it was read last, 0 = not yet                  atomic */
    uint64_t cpu_used_ns; /* sum of what was used between two readings with no pause in between          atomic */
    uint32_t cpu_toggles; /* n_toggles at the last reading                                               atomic */
    uint32_t cpu_limit_milli; /* its control groups' limit, in thousandths of a processor, 0 = none              once */
    uint64_t cpu_start_periods;   /* of that limit, in which something of the group wanted to run, at the start   once */
    uint64_t cpu_start_throttled; /* those in which the limit was reached                                        once */
    uint64_t cpu_end_periods;     /* the same at the end, 0 = nobody has looked then                           closer */
    uint64_t cpu_end_throttled;   /*                                                                           closer */
    uint64_t stopped_ns;          /* by signals or a debugger, seen from outside, to 0.1 s or so               closer */
    uint64_t seen_ticks;          /* it was there then, seen from outside; 0 = nobody has looked               closer */
    uint64_t seen_cpu_ns;         /* its CPU clock at that time, or at its end                                 closer */
    uint32_t end_status;          /* how it ended: REC_END_..., 0 = not known                                  closer */
    uint32_t end_pad;
};

/* header.end_status */
#define REC_END_KNOWN 0x10000u /* the rest is its status, as of waitpid(2) */
#define REC_END_EXEC 0x20000u  /* it did not, but went on as another program, at end_ticks */

/* A record's head.  The type is stored last: a record of type 0 is not there yet, or no more (it is free to be used
 * again), and is skipped by its size.  Where a writer was killed before it had filled in the head, there is no mark:
 * such bytes are skipped in steps of one cell until the next head. */
#define REC_HEAD_MARK 0x6752u /* "Rg" */
enum rec_type {
    REC_GIL = 1,
    REC_THREAD = 2,
    REC_HIST = 3,
    REC_ROW = 4,
    REC_TEXT = 5,
    REC_STRING = 6,
    REC_FRAME = 7,
    REC_OBJECT = 8,
    REC_STACK = 9
};
struct rec_head {
    uint32_t size; /* bytes with this head, a multiple of REC_CELL_BYTES */
    uint16_t type; /* enum rec_type */
    uint16_t mark; /* REC_HEAD_MARK */
};

/* --- histograms: log-linear, see hist.h; octaves are allotted when a value first falls into them ----------------- */
#define REC_HIST_SUBS 16
#define REC_HIST_OCTAVES 44

struct rec_hist_block { /* one octave */
    struct rec_head head;
    uint32_t owner; /* index of the thread, for a consistency check */
    uint32_t wraps; /* cell of a block whose counts say how often those of this one have wrapped around; 0 = never */
    uint32_t count[REC_HIST_SUBS];
};

struct rec_hist {
    uint64_t count, sum_ticks, max_ticks; /* owner */
    uint32_t block[REC_HIST_OCTAVES];     /* cell of a rec_hist_block, 0 = none.  owner */
};
enum rec_hist_kind {
    REC_HIST_WAIT,     /* waits of contended acquisitions */
    REC_HIST_HOLD,     /* closed holds: all acquisitions but the open one.  count has only those that are in no
                          bucket (there was no space for one), and sum_ticks is not kept: it is held_ticks */
    REC_HIST_LOCK,     /* waits for threading locks */
    REC_HIST_RELEASED, /* released intervals of at least REC_LONG_RELEASED_TICKS only */
    REC_HIST_KINDS
};
#define REC_LONG_RELEASED_TICKS (1u << 18) /* about 0.1 ms */

/* --- threads ----------------------------------------------------------------------------------------------------- */
enum rec_state {
    REC_STATE_NONE = 0,     /* not known since the pause number n_toggles: with the GIL or without it */
    REC_STATE_RELEASED = 1, /* without the GIL and not asking for it */
    REC_STATE_HELD = 2,
    REC_STATE_WAITING = 3, /* wants the GIL */
    REC_STATE_FORCED = 4,  /* gave it up on request and is kept in drop_gil until another thread has taken it */
    REC_STATE_ENDED = 5,
};

enum rec_name_source { REC_NAME_NONE, REC_NAME_OS, REC_NAME_PYTHON, REC_NAME_FUNCTION };

#define REC_THREAD_MAIN 1u   /* the thread that created the main interpreter's GIL */
#define REC_THREAD_FOLDED 2u /* stands for many ended threads; its times are sums over them */
#define REC_THREAD_REMAINDER                                                                                           \
    4u /* released_ticks is not kept: it is what remains of the time from start_ticks to                               \
          state_ticks after unmeasured_ticks and the closed intervals of all other states */
#define REC_THREAD_OWN_WAITS                                                                                           \
    8u /* its GIL's contended, wait_blocked_ticks and wait_wakeup_ticks have of this thread's only what is in the      \
          gil_contended, gil_blocked_ticks and gil_wakeup_ticks of its record; the rest is to be added */

#define REC_THREAD_PAUSES 16u /* paused_ticks is kept */

#define REC_ROW_ENTRIES 14
struct rec_row { /* a part of one waiter's row of the waiter x holder matrix */
    struct rec_head head;
    uint32_t next;                           /* cell of the row's next part, 0 = last.  owner of the row */
    uint32_t owner;                          /* index of the waiting thread */
    uint32_t holder[REC_ROW_ENTRIES + 2];    /* thread index, 0 = entry unused; the last two are padding.  owner */
    uint64_t blocked_ticks[REC_ROW_ENTRIES]; /* owner */
};

struct rec_thread {
    struct rec_head head;
    uint32_t index;       /* 1, 2, ...; never reused within a file, except by the folded record.  once */
    uint32_t tid;         /* as the process itself sees it.  once */
    uint64_t pthread_id;  /* pthread_self(), which is threading.get_ident().  once */
    uint64_t start_ticks; /* once */
    uint64_t end_ticks;   /* 0 = alive.  owner */
    uint32_t flags;       /* REC_THREAD_...  once */
    uint32_t name_source; /* enum rec_name_source.  owner */
    uint32_t gil;         /* index of the GIL that was used last.  owner */
    uint32_t row;         /* cell of the first rec_row, 0 = none.  owner */
    uint64_t folded;      /* folded record: how many threads it stands for */
    /* What changes at each take and release.
     * The open interval: state since state_ticks.  Closed intervals are in the sums below.  owner */
    uint32_t seq;       /* sequence counter of what the owner writes */
    uint32_t state;     /* enum rec_state */
    uint32_t n_toggles; /* header.n_toggles at its last call on a GIL of which the library took notice: in each pause
                           it does of the first one, and of all waits */
    uint32_t late; /* 1: the last wait, which is in the sums below, has yet to be entered into the histogram and the
                      row: late_wait_ticks long, blocked while H went from wait_held_base_ticks to late_held_ticks, at
                      which time there had been late_changes changes of holder.  owner */
    uint64_t state_ticks;
    uint64_t held_ticks;           /* closed holds.  owner */
    uint64_t late_hold_ticks;      /* not 0: the last hold, which is in held_ticks, has yet to be entered into the
                                      histogram.  owner */
    uint64_t wait_held_base_ticks; /* H of the GIL when the present or last wait began: held time since = blocked */
    uint64_t wait_blocked_ticks;   /* owner, as are the next */
    uint64_t wait_wakeup_ticks;
    /* What changes at each wait. */
    uint64_t contended; /* acquisitions that had to wait */
    uint64_t late_wait_ticks, late_held_ticks, late_changes;
    uint64_t late_seen_ticks; /* H at the end of the last hold before the thread was first seen to wait: the holders of
                                 what was held before then are charged when the wait is entered into the row */
    uint64_t charged_ticks;   /* others' blocked waiting that overlapped this thread's closed holds.  owner */
    uint64_t wait_forced_ticks;
    uint64_t lost_wakeups; /* woken for a free GIL, found it taken again */
    /* The rest. */
    uint64_t charged_late_ticks;  /* as charged_ticks, entered by those who waited.  atomic */
    uint64_t released_ticks;      /* see REC_THREAD_REMAINDER.  owner, as are all below */
    uint64_t lock_wait_ticks;     /* part of released_ticks: in a threading lock or what is built of one */
    uint64_t notify_wait_ticks;   /* part of lock_wait_ticks: on a lock that the waiter itself had taken, which is how
                                     Condition, Event and Queue wait to be notified */
    uint64_t gil_lock_wait_ticks; /* in a lock while holding the GIL: everybody else pays.  Part of held_ticks */
    uint64_t unmeasured_ticks;    /* since start_ticks: pauses */
    /* CPU time.  The clock is read on a budget; a period between two readings in which the thread lived in one state
     * only (held or released; waiting costs next to none) is exact, as is one in which it is known whether the thread
     * lost its processor while released, or the length of the time without one tells where that was; the others are
     * mixed and apportioned by the reader. */
    uint64_t cpu_last_ns;             /* the thread's CPU clock at the last reading */
    uint64_t cpu_base_held_ticks;     /* held_ticks and released_ticks at that reading, with what was open then: */
    uint64_t cpu_base_released_ticks; /* what has come since is not in the sums below yet */
    uint64_t cpu_exact_held_ns, cpu_exact_held_ticks;
    uint64_t cpu_exact_released_ns, cpu_exact_released_ticks;
    uint64_t cpu_mixed_ns, cpu_mixed_held_ticks, cpu_mixed_released_ticks;
    uint64_t cpu_end_ns;      /* CPU clock at the thread's or process's end, 0 = not known.  owner or closer */
    uint64_t run_delay_ns;    /* runnable, but no processor: /proc/PID/task/TID/schedstat.  owner or closer */
    uint64_t gil_counted;     /* closed holds that are in their GIL's acquisitions already */
    uint64_t drop_requests;   /* made by this thread */
    uint64_t forced_switches; /* released because another thread asked for it and waited in drop_gil */
    uint64_t forced_max_ticks;
    uint64_t folded_wall_ticks;
    char name[64]; /* UTF-8, cut at 63 bytes; hostile input to every view */
    struct rec_hist hist[REC_HIST_KINDS];
    uint64_t row_other_ticks;  /* blocked, but the row has no entry left for the holder */
    uint64_t lock_open_ticks;  /* in a lock wait since then, 0 = no: not yet in the sums */
    uint32_t lock_open_notify; /* 1: that wait is for a notification */
    uint32_t error_ppm;        /* from outside: how long it held, waited and was without the GIL is off by at most so
                                  many millionths of its time, in 95 of 100 cases; 0 = exact.  once */
    uint64_t gil_contended, gil_blocked_ticks, gil_wakeup_ticks; /* REC_THREAD_OWN_WAITS */
    uint64_t paused_ticks; /* how long measuring had been paused before state_ticks: REC_THREAD_PAUSES */
    uint64_t want_ticks;   /* not below state_ticks: without the GIL until then, since then it has asked for it */
    uint64_t tstate;       /* address of the PyThreadState with which it was last seen in a pause; identity only */
    uint64_t cpu_inferred_ns; /* part of the exact CPU times: by how long the thread had no processor it is told in which
                                 state it was used, but it may have been the other.  owner */

    uint64_t cpu_used_ns; /* all CPU time up to cpu_last_ns but for pauses, that of waits and of its start too.  owner */

    /* Seen from outside, for the case that nobody can ask at its end: its CPU clock and run_delay_ns at seen_ticks.  They
     * are those of the thread seen_index, which had the record then.  closer */
    uint32_t seen_index, seen_pad;
    uint64_t seen_ticks, seen_cpu_ns, seen_run_delay_ns;
};

/* --- GILs -------------------------------------------------------------------------------------------------------- */
#define REC_RING 1024 /* the last changes of holder, for charging waits to the holds that they overlap */
/* Where change i is in the ring of a record that has a turn: odd and even ones lie apart. */
#define REC_RING_PLACE(i) (((i) % 2) * (REC_RING / 2) + (i) / 2 % (REC_RING / 2))
/* Where it is in `recent`: two threads that hand the GIL to and fro write to lines of their own, which stay with their
 * processors, and few enough to stay in the innermost cache. */
#define REC_RECENT 64
#define REC_RECENT_PLACE(i) (((i) % 2) * (REC_RECENT / 2) + (i) / 2 % (REC_RECENT / 2))

struct rec_change {
    uint32_t holder;          /* thread index */
    uint32_t holder_cell;     /* of its record, for the collector; the record may have been used again since */
    uint64_t held_base_ticks; /* H when it took the GIL from another holder.  All ones while the entry is written */
    uint64_t ticks;           /* when it did */
};

struct rec_recent {
    struct rec_change change; /* as in ring */
    uint64_t number;          /* the change's, counted from 1: 0 = there has not been one here */
};

/* What changes at each change of holder: all of it in one cache line, which is what a hand-off moves from processor to
 * processor besides the GIL's own and one of the ring.  mutex */
struct rec_turn {
    uint32_t seq;             /* as in rec_gil */
    uint32_t holder;          /* as in rec_gil */
    uint64_t held_base_ticks; /* as in rec_gil */
    uint64_t n_changes;       /* as in rec_gil, but change i is at ring[REC_RING_PLACE(i)], or see has_recent */
    /* For the library alone. */
    uint64_t take_ticks;         /* the present hold's begin, 0 = it is not held */
    uint64_t last_take_ticks;    /* of the last closed hold */
    uint64_t last_release_ticks; /* of the last closed hold */
    uint64_t closed_ticks;       /* H at its end */
    uint32_t holder_cell;        /* of the holder's record; all ones: it has none */
    uint32_t n_waiters;          /* as in rec_gil */
};

struct rec_gil {
    struct rec_head head;
    uint32_t index;        /* 0 = main interpreter, then in order of creation.  once */
    uint32_t n_toggles;    /* as in rec_thread.  mutex */
    uint64_t address;      /* of gil->cond in the process; identity only.  once */
    uint64_t start_ticks;  /* once */
    uint64_t end_ticks;    /* not 0: its memory was reused, the interpreter is gone.  mutex */
    uint64_t interval_us;  /* switch interval, as seen last.  mutex */
    uint64_t paused_ticks; /* how long measuring had been paused before the n_toggles-th toggle.  mutex */
    uint64_t acquisitions; /* of threads that have moved to another GIL or ended; for those that use this one now,
                              hold count less gil_counted, and the open hold, are to be added.  atomic */
    /* What changes at each change of holder.  mutex */
    uint32_t seq;    /* sequence counter of what is written under the mutex */
    uint32_t holder; /* index of the thread that took it last, 0 = not known.  It is held now if that thread's state is
                        REC_STATE_HELD */
    uint64_t held_base_ticks; /* H, the time that it was held: this (modulo 2^64) plus the holder's held_ticks plus its
                                 open hold, if any; without a known holder, this */
    uint64_t n_changes;       /* changes of holder so far; change i is at ring[i % REC_RING], without a turn */
    uint64_t n_waiters;       /* now */
    uint64_t waiters_ticks;   /* W: integral of n_waiters up to waiters_at_ticks */
    uint64_t waiters_at_ticks;
    uint64_t hold_waiters_ticks; /* W when the present hold began */
    uint64_t contended;          /* as acquisitions, of those threads: see REC_THREAD_OWN_WAITS.  atomic */
    uint64_t wait_blocked_ticks; /* of closed waits, in the same way.  atomic */
    uint64_t wait_wakeup_ticks;  /* atomic */
    /* mutex, where nothing else is said */
    uint64_t drop_requests;
    uint64_t lost_wakeups;
    uint64_t wait_forced_ticks; /* atomic */
    uint64_t forced_switches;   /* atomic */
    uint32_t has_turn; /* 1: seq, holder, held_base_ticks and n_changes are those of turn, and 0 here.  once */
    uint32_t has_recent; /* 1: change i is at recent[REC_RECENT_PLACE(i)] or, if it had to be kept for longer, at
                            ring[REC_RING_PLACE(i)], where its number is.  once */
    uint64_t spare;
    struct rec_change ring[REC_RING];
    /* What is not known of it, for measuring was paused.  mutex */
    uint32_t unseen;        /* 1: it has been taken or given up in a pause; the pause began at waiters_at_ticks if
                               n_toggles is odd, and who has it since, if anybody, is not known yet */
    uint32_t known_toggles; /* n_toggles when somebody was last seen to have it, or to take it, or to give it up */
    uint64_t unknown_since_ticks; /* not 0: since then it has been held by a thread that is not known yet, which is to
                                     be added to H */
    uint64_t start_paused_ticks;  /* paused_ticks at start_ticks */
    uint64_t unknown_tstate;      /* address of the PyThreadState of whoever has held it since unknown_since_ticks */
    uint64_t pad_line[4];
    struct rec_turn turn; /* begins a cache line, as the record does */
    struct rec_recent recent[REC_RECENT]; /* has_recent.  mutex */
    uint64_t ring_number[REC_RING];       /* as rec_recent.number, of those in ring: has_recent.  mutex */
};

/* --- texts ------------------------------------------------------------------------------------------------------- */
enum rec_text_kind {
    REC_TEXT_COMMAND = 1, /* /proc/self/cmdline: arguments, each ended by a 0 byte */
    REC_TEXT_INERT = 2,   /* why measuring stopped: one sentence */
    REC_TEXT_NOTE = 3,    /* how exact the figures are: one sentence */
};
struct rec_text {
    struct rec_head head;
    uint32_t kind;   /* enum rec_text_kind.  once */
    uint32_t length; /* bytes that follow.  once */
    char bytes[];
};

/* --- stacks ------------------------------------------------------------------------------------------------------
 * Samples of what threads were doing, proportional to time: each stands for weight_ticks of the state that it was taken
 * in, so that the sums of the weights of a state come near the exact times of the threads.  The Python frames and the
 * native ones are kept apart, as they were read; the reporter puts them together and looks up native symbols. */
struct rec_string { /* a name of a function, file or object */
    struct rec_head head;
    uint32_t hash;   /* for the collector.  once */
    uint32_t length; /* bytes that follow: UTF-8, perhaps broken; hostile input to every view.  once */
    char bytes[];
};

struct rec_frame { /* a place in Python code */
    struct rec_head head;
    uint32_t function;   /* cell of a rec_string: the qualified name where the version has it, else the name.  once */
    uint32_t file;       /* cell of a rec_string.  once */
    uint32_t line;       /* 0 = not known.  once */
    uint32_t first_line; /* of the function.  once */
};

#define REC_BUILD_ID_BYTES 32
struct rec_object { /* a file that is mapped into the process with code in it */
    struct rec_head head;
    uint32_t path;                        /* cell of a rec_string.  once */
    uint32_t build_id_bytes;              /* 0 = it has none.  once */
    uint8_t build_id[REC_BUILD_ID_BYTES]; /* once */
    uint64_t start, end;                  /* addresses of its code.  once */
    uint64_t bias;                        /* address in memory less address in the ELF file.  once */
    uint32_t first_generation;            /* stacks of this generation and later may mean it ...  once */
    uint32_t end_generation;              /* ... up to the one before this; 0 = it is there still.  atomic */
};

/* What a sample stands for: index of weight_ticks and samples. */
enum rec_weight {
    REC_WEIGHT_WAIT,           /* waiting for the GIL, blocked or for the wake-up */
    REC_WEIGHT_CHARGED,        /* others' blocked waiting while this thread held the GIL */
    REC_WEIGHT_HELD,           /* holding it */
    REC_WEIGHT_HELD_ONCPU,     /* of which on a processor */
    REC_WEIGHT_RELEASED,       /* without it and not asking for it */
    REC_WEIGHT_RELEASED_ONCPU, /* of which on a processor */
    REC_WEIGHTS
};
#define REC_WEIGHTS_MAX 8 /* room */
/* weight_ticks[this] is no sum: the longest hold of those that the samples of "charged" and "held" stood for; 0 = not
 * known.  samples[this] is not used. */
#define REC_STACK_LONGEST_HOLD 7
/* Nor is this: how many holds ended here, by those that were sampled. */
#define REC_STACK_HOLDS 6
/* samples[this] is the longest time, us, for which the thread is known to have kept the GIL in one call of the innermost
 * native function, or of one that called it; 0 = not known.  It may have been longer. */
#define REC_STACK_LONGEST_CALL 6

#define REC_STACK_PYTHON_CUT 1u /* there were more Python frames, nearer to the root */
#define REC_STACK_NATIVE_CUT 2u /* there were more native frames, nearer to the root */
#define REC_STACK_NO_NATIVE 4u  /* no native frames were taken */
#define REC_STACK_NO_PYTHON 8u  /* the Python frames could not be read */
#define REC_STACK_GREENLET 16u  /* the thread switches between stacks: native frames may not fit the Python ones */
#define REC_STACK_CALLEE 32u    /* the only native frame is the function that the innermost Python frame was calling */

#define REC_ENTRY_FRAME 0x80000000u /* in rec_stack.python: native code called this frame's evaluation loop */

struct rec_stack {
    struct rec_head head;
    uint32_t thread;   /* index of the thread.  once */
    uint32_t hash;     /* for the collector.  once */
    uint32_t n_native; /* once, as are the next four */
    uint32_t n_python;
    uint32_t flags;                         /* REC_STACK_... */
    uint32_t generation;                    /* how often objects had been unmapped: see rec_object */
    uint64_t weight_ticks[REC_WEIGHTS_MAX]; /* by enum rec_weight.  owner */
    uint32_t samples[REC_WEIGHTS_MAX];      /* how many.  owner */
    uint64_t native[]; /* n_native addresses, the innermost first: where each call will return to, and for the innermost
                          frame of a sample that interrupted it, where it was.  Behind them n_python cells of
                          rec_frame (uint32_t), the innermost first, with REC_ENTRY_FRAME.  once */
};

#endif
