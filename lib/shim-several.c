/* SPDX-License-Identifier: MIT */
/* shim-several.c - processes with several GILs: interpreters that have their own, or that come and go. */
#define _GNU_SOURCE
#include "shim-several.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim-account.h"
#include "shim-gil.h"
#include "shim-name.h"
#include "shim-pause.h"

#define TRIES 1000 /* a GIL's mutex is held for less than a microsecond at a time */

/* Takes the mutex of a GIL that the calling thread is not dealing with.  The interpreter may be gone, and its memory
 * with it or used for something else: it is read through the kernel first, and waited for no longer than it could take.
 * False: do without. */
static bool lock(const struct shim_gil *g)
{
    pthread_mutex_t copy, *mutex = (pthread_mutex_t *)(uintptr_t)g->mutex;
    int saved_errno = errno;
    bool locked = false;
    if (mutex && shim_name_read_self(mutex, &copy, sizeof copy) == 0)
        for (int i = 0; i < TRIES && !(locked = pthread_mutex_trylock(mutex) == 0); i++)
            sched_yield();
    errno = saved_errno;
    return locked;
}

static void unlock(const struct shim_gil *g)
{
    shim_real.mutex_unlock((pthread_mutex_t *)(uintptr_t)g->mutex);
}

bool shim_several_enter(int tries)
{
    int saved_errno = errno;
    bool entered = false;
    for (int i = 0; i < tries && !entered; i++) {
        if (i)
            syscall(SYS_nanosleep, &(struct timespec){0, 100000}, NULL); /* not the libc's: no cancellation point */
        entered = __atomic_exchange_n(&SHIM.registering, 1, __ATOMIC_ACQUIRE) == 0;
    }
    errno = saved_errno;
    return entered;
}

void shim_several_exit(void)
{
    __atomic_store_n(&SHIM.registering, 0, __ATOMIC_RELEASE);
}

void shim_several_begin(struct shim_gil *first)
{
    if (!lock(first))
        return;
    if (!first->turn->take_ticks &&
        shim_gil_holder(first)) /* else it is settled, or somebody has it since a pause who is not known yet */
        shim_account_settle(first, shim_ticks());
    unlock(first);
}

void shim_several_leave(struct shim_gil *last)
{
    struct rec_thread *tr = T.rec;
    if (!shim_gil_is_mine(last))
        return;
    bool locked = lock(last);
    if (shim_gil_is_mine(last)) { /* nobody has taken it since */
        shim_account_settle(last, shim_pause_catch_up(last));
        if (SHIM_STATE(tr) == REC_STATE_HELD) { /* it never gave it up: that interpreter has ended */
            shim_write_begin(&tr->seq);
            shim_pause_close();
            tr->state = REC_STATE_RELEASED;
            shim_write_end(&tr->seq);
        }
    }
    if (locked)
        unlock(last);
}

void shim_several_abandon(struct shim_gil *g)
{
    if (!g || !g->rec || !lock(g))
        return;
    shim_gil_abandoned(g);
    unlock(g);
}
