/* SPDX-License-Identifier: MIT */
/*
 * shim.h - what the parts of the preload shim share: the process's state, the thread's state, the real functions.
 *
 * The rules that bind every line of lib/shim*:
 *  - the host is never harmed: the real function is called once, with unchanged arguments; errno is preserved; no
 *    malloc, stdio, exit, assert, and no lock of our own that a thread could wait for;
 *  - while gil->mutex is held: read the clock, add numbers, set flags, nothing more;
 *  - whatever is dear is done after the real unlock of gil->mutex, or by the reporter.
 */
#ifndef GILSCOPE_SHIM_H
#define GILSCOPE_SHIM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "record.h"

#define SHIM_EXPORT   __attribute__((visibility("default")))
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)

/* --- the real functions (shim-real.c) ------------------------------------------------------------------------ */
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
};
extern struct shim_real shim_real;

/* Looks all of them up.  Any thread, any time before or after the constructor; cheap once done.  A function that
 * this libc lacks stays NULL (its wrapper then cannot have been called by a program that links). */
void shim_real_resolve(void);

/* The real function, looked up if nothing has been so far. */
#define SHIM_REAL(name) (LIKELY(shim_real.name != NULL) ? shim_real.name : (shim_real_resolve(), shim_real.name))

/* --- the GILs of this process ---------------------------------------------------------------------------------- */
#define SHIM_GILS 48

struct shim_gil {
    const void *mutex, *cond, *switch_cond; /* identity: addresses in the interpreter */
    struct rec_gil *rec;
    /* The last hold, for waits that began before their thread could have been seen as waiting.  Under the mutex. */
    uint64_t last_take_ticks, last_release_ticks;
    struct rec_thread *last_rec;
    uint64_t paused_held_ticks; /* rec->held_ticks when measuring was paused last */
};

/* Everything that says "measure" lives on pages of its own that the kernel wipes in a forked child
 * (MADV_WIPEONFORK): a child finds no GIL, whatever way it was made, and passes all calls on until it creates its
 * own.  The atfork handler does the same on kernels that lack the advice. */
struct shim_state {
    /* what the wrappers compare with, together */
    const void *mutex, *cond, *switch_cond; /* of the first GIL; NULL = none */
    const uint32_t *n_toggles;              /* in the header: odd = paused */
    uint64_t filter;                        /* one bit for each mutex and condition of the further GILs */
    uint32_t n_gils;
    uint32_t generation;                    /* 0 = not measuring; else counts the recordings of this process */
    struct rec_header *header;
    uint64_t map_bytes;
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
enum { /* shim_thread.post: what is to be done when gil->mutex is released */
    SHIM_POST_ACQUIRED = 1,
    SHIM_POST_RELEASED = 2,
    SHIM_POST_WAITED = 4, /* with ACQUIRED: there was a wait */
    SHIM_POST_WANT = 8,   /* a stamp was taken, nothing has come of it yet */
};
#define SHIM_OWN_LOCKS 8

struct shim_thread {
    uint32_t generation; /* SHIM.generation of the recording that rec belongs to */
    uint8_t state;       /* enum rec_state */
    uint8_t post;
    uint8_t busy;        /* inside the shim's own code: a signal handler that comes now is passed on unmeasured */
    uint8_t ending;      /* how often the key's destructor has run */
    uint32_t ended_generation; /* of the recording in which rec has been closed */
    uint32_t n_toggles;  /* as in rec_thread */
    struct shim_gil *gil;   /* held or waited for */
    struct rec_thread *rec; /* never NULL if generation matches: shim_sink when no record could be had */
    uint64_t since;         /* the state began, ticks */
    uint64_t want;          /* the present take was stamped at, 0 = not: nothing was in its way */
    uint64_t held_base;     /* H when the wait began */
    uint64_t held_end;      /* H when it ended */
    uint64_t wait_ticks;    /* the wait that has just ended */
    uint64_t hold_ticks;    /* the hold that has just ended */
    uint64_t released_ticks; /* the released interval that has just ended */
    uint64_t check_ticks;   /* shim_thread_check is due then */
    uint64_t cpu_due_ticks; /* the next burst of readings of the CPU clock */
    uint64_t name_due_ticks;
    uint32_t cpu_burst;     /* readings left in this burst */
    uint32_t name_tries;
    uintptr_t tstate;       /* PyThreadState at the last acquire; identity, and to be read with care */
    /* threading locks */
    const void *lock_failed; /* the semaphore of the last sem_trywait that found it taken, or parking semaphore */
    const void *own_locks[SHIM_OWN_LOCKS]; /* semaphores that this thread took last and has not posted */
    uint32_t own_next;
    /* recognition of create_gil: the last init calls */
    uint32_t n_inits;
    struct {
        const void *address;
        bool is_cond;
    } inits[4];
};
extern __thread struct shim_thread shim_thread __attribute__((tls_model("initial-exec")));
#define T shim_thread

/* --- sequence counters of records ------------------------------------------------------------------------------- */
static inline void shim_write_begin(uint32_t *seq)
{
    __atomic_store_n(seq, *seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}
static inline void shim_write_end(uint32_t *seq)
{
    __atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

#endif
