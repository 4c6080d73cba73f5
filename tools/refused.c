/* SPDX-License-Identifier: MIT */
/*
 * refused.c - goes through what __ptrace_may_access() and Yama ask for, as far as /proc tells.
 */
#include "refused.h"

#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "privileges.h"
#include "textfile.h"

#define GRANT "run gilscope as root, or with CAP_SYS_PTRACE"

int refused_ptrace_scope(void)
{
    char text[16];

    textfile_read("/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    return atoi(text);
}

/* Whether real, effective and saved id of a line of /proc/PID/status are all `own`; the first that is not goes to
 * *other. */
static bool all_are(const char *status, const char *key, unsigned own, unsigned *other)
{
    const char *line = strstr(status, key);
    unsigned id[3] = {own, own, own};

    if (line && sscanf(line + strlen(key), "%u %u %u", &id[0], &id[1], &id[2]) == 3)
        for (int i = 0; i < 3; i++)
            if (id[i] != own) {
                *other = id[i];
                return false;
            }
    return true;
}

void refused_why(int pid, char *text, size_t size)
{
    char path[64], status[4096];
    struct stat owner;
    unsigned other = 0;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    textfile_read(path, status, sizeof status);
    snprintf(path, sizeof path, "/proc/%d/maps", pid); /* the directory is its user's in any case */
    if (privileges_have(CAP_SYS_PTRACE) && privileges_are_of_namespace())
        snprintf(text, size,
                 "gilscope runs in a user namespace, a container without root perhaps, whose rights do not "
                 "reach it: run gilscope outside, as root");
    else if (!all_are(status, "\nUid:", getuid(), &other))
        snprintf(text, size, "it belongs to user %u, gilscope runs as user %u: " GRANT, other, (unsigned)getuid());
    else if (!all_are(status, "\nGid:", getgid(), &other))
        snprintf(text, size, "it runs in group %u, gilscope in group %u: " GRANT, other, (unsigned)getgid());
    else if (privileges_have(CAP_SYS_PTRACE))
        snprintf(text, size,
                 "a security module forbids it, or a filter of system calls, although CAP_SYS_PTRACE is there "
                 "(SELinux, AppArmor, seccomp; Yama's ptrace_scope is %d)",
                 refused_ptrace_scope());
    else if (getuid() && !stat(path, &owner) && owner.st_uid == 0)
        snprintf(text, size,
                 "it does not let others of its user read it (PR_SET_DUMPABLE, or rights of its "
                 "executable): " GRANT);
    else if (refused_ptrace_scope() > 0)
        snprintf(text, size,
                 "Yama's ptrace_scope is %d: " GRANT
                 "; or start the program by gilscope run --ptracer",
                 refused_ptrace_scope());
    else
        snprintf(text, size,
                 "it has capabilities that gilscope has not, or a filter of system calls is at work: " GRANT);
}
