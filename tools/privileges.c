/* SPDX-License-Identifier: MIT */
/*
 * privileges.c - capset(2) without libcap.
 */
#include "privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "msg.h"
#include "procinfo.h"

#define OWN_PATH_BYTES 512

struct capabilities {
    struct __user_cap_data_struct data[2];
};

static bool get(struct capabilities *c)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

    memset(c, 0, sizeof *c);
    return !syscall(SYS_capget, &head, c->data);
}

static void set(const struct capabilities *c)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

    syscall(SYS_capset, &head, c->data);
}

bool privileges_have(unsigned capability)
{
    struct capabilities c;

    return get(&c) && (c.data[capability / 32].effective >> capability % 32 & 1);
}

bool privileges_have_for_bpf(unsigned capability)
{
    return privileges_have(capability) || privileges_have(CAP_SYS_ADMIN);
}

bool privileges_are_of_namespace(void)
{
    return procinfo_in_own_namespace("user");
}

bool privileges_are_filtered(void)
{
    return prctl(PR_GET_SECCOMP) > 0; /* where it is mode 1, nobody lives to tell */
}

bool privileges_lack_for_bpf(char *text, size_t size)
{
    bool bpf = privileges_have_for_bpf(CAP_BPF), perfmon = privileges_have_for_bpf(CAP_PERFMON);
    char path[OWN_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    path[n > 0 ? n : 0] = 0;
    if (bpf && perfmon)
        return false;
    snprintf(text, size,
             "%s lacking: run gilscope as root, or `sudo setcap cap_bpf,cap_perfmon+ep %s'; for containers `gilscope "
             "doctor' says how",
             bpf       ? "CAP_PERFMON is"
             : perfmon ? "CAP_BPF is"
                       : "the capabilities CAP_BPF and CAP_PERFMON are",
             path[0] ? path : "gilscope");
    return true;
}

/* --- giving them up ---------------------------------------------------------------------------------------------- */
static void keep_only(struct capabilities *c, const unsigned *kept, size_t n)
{
    uint32_t mask[2] = {0, 0};

    for (size_t i = 0; i < n; i++)
        mask[kept[i] / 32] |= 1u << kept[i] % 32;
    for (int i = 0; i < 2; i++) {
        c->data[i].effective &= mask[i];
        c->data[i].permitted &= mask[i];
        c->data[i].inheritable = 0;
    }
}

/* The kernel lets nobody look into a map without CAP_BPF (before Linux 5.19, where unprivileged_bpf_disabled is not 0);
 * else it finds fault with the descriptor. */
static bool maps_need_bpf(void)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.map_fd = UINT32_MAX;
    return syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr) < 0 && errno != EBADF;
}

/* By the capabilities in effect, which access() does not go by. */
static bool may_write(const char *path)
{
#ifdef SYS_faccessat2
    return !path || !syscall(SYS_faccessat2, AT_FDCWD, path, W_OK, AT_EACCESS);
#else
    return !path;
#endif
}

void privileges_drop(const char *dir, const char *file)
{
    /* DAC_READ_SEARCH: /proc/PID/task/TID/syscall is its owner's only, also to who may trace it. */
    unsigned kept[4] = {CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH};
    size_t n = 2;
    struct capabilities before, now;

    if (!get(&before))
        return;
    now = before;
    keep_only(&now, kept, n);
    struct capabilities trial = before;
    for (int i = 0; i < 2; i++)
        trial.data[i].effective = now.data[i].effective;
    set(&trial);
    if (maps_need_bpf())
        kept[n++] = CAP_BPF;
    if (!may_write(dir) || !may_write(file))
        kept[n++] = CAP_DAC_OVERRIDE;
    keep_only(&before, kept, n);
    set(&before);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int privileges_begin(bool keep)
{
    struct capabilities none;

    if (getuid() != geteuid() || getgid() != getegid()) {
        msg_error("it must not be setuid or setgid, or everybody could read every process with it; see setcap in "
                  "gilscope-attach(1)");
        return -1;
    }
    if (getauxval(AT_SECURE) && !keep) {
        memset(&none, 0, sizeof none);
        set(&none);
    }
    return 0;
}
