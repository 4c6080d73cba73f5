/* SPDX-License-Identifier: MIT */
/*
 * privileges.c - capset(2) without libcap.
 */
#include "privileges.h"

#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool get(struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

    memset(data, 0, 2 * sizeof *data);
    return !syscall(SYS_capget, &head, data);
}

bool privileges_have(unsigned capability)
{
    struct __user_cap_data_struct data[2];

    return get(data) && (data[capability / 32].effective >> capability % 32 & 1);
}

void privileges_drop(void)
{
    /* DAC_OVERRIDE: the recording's directory may be another user's. */
    static const unsigned kept[] = {CAP_SYS_PTRACE, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_BPF};
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    uint32_t mask[2] = {0, 0};

    if (!get(data))
        return;
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++)
        mask[kept[i] / 32] |= 1u << kept[i] % 32;
    for (int i = 0; i < 2; i++) {
        data[i].effective &= mask[i];
        data[i].permitted &= mask[i];
        data[i].inheritable = 0;
    }
    syscall(SYS_capset, &head, data);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
