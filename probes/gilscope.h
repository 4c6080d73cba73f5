/* SPDX-License-Identifier: MIT */
/*
 * gilscope.h - what the BPF programs and their loader (tools/collect-bpf.c) share: configuration, and the accounts
 * that the programs keep and the loader reads.
 *
 * Times are CLOCK_MONOTONIC nanoseconds (bpf_ktime_get_ns).  A thread's slot is written by the programs that run in
 * its own context, except where a field says "atomic".
 */
#ifndef GILSCOPE_PROBES_H
#define GILSCOPE_PROBES_H

#define GS_TARGETS 96 /* processes measured at once, and those that have ended just now */
#define GS_FAMILY 4096 /* descendants of theirs that live at once and are remembered */
#define GS_GILS 8     /* of one process */
#define GS_RING 4096  /* changes of holder that are remembered, for charging waits: a power of 2 */
#define GS_WALK 512   /* of which a wait looks at most at so many, ... */
#define GS_WALK_STEP 32 /* ... so many at a time */
#define GS_WALK_OPEN 128 /* a wait that goes on is divided up to now after so many: there may be any number of them */
#define GS_HIST_SUBS 16
#define GS_HIST_OCTAVES 40 /* as in lib/hist.h: up to 2^43 ns, more than two hours */
#define GS_FRAMES 64       /* Python frames of a stack */
#define GS_NATIVE 64
#define GS_LONG_OFF_NS (1u << 18) /* as REC_LONG_RELEASED_TICKS in lib/record.h */
#define GS_LONG_NS 1000000000     /* the loader looks more often than that */
#define GS_NATIVE_STACKS 2048
#define GS_OWNERS 16           /* of thread states, whose owner is remembered ... */
#define GS_OWNER_TRUST 32      /* ... and looked up again one time in so many */
#define GS_TIDS 16384          /* of these thread ids, modulo this, the slot is found at once: a power of 2 */
#define GS_TIDS_SHARED (~0ull) /* by several threads: see the map */

typedef unsigned long long gs_u64;
typedef unsigned int gs_u32;
typedef int gs_s32;
typedef unsigned char gs_u8;
typedef long long gs_s64;

/* One process.  Written by the loader before the process's tgid is in the map of targets; GILs may be added later. */
struct gs_target {
    gs_u32 n_gils;
    gs_u32 gil[GS_GILS];     /* indices into the map of GILs */
    gs_u32 tstate_thread_id; /* offset of thread_id in PyThreadState */
    gs_u32 walk_frames;      /* 1: take stacks */
    gs_u32 walk_native;      /* 1: native ones, too */
    gs_u32 knows_frames;     /* 1: the offsets that follow are known (struct cpython_layout) */
    gs_u32 tstate_frame, tstate_bytes; /* both these fields are within */
    gs_s32 cframe_current; /* -1 = tstate_frame points to the frame itself */
    gs_u32 frame_code, frame_back, frame_instruction, frame_entry, frame_owner; /* entry, owner: 0 = no such field */
    gs_u32 frame_bytes;       /* all these are within */
    gs_u32 border;            /* 1: an owner of 3 and more is no Python code */
    gs_u32 instruction_bytes; /* 4: f_lasti; 8: an address */
};

/* A thread's id: its slot, and how often that had been another's before, so that whatever is still said of an ended
 * thread is not taken for the next one's.  0 = nobody. */
#define GS_SLOTS 16384 /* a power of 2; the last one is not used, for GS_NOT_KNOWN would be in it */
#define GS_SLOT(id) ((id) & (GS_SLOTS - 1))
#define GS_NOT_KNOWN 0xffffffff /* in place of an id: a thread whose thread state nobody has been seen to use */
struct gs_change {              /* of holder */
    gs_u64 ns;
    gs_u32 holder; /* id, 0 = free */
    gs_u32 pad;
};

struct gs_gil {
    gs_u64 address; /* of struct _gil_runtime_state in the process.  Loader */
    gs_u32 target;
    gs_u32 n_waiters; /* atomic */
    gs_u64 n_changes; /* atomic; change i is at ring[i % GS_RING] */
    gs_u32 n_asleep;  /* waiters that sleep in its condition variable.  atomic */
    gs_u32 n_late;    /* waiters that their deadline has woken, and that have not come to the GIL yet.  atomic */
    gs_u32 last_id, pad1; /* the last holder that is in the ring */
    gs_u64 quiet_ns;  /* since then a release need not be told */
    gs_u64 seen_ns;   /* the GIL's memory was last compared with the ring then */
    gs_u64 owner[GS_OWNERS]; /* of a thread state: 32 bits of its address << 32 | id; 0 = none */
    gs_u32 owners_change, pad; /* 1: thread states are seen to change hands, so none is remembered any more */
    struct gs_change ring[GS_RING];
};

struct gs_hist {
    gs_u64 count, sum_ns, max_ns;
    gs_u32 bucket[GS_HIST_OCTAVES * GS_HIST_SUBS];
};

enum gs_which { /* of a thread's histograms; off: intervals off CPU without the GIL and without wanting it */
    GS_HIST_WAIT,
    GS_HIST_HOLD,
    GS_HIST_OFF,
    GS_HIST_LOCK,
    GS_HISTS /* a power of 2 */
};

enum gs_state { GS_RUNS, GS_WAITS, GS_FORCED }; /* runs: has the GIL, or does not ask for it; on or off CPU */

/* A thread that has a processor, while others wait for the GIL and it is not told who takes it and gives it up: how much
 * of that time it has the GIL, by what was last known of it and how long ago that was. */
enum gs_known { GS_KNOWN_FREE, GS_KNOWN_HELD, GS_KNOWN };
#define GS_AGES 6                             /* below 66 us, 262 us, 1 ms, 4 ms, 17 ms, and more */
#define GS_AGE_NS(i) (1ull << (16 + 2 * (i))) /* end of the i-th, but for the last */
struct gs_unseen {
    gs_u64 ns, given_ns;   /* such times, and how much of them has been entered as held.  atomic */
    gs_u64 held, released; /* samples of the clock in them.  By the sampling program */
};

#define GS_OWED 8 /* holders, by id modulo this, for whom a thread keeps what they are charged with to itself */
struct gs_owed {
    gs_u32 holder, pad; /* id; 0 = unused */
    gs_u64 ns;          /* neither in the map of pairs nor in its charged_ns or our by_ended_ns yet */
};

/* In the order in which events need it, so that each has to bring few of its lines into its processor.  What others write
 * at each wait is on a line of its own: it moves from processor to processor. */
struct gs_thread {
    gs_u32 id, target; /* id: its own; 0 = the slot is closed: the thread has ended long ago.  Loader, too */
    gs_u32 gil;        /* index into the map of GILs: used last */
    gs_u32 state;      /* enum gs_state */
    gs_u32 on_cpu, off_held; /* on a processor; off it with the GIL */
    gs_u32 in_futex;         /* 1 = asleep on one of the GIL's words */
    gs_u32 in_kernel; /* 1 = since it has got a processor, in a wait or forced switch, it has not been seen to leave the kernel */
    gs_u64 since_ns;     /* running: not yet accounted for since then, on or off CPU as on_cpu says */
    gs_u64 state_ns;     /* the wait or forced switch began */
    gs_u64 tentative_ns; /* while waiting: since then it may have the GIL; 0 = it sleeps in the wait */
    gs_u64 forced_end_ns; /* of the last forced switch */
    /* the second line */
    gs_u64 self; /* pthread_self(), 0 = not seen yet */
    gs_u64 tstate;
    gs_u32 n_looks;
    gs_u32 had_gil;       /* 1 = it has been seen to be the last to take one */
    gs_u64 hold_ns;       /* it took the GIL then, after a wait; 0 = not known */
    gs_u64 released_ns;   /* it was last seen to give the GIL up then */
    gs_u64 free_ns;       /* it was last known to be without the GIL then */
    gs_u64 lock_since_ns; /* asleep at a lock since then; 0 = no */
    gs_u64 pending_to_ns; /* the last wait, as long as its holders have not been looked for; 0 = they have been */
    /* the third: sums of closed intervals */
    gs_u64 oncpu_ns, held_off_ns, released_off_ns, wait_ns, blocked_ns;
    gs_u64 known_held_ns; /* on a processor in holds that began with a wait and ended with a wake-up */
    gs_u64 hold_off_ns;   /* off it, in the present hold */
    gs_u64 contended;
    /* the fourth: what a wait needs */
    gs_u64 pending_from_ns;
    gs_u64 deadline_ns; /* of the pthread_cond_timedwait that it is in, and gil->switch_number at its begin */
    gs_u64 call_switches;
    /* of the present wait, what lies before that has been divided among its holders; n_changes then */
    gs_u64 divided_ns, divided_changes;
    gs_u64 wait_mean_ns, off_mean_ns; /* how long waits, and times off the processor, have been lately */
    gs_u32 wait_chosen, off_chosen;   /* the present one has its stack taken, ... */
    /* and what few need */
    gs_u32 wait_chance, off_chance; /* ... as one in so many has */
    gs_u64 wait_stack, off_stack;   /* of the present wait, or interval off CPU; 0 = none could be read */
    gs_u32 home_gil, home_votes;    /* used most: a majority vote of takes and samples */
    gs_u32 tid;      /* as gilscope sees it, which is the kernel's own but in a PID namespace */
    gs_u32 was_seen; /* 1 = while waiting: another has seen that it has taken it.  By others */
    /* By others, too.  Samples of the CPU clock, while running, outside of known holds; hold_samples: in the present hold, of
     * which it is not known yet whether its end will be.  By the sampling program */
    gs_u32 woken __attribute__((aligned(64))); /* asleep there, and woken by a release.  By the one that wakes it */
    gs_u32 asleep; /* it is in gil->n_asleep.  atomic */
    gs_u64 switches;   /* gil->switch_number when it went to sleep, or was woken by a release.  Likewise */
    gs_u32 late, pad4; /* it is in gil->n_late.  atomic */
    gs_u64 charged_ns; /* atomic */
    gs_u64 samples_held, samples_released, hold_samples;
    gs_u64 start_ns __attribute__((aligned(64))), end_ns; /* of being measured; end 0 = alive */
    gs_u64 run_delay_ns; /* runnable, but no processor, in all its life; known at its end only */
    gs_u64 forced_ns, forced_max_ns;
    gs_u64 not_told_ns; /* blocked, but by whom is not known any more */
    gs_u64 by_ended_ns; /* blocked by threads whose slots were closed when that was entered: neither in the map of
                           pairs nor in any charged_ns */
    gs_u64 lost_wakeups, drop_requests, forced_switches, releases;
    gs_u64 long_since_ns, long_ns; /* the last interval off CPU of GS_LONG_NS and more: the loader looks at its stack */
    gs_u32 long_held, pad;
    /* waits for locks: parts of released_off_ns */
    gs_u64 lock_code, lock_at;  /* in this line, as in gs_frame; 0 = not known */
    gs_u32 lock_notifies, pad1; /* it is a wait to be notified; 0 = the line must tell */
    gs_u64 lock_ns, notify_ns;  /* closed ones; notify_ns: of those with lock_notifies */
    struct gs_owed owed[GS_OWED];
    struct gs_unseen unseen[GS_KNOWN][GS_AGES];
    struct gs_hist hist[GS_HISTS];
};

struct gs_pair {
    gs_u32 waiter, holder; /* ids */
};

struct gs_lock_key { /* of closed waits for locks, without those with lock_notifies */
    gs_u64 code, at;
    gs_u32 id, pad;
};

struct gs_self {
    gs_u64 self;
    gs_u32 target, pad;
};

struct gs_seen { /* a thread, as gilscope sees it and by the kernel's own numbers */
    gs_u32 tid, kernel_tid, kernel_tgid;
};

enum { /* struct _gil_runtime_state from `cond` on; sizes of glibc's types on x86-64 */
       AT_COND = 32,
       AT_MUTEX = 80,
       AT_SWITCH_COND = 120,
       AT_SWITCH_MUTEX = 168,
       GIL_BYTES = 208 /* below 256: gil_of_word() */
};

/* What the programs could not do. */
enum gs_loss { GS_LOSS_THREADS, GS_LOSS_PAIRS, GS_LOSS_STACKS, GS_LOSS_UNREAD, GS_LOSSES };

#define GS_ENTRY (1ull << 63) /* in gs_frame.at: native code called this frame's evaluation loop (3.11) */
struct gs_frame {             /* code 0 = the border to C */
    gs_u64 code;
    gs_u64 at; /* f_lasti, or the address of the instruction */
};
struct gs_stack {
    gs_u32 n, cut;
    struct gs_frame frame[GS_FRAMES];
};
#define GS_RAW 256 /* a power of 2, and more than what is read of a frame or of a thread state */
struct gs_scratch {
    struct gs_stack stack;
    gs_u8 raw[GS_RAW + 8]; /* the frame, or thread state, that was read last */
    gs_u64 hash;           /* of the frames so far */
};
struct gs_pace { /* of waits and times off a processor that begin on one, on average */
    gs_u64 last_ns;
    gs_u64 gap_ns;    /* between the begin of one and of the next */
    gs_u64 length_ns; /* as expected */
};
enum gs_weight {
    GS_WEIGHT_WAIT,
    GS_WEIGHT_CHARGED,
    GS_WEIGHT_HELD_ON,
    GS_WEIGHT_HELD_OFF,
    GS_WEIGHT_RELEASED_ON,
    GS_WEIGHT_RELEASED_OFF,
    GS_WEIGHTS
};
struct gs_sample_key {
    gs_u64 stack; /* 0 = none could be read */
    gs_u32 id;
    gs_s32 native; /* of bpf_get_stackid; below 0 = none */
};
struct gs_sample {
    gs_u64 ns[GS_WEIGHTS];
    gs_u32 n[GS_WEIGHTS];
};

#endif
