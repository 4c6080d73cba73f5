/* SPDX-License-Identifier: MIT */
/*
 * shim-bus.c - SIGBUS: a recording whose storage fails does not take the program with it.
 *
 * A store to a mapped file is SIGBUS if the file has been cut short since, if its disk fails, or if a file system that
 * copies on write has no space for the copy.  Nothing that keeps the counts in a file for whoever comes after SIGKILL
 * can rule that out, so the signal is caught: for an address in the recording, anonymous memory takes the recording's
 * place, measuring ends, and the store is done again.  Every other SIGBUS is the program's, as if we were not there:
 * what it asks sigaction and signal for is kept here, and what it is told is what it asked for.
 */
#define _GNU_SOURCE
#include "shim-bus.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim-file.h"
#include "shim.h"

#define KEPT 8 /* a handler may still be reading what was asked for before */

static struct sigaction kept[KEPT];
static uint32_t n_kept;
static const struct sigaction *wanted; /* by the program; NULL = our handler has never been there */
static pid_t owner;                    /* a child by vfork has our memory, but its signals are its own */

static const struct sigaction *keep(const struct sigaction *action)
{
    struct sigaction *place = &kept[__atomic_fetch_add(&n_kept, 1, __ATOMIC_RELAXED) % KEPT];
    *place = *action;
    return place;
}

static bool is_plain(const struct sigaction *action, sighandler_t handler)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == handler;
}

/* As the program would have got it. */
static void pass_on(int signal_number, siginfo_t *info, void *context)
{
    struct sigaction action = *__atomic_load_n(&wanted, __ATOMIC_ACQUIRE);
    if (is_plain(&action, SIG_DFL) || is_plain(&action, SIG_IGN)) {
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        shim_real.sigaction(signal_number, &by_default, NULL);
        /* It is blocked until this handler returns, and then ends the process with the same cause. */
        syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal_number, info);
        return;
    }
    if (action.sa_flags & SA_RESETHAND) {
        struct sigaction by_default = {.sa_handler = SIG_DFL};
        __atomic_store_n(&wanted, keep(&by_default), __ATOMIC_RELEASE);
    }
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(signal_number, info, context);
    else
        action.sa_handler(signal_number);
}

static void on_bus(int signal_number, siginfo_t *info, void *context)
{
    int saved_errno = errno, cancel = shim_cancel_later();
    bool ours = info->si_code > 0 && shim_file_failed(info->si_addr);
    shim_cancel_again(cancel);
    errno = saved_errno;
    if (!ours)
        pass_on(signal_number, info, context);
}

/* What the kernel is told when the program wants `action`.  One that is ignored stays so: programs that it executes
 * inherit that. */
static int install(const struct sigaction *action)
{
    struct sigaction ours = *action;
    if (is_plain(action, SIG_IGN))
        return shim_real.sigaction(SIGBUS, action, NULL);
    if (is_plain(action, SIG_DFL)) {
        sigemptyset(&ours.sa_mask);
        ours.sa_flags = SA_ONSTACK;
    }
    ours.sa_flags = (ours.sa_flags & ~(int)SA_RESETHAND) | SA_SIGINFO;
    ours.sa_sigaction = on_bus;
    return shim_real.sigaction(SIGBUS, &ours, NULL);
}

void shim_bus_start(void)
{
    struct sigaction now;
    owner = getpid();
    if (shim_real.sigaction(SIGBUS, NULL, &now) != 0 || is_plain(&now, SIG_IGN))
        return;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus)
        return;
    const struct sigaction *before = wanted;
    __atomic_store_n(&wanted, keep(&now), __ATOMIC_RELEASE);
    if (install(&now) != 0)
        __atomic_store_n(&wanted, before, __ATOMIC_RELEASE);
}

void shim_bus_in_child(void)
{
    owner = getpid();
}

SHIM_EXPORT int sigaction(int signal_number, const struct sigaction *restrict action, struct sigaction *restrict old)
{
    const struct sigaction *before = signal_number == SIGBUS ? __atomic_load_n(&wanted, __ATOMIC_ACQUIRE) : NULL;
    if (LIKELY(!before))
        return shim_real.sigaction(signal_number, action, old);
    struct sigaction was = *before;
    if (action && getpid() != owner) {
        if (shim_real.sigaction(signal_number, action, NULL) != 0)
            return -1;
    } else if (action) {
        __atomic_store_n(&wanted, keep(action), __ATOMIC_RELEASE);
        if (install(action) != 0) {
            __atomic_store_n(&wanted, before, __ATOMIC_RELEASE);
            return -1;
        }
    }
    if (old)
        *old = was;
    return 0;
}

SHIM_EXPORT sighandler_t signal(int signal_number, sighandler_t handler)
{
    struct sigaction action, old;
    if (LIKELY(signal_number != SIGBUS || !__atomic_load_n(&wanted, __ATOMIC_ACQUIRE) || handler == SIG_ERR))
        return shim_real.signal(signal_number, handler);
    memset(&action, 0, sizeof action); /* as glibc does: sysdeps/posix/signal.c */
    action.sa_handler = handler;
    sigaddset(&action.sa_mask, signal_number);
    action.sa_flags = SA_RESTART;
    return sigaction(signal_number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}
