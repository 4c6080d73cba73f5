/* SPDX-License-Identifier: MIT */
/*
 * launch.c - starts a program under the preload shim, passes signals on to it and waits for its end.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"
#include "holds.h"
#include "msg.h"
#include "recfile.h"
#include "watch.h"

static const int passed_on[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
#define N_PASSED_ON (sizeof passed_on / sizeof passed_on[0])

static volatile pid_t child; /* 0 while there is none to pass a signal on to */

static void pass_on(int number, siginfo_t *info, void *context)
{
    (void)context;
    int saved_errno = errno;

    /* What the terminal sends (Ctrl-C, hang-up), the kernel sends to the program as well. */
    if (info->si_code <= 0 && child > 0)
        kill(child, number);
    errno = saved_errno;
}

/* Installs the handlers; what was there before goes to OLD. */
static void catch_signals(struct sigaction *old)
{
    for (size_t i = 0; i < N_PASSED_ON; i++) {
        struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
        sigemptyset(&action.sa_mask);
        sigaction(passed_on[i], &action, &old[i]);
    }
}

static void restore_signals(const struct sigaction *old)
{
    for (size_t i = 0; i < N_PASSED_ON; i++)
        sigaction(passed_on[i], &old[i], NULL);
}

/* The value of GILSCOPE: a comma ends an option there, a backslash takes the next character as it is. */
static char *shim_options(const struct launch *launch)
{
    const char *sample = launch->sample ? launch->sample : "";
    char *options = malloc(strlen("output=") + 2 * strlen(launch->dir) + strlen(",paused,no-native,no-stacks,ptracer,sample=") +
                           strlen(sample) + 1);

    if (!options)
        return NULL;
    char *at = stpcpy(options, "output=");
    for (const char *from = launch->dir; *from; from++) {
        if (*from == ',' || *from == '\\')
            *at++ = '\\';
        *at++ = *from;
    }
    at = stpcpy(at, launch->paused ? ",paused" : "");
    at = stpcpy(at, launch->no_native ? ",no-native" : "");
    at = stpcpy(at, launch->no_stacks ? ",no-stacks" : "");
    at = stpcpy(at, launch->ptracer ? ",ptracer" : "");
    at = stpcpy(at, *sample ? ",sample=" : "");
    strcpy(at, sample);
    return options;
}

/* In the child: never returns.  REPORT: a pipe that takes errno where exec fails, and closes where it succeeds. */
static void become_program(const struct launch *launch, int report)
{
    const char *others = getenv("LD_PRELOAD");
    char *options = shim_options(launch), *preload = NULL;

    /* First in the list: the wrappers must be found before those of another library. */
    if (options && asprintf(&preload, "%s%s%s", launch->shim, others && *others ? ":" : "", others ? others : "") > 0 &&
        !setenv("LD_PRELOAD", preload, 1) && !setenv("GILSCOPE", options, 1))
        execvp(launch->argv[0], launch->argv);

    int reason = errno;
    ssize_t written = write(report, &reason, sizeof reason);
    _exit(written == sizeof reason ? CMD_RUN_NOT_EXECUTABLE : CMD_RUN_FAILED);
}

static int exec_failed(const char *command, int reason)
{
    if (reason == ENOENT && !(strchr(command, '/') && !access(command, F_OK))) {
        msg_error("cannot find the command '%s'", command);
        return CMD_RUN_NOT_FOUND;
    }
    msg_error("cannot execute '%s': %s", command,
              reason == ENOENT ? "the interpreter that it names does not exist" : strerror(reason));
    return CMD_RUN_NOT_EXECUTABLE;
}

/* Starts the command with the handlers in place; the dispositions before them go to OLD.  *reason is the errno of an
 * exec that failed. */
static pid_t start(const struct launch *launch, struct sigaction *old, int *reason)
{
    int report[2];
    sigset_t all, before;

    *reason = 0;
    if (pipe2(report, O_CLOEXEC)) {
        msg_error("cannot create a pipe: %s", strerror(errno));
        return -1;
    }
    /* A signal that arrives before `child` is known must wait, not get lost. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    catch_signals(old);
    pid_t pid = fork();
    if (!pid) {
        restore_signals(old);
        sigprocmask(SIG_SETMASK, &before, NULL);
        become_program(launch, report[1]);
    }
    child = pid > 0 ? pid : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (pid < 0) {
        msg_error("cannot start a process: %s", strerror(errno));
        restore_signals(old);
    } else {
        ssize_t n;
        do {
            n = read(report[0], reason, sizeof *reason);
        } while (n < 0 && errno == EINTR);
        if (n != sizeof *reason)
            *reason = 0;
    }
    close(report[0]);
    return pid;
}

int launch_run(const struct launch *launch, struct launch_end *end)
{
    struct sigaction old[N_PASSED_ON];
    siginfo_t info;
    int reason;

    end->pid = start(launch, old, &reason);
    if (end->pid < 0)
        return CMD_RUN_FAILED;
    struct watch *watch = reason ? NULL : watch_start(launch->dir, end->pid);
    struct holds *holds =
        launch->no_stacks || reason ? NULL : holds_start(launch->dir, launch->sample_us, launch->no_native);
    /* Not reaped yet: nobody else can get its id while its file is looked for, and while signals go to it. */
    while (waitid(P_PID, (id_t)end->pid, &info, WEXITED | WNOWAIT) && errno == EINTR)
        continue;
    child = 0;
    holds_stop(holds);
    watch_stop(watch);
    end->proc_start = recfile_proc_start(end->pid);
    while (waitpid(end->pid, &end->status, 0) < 0) {
        if (errno != EINTR) {
            restore_signals(old);
            msg_error("cannot wait for process %d: %s", (int)end->pid, strerror(errno));
            return CMD_RUN_FAILED;
        }
    }
    restore_signals(old);
    return reason ? exec_failed(launch->argv[0], reason) : 0;
}
