/* SPDX-License-Identifier: MIT */
/*
 * shim.h - what the parts of the preload shim share: the process's state, the thread's state, the real functions.
 *
 * The rules that bind every line of lib/shim*:
 *  - the host is never harmed: the real function is called once, with unchanged arguments, or what it would do is done
 *    in its place (shim-quick.h); errno is preserved; no malloc, stdio, exit, assert, and no lock of our own that a
 *    thread could wait for;
 *  - while gil->mutex is held: read the clock, add numbers, set flags, nothing more;
 *  - whatever is dear is done after the real unlock of gil->mutex, or by the reporter.
 */
#ifndef GILSCOPE_SHIM_H
#define GILSCOPE_SHIM_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "record.h"

/* Our own objects are reached directly, not through the GOT (-fvisibility=hidden leaves extern declarations alone). */
#pragma GCC visibility push(hidden)

#define SHIM_EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* --- the real functions (shim-real.c) ---------------------------------------------------------------------------- */
struct shim_real {
    int (*mutex_lock)(pthread_mutex_t *);
    int (*mutex_unlock)(pthread_mutex_t *);
    int (*mutex_init)(pthread_mutex_t *, const pthread_mutexattr_t *);
    int (*mutex_destroy)(pthread_mutex_t *);
    int (*cond_init)(pthread_cond_t *, const pthread_condattr_t *);
    int (*cond_destroy)(pthread_cond_t *);
    int (*cond_signal)(pthread_cond_t *);
    int (*cond_wait)(pthread_cond_t *, pthread_mutex_t *);
    int (*cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    int (*sem_init)(sem_t *, int, unsigned);
    int (*sem_destroy)(sem_t *);
    int (*sem_post)(sem_t *);
    int (*sem_trywait)(sem_t *);
    int (*sem_wait)(sem_t *);
    int (*sem_timedwait)(sem_t *, const struct timespec *);
    int (*sem_clockwait)(sem_t *, clockid_t, const struct timespec *);
    int (*pipe2)(int *, int); /* shim-unwind.c */
    int (*sigaction)(int, const struct sigaction *, struct sigaction *);
    void (*(*signal)(int, void (*)(int)))(int);
};
extern struct shim_real shim_real __attribute__((aligned(64)));

/* Where the three wrappers that are called all the time go with whatever is not the first GIL's: straight to the real
 * function, where there is nothing else to look at (shim_route_set).  Not on the pages that a fork wipes. */
struct shim_next {
    int (*mutex_lock)(pthread_mutex_t *);
    int (*mutex_unlock)(pthread_mutex_t *);
    int (*cond_signal)(pthread_cond_t *);
    /* shim-quick.h */
    const char *single_threaded; /* leads to a 1: the process has one thread; to 0: it may have more */
    uint32_t waiters_at;         /* in a condition variable, in bytes; 0 = every signal is passed on */
};
extern struct shim_next shim_next __attribute__((aligned(64)));

/* Looks all of them up.  Any thread, any time before or after the constructor; until it has been called, the pointers
 * lead to functions that call it first.  One that this libc lacks keeps such a pointer (a program that links cannot
 * have called its wrapper). */
void shim_real_resolve(void);

/* --- the GILs of this process ------------------------------------------------------------------------------------ */
#define SHIM_GILS 48

struct shim_gil {
    const void *mutex, *cond, *switch_cond; /* identity: addresses in the interpreter */
    struct rec_gil *rec;
    struct rec_turn *turn;       /* of rec */
    uint64_t unknown_held_ticks; /* H when the hold began whose holder is not known (rec->unseen) */
    /* Under the mutex. */
    uint64_t asked_ticks; /* a holder was asked to let go then: the present one, if it has had the GIL since before; see
                             shim_sample_unanswered */
    uint64_t callee;      /* the C function that it has been in since; 1 = looked for in vain, 0 = not yet */
    uint64_t callee_place; /* where it was called: it was the end of the hold if that ends there */
};

/* Everything that says "measure" lives on pages of its own that the kernel wipes in a forked child
 * (MADV_WIPEONFORK): a child finds no GIL, whatever way it was made, and passes all calls on until it creates its
 * own.  The atfork handler does the same on kernels that lack the advice. */
struct shim_state {
    /* what the wrappers compare with, together */
    const void *mutex, *cond, *switch_cond;       /* of the first GIL; NULL = none, or dormant */
    uint64_t filter;                              /* one bit for each mutex and condition of the further GILs */
    const void *quick_mutex, *quick_switch_mutex; /* of the first GIL, also if dormant; NULL = unknown (shim-quick.h) */
    const uint32_t *n_toggles;                    /* in the header: odd = paused */
    struct rec_header *header; /* up to here one cache line; this and the next are hardly ever written */
    uint32_t dormant;          /* 1 = paused: the first four are put away (shim_route_sleep) */
    uint32_t slept;            /* 1 = they were, once: who finds nothing there looks again */
    uint32_t ended;            /* 1 = the destructor has run */
    uint32_t n_gils;
    uint32_t generation;      /* 0 = not measuring; else counts the recordings of this process */
    uint32_t cell_mask;       /* a cell with these bits lies in the mapping (shim_file_at) */
    uint64_t map_bytes;       /* a power of two; behind them, SHIM_BEHIND_BYTES more are mapped */
    uint64_t reserved_bytes;  /* as in the header, which others may have written to */
    uint32_t pid, python_hex; /* likewise */
    uint32_t registering; /* 1 = a thread is at the registry of GILs or at what is compared with (shim_several_enter) */
    struct shim_gil gils[SHIM_GILS];
};
#define SHIM_STATE_BYTES 8192
union shim_pages {
    struct shim_state state;
    char bytes[SHIM_STATE_BYTES];
};
_Static_assert(sizeof(struct shim_state) <= SHIM_STATE_BYTES, "shim_state outgrew its pages");
extern union shim_pages shim_pages;
#define SHIM (shim_pages.state)

/* --- the thread -------------------------------------------------------------------------------------------------- */
enum {                         /* shim_thread.post: the next event of the GIL has more to do than the shortest path */
       SHIM_POST_WANT = 1,     /* a take was stamped, nothing has come of it yet */
       SHIM_POST_WAITING = 2,  /* the thread is counted among the waiters */
       SHIM_POST_TAKEN = 4,    /* the GIL has been taken, and the thread's name or frames are to be read */
       SHIM_POST_RELEASED = 8, /* the GIL has been given up, and there is something to enter or to read */
};
enum {                      /* shim_thread.later: what is to be entered after the next release */
       SHIM_LATER_WAIT = 1, /* rec_thread.late */
       SHIM_LATER_RELEASED = 2,
       SHIM_LATER_HOLD = 4, /* the first of its octave, or longer than all before */
};
#define SHIM_OWN_LOCKS 8

enum shim_sample_kind {
    SHIM_SAMPLE_RELEASED,
    SHIM_SAMPLE_WAIT,
    SHIM_SAMPLE_HELD,
    SHIM_SAMPLE_CHARGED,
    SHIM_SAMPLE_KINDS
};

struct shim_samples {           /* of a thread: shim-sample.h */
    uint64_t due_ticks;         /* the next point on the thread's time line; UINT64_MAX = never */
    uint64_t charge_left_ticks; /* so much more has the thread to be charged with to the next point; as above */
    uint64_t mean_ticks, charge_mean_ticks;                   /* with which those two were drawn */
    uint64_t weight_ticks[SHIM_SAMPLE_KINDS];                 /* of what is pending */
    uint64_t given_ticks[SHIM_SAMPLE_KINDS];                  /* all weights so far */
    int64_t lacking_ticks[SHIM_SAMPLE_KINDS];                 /* at the last sample: exact sum less given_ticks */
    uint64_t held_oncpu_ticks, longest_hold_ticks;            /* of what is pending */
    uint64_t span_ticks;                                      /* the longest interval of what is pending */
    uint64_t cpu_used_ns, cpu_held_ticks, cpu_released_ticks; /* in the last period between readings of the CPU clock */
    uint64_t random, cost_ticks;
    struct shim_half *half;    /* native frames, NULL = never taken */
    uint64_t native_due_ticks; /* when a wait is reason enough to take them again */
    bool have_native;          /* they are those of the present place */
    bool asked;                /* the hold that is pending had been asked to end */
    bool unwound;              /* this is one of the threads whose native frames are taken */
    uint64_t callee_place;
    uint64_t callee;     /* of what is pending: the C function in which the hold was when it was asked to end */
    uint64_t call_ticks; /* and for how long it has been, at least */
    uint64_t hold_ticks,
        hold_mean_ticks; /* length of the hold that is pending, and the mean with which it was chosen */
    uint8_t pending;     /* bits of kinds: sampled, waiting for the next take, after which the frames are read */
};

struct shim_cpu {                                 /* of a thread: shim-cpu.c */
    uint64_t read_ticks;                          /* when the clock had been read at a release */
    uint64_t held_ticks, released_ticks, last_ns; /* sums and clock then */
    int64_t switches;  /* how often it had left its processor, or lost it, then: if look_switches */
    uint64_t known_ns; /* if known: for so long has it used the processor in the released interval since a reading */
    bool known;
    uint8_t looks; /* for so many readings more are takes looked at */
};

struct shim_thread {
    uint32_t step;       /* header.n_toggles + 1 when all below is in step with the recording, and it is measuring;
                            0 = look closer (shim_gil_step) */
    uint32_t n_toggles;  /* as in rec_thread */
    uint32_t asleep;     /* header.n_toggles: in this pause no call of this thread is of interest but waits */
    uint32_t generation; /* SHIM.generation of the recording that rec belongs to */
    union {              /* together: anything that the shortest path does not know of? */
        uint32_t extra;
        struct {
            uint8_t post, later; /* SHIM_POST_..., SHIM_LATER_... */
            uint8_t busy; /* inside the shim's own slow code: what a signal handler does meanwhile is not measured */
        };
    };
    union { /* together: is the clock read in front of a take that nothing is in the way of? */
        uint32_t look;
        struct {
            uint8_t cpu_burst;     /* readings of the CPU clock left in this burst */
            uint8_t look_native;   /* 1 = the last released interval was long: native frames may be due */
            uint8_t look_switches; /* 1 = see whether the thread has been switched out since cpu.read_ticks */
        };
    };
    uint64_t due_ticks;     /* then something is due, or before: shim_account_due */
    uint64_t hold_below;    /* shorter holds are no maximum, and in an octave of the histogram that has an upper end */
    struct shim_gil *gil;   /* used last: held or waited for */
    struct rec_thread *rec; /* never NULL if generation matches: shim_sink when no record could be had.  Its state and
                               state_ticks are the thread's state */
    uint32_t rec_cell;      /* the cell of rec */
    int tid;                /* as the kernel knows the thread; 0 = not known yet (shim-quick.h) */
    uint32_t step_was;      /* step, while busy */
    uint32_t ended_generation; /* of the recording in which rec has been closed */
    uint32_t cpu_bursts;       /* bursts so far */
    uint8_t ending;            /* how often the key's destructor has run */
    struct rec_gil *gil_rec; /* of gil, as it was then: when an interpreter has ended, its place may be another one's */
    uint64_t want;           /* the present take was stamped at, 0 = not: nothing was in its way */
    uint64_t want_held;      /* H then, if want_seen */
    bool want_seen;
    bool waits_noted; /* it has begun to wait in pause n_toggles, in which it had been noted: shim_pause_is_noted */
    struct rec_thread *late_holder; /* who alone had the GIL during the late wait; NULL: see the ring */
    struct rec_thread *owed;        /* is to be charged with owed_ticks for waits of this thread; NULL = nobody */
    uint64_t owed_ticks;
    uint32_t owed_index;     /* of that record: it may have become another thread's since */
    uint64_t ring_ticks;     /* when it last took the GIL from another thread: shim-ring.h */
    uint64_t hold_ticks;     /* the hold that has just ended */
    uint64_t check_ticks;    /* shim_thread_check_release is due then */
    uint64_t cpu_due_ticks;  /* the next burst of readings of the CPU clock */
    uint64_t released_ticks; /* the last released interval that was long */
    uint64_t name_due_ticks;
    uint32_t name_tries;
    struct shim_cpu cpu;
    struct shim_samples sample;
    /* threading locks */
    const void *lock_failed; /* the semaphore of the last sem_trywait that found it taken, or parking semaphore */
    const void *own_locks[SHIM_OWN_LOCKS]; /* semaphores that this thread took last and has not posted */
    uint32_t own_next;
    uint32_t n_semaphores; /* created by this thread */
    bool parking;          /* lock_failed is a parking semaphore, made for one wait */
    /* recognition of create_gil: the last init calls */
    uint32_t n_inits;
    struct {
        const void *address;
        bool is_cond;
    } inits[4];
};
#define SHIM_STATE(tr) ((enum rec_state)(tr)->state)
#define SHIM_SINK_CELL UINT32_MAX /* of shim_sink, which lies in no file */
extern __thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));
#define T shim_thread

/* The thread's identity: its control block, which both x86-64 and aarch64 have in a register. */
static inline uintptr_t shim_self(void)
{
#if defined(__x86_64__)
    uintptr_t self;
    __asm__("mov %%fs:16, %0" : "=r"(self)); /* tcbhead_t.self, nptl/tls.h; musl has it there, too */
    return self;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* --- sequence counters of records -------------------------------------------------------------------------------- */
static inline void shim_write_begin(uint32_t *seq)
{
    __atomic_store_n(seq, *seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void shim_write_end(uint32_t *seq)
{
    __atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

/* Around system calls that are cancellation points: a thread that the program has cancelled ends where it would without
 * us, not while it has the GIL or something of ours.  Returns what to give to shim_cancel_again().  By anybody. */
static inline int shim_cancel_later(void)
{
    int was = PTHREAD_CANCEL_ENABLE; /* glibc up to 2.33 does not say where there are no threads */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
    return was;
}
static inline void shim_cancel_again(int was)
{
    pthread_setcancelstate(was, NULL);
}

/* Around slow code, in which a signal handler may come. */
static inline void shim_enter(void)
{
    T.busy = 1;
    T.step_was = T.step;
    T.step = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static inline void shim_leave(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    T.step = T.step_was;
    T.busy = 0;
}

#pragma GCC visibility pop
#endif
