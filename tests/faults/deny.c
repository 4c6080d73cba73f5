/* SPDX-License-Identifier: MIT */
/*
 * deny.c - runs a command under a seccomp filter that lets system calls fail: deny ERRNO CALL... -- COMMAND [ARG...]
 *
 * CALL is one of the names below.  "create" is openat with O_CREAT, "shared" is mmap of a file that is to be written
 * through: what the program itself needs to start goes on working.  Exits with 99 if the filter cannot be set.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    int number;
    int argument; /* if it has all of these bits, counted from 0; -1 = always */
    unsigned bits;
} calls[] = {
    {"create", SYS_openat, 2, O_CREAT},
    {"shared", SYS_mmap, 3, MAP_SHARED},
    {"fallocate", SYS_fallocate, -1, 0},
    {"ftruncate", SYS_ftruncate, -1, 0},
    {"pwrite", SYS_pwrite64, -1, 0},
    {"madvise", SYS_madvise, -1, 0},
    {"mkdir", SYS_mkdirat, -1, 0},
#ifdef SYS_mkdir
    {"mkdir", SYS_mkdir, -1, 0},
#endif
    {"process_vm_readv", SYS_process_vm_readv, -1, 0},
    {"memfd_create", SYS_memfd_create, -1, 0},
    {"membarrier", SYS_membarrier, -1, 0},
    {"uname", SYS_uname, -1, 0},
    {"sched_getaffinity", SYS_sched_getaffinity, -1, 0},
    {"prlimit", SYS_prlimit64, -1, 0},
    {"clock_gettime", SYS_clock_gettime, -1, 0},
    {"fstat", SYS_fstat, -1, 0},
    {"sigaction", SYS_rt_sigaction, -1, 0},
    {"nanosleep", SYS_nanosleep, -1, 0},
    {"gettid", SYS_gettid, -1, 0},
    {"getcwd", SYS_getcwd, -1, 0},
    {"rename", SYS_renameat2, -1, 0},
#ifdef SYS_rename
    {"rename", SYS_rename, -1, 0},
#endif
    {"readlink", SYS_readlinkat, -1, 0},
#ifdef SYS_readlink
    {"readlink", SYS_readlink, -1, 0},
#endif
    {"mincore", SYS_mincore, -1, 0},
    {"prctl", SYS_prctl, -1, 0},
    {"sigprocmask", SYS_rt_sigprocmask, -1, 0},
    {"getrusage", SYS_getrusage, -1, 0},
    {"msync", SYS_msync, -1, 0},
};
#define N_CALLS (sizeof calls / sizeof *calls)

static struct sock_filter filter[8 + 5 * N_CALLS];
static unsigned short n;

static void add(unsigned short code, unsigned value, unsigned char if_true, unsigned char if_false)
{
    filter[n++] = (struct sock_filter){code, if_true, if_false, value};
}

static int deny(const char *name, unsigned error)
{
    int known = 0;
    for (size_t i = 0; i < N_CALLS; i++) {
        if (strcmp(calls[i].name, name) != 0)
            continue;
        known = 1;
        add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
        if (calls[i].argument < 0) {
            add(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1);
        } else {
            add(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 3);
            add(BPF_LD | BPF_W | BPF_ABS, (unsigned)(offsetof(struct seccomp_data, args) + 8u * calls[i].argument), 0,
                0);
            add(BPF_JMP | BPF_JSET | BPF_K, calls[i].bits, 0, 1);
        }
        add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error, 0, 0);
    }
    return known;
}

int main(int argc, char **argv)
{
    int i = 2;
    unsigned error = argc > 3 ? (unsigned)atoi(argv[1]) : 0;
    for (; error && i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!deny(argv[i], error)) {
            fprintf(stderr, "deny: unknown call '%s'\n", argv[i]);
            return 99;
        }
    }
    if (!error || i + 1 >= argc) {
        fprintf(stderr, "usage: deny ERRNO CALL... -- COMMAND [ARG...]\n");
        return 99;
    }
    add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    struct sock_fprog program = {n, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("deny: no seccomp filter");
        return 99;
    }
    execvp(argv[i + 1], argv + i + 1);
    perror("deny: cannot execute");
    return 99;
}
