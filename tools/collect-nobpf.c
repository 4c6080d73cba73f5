/* SPDX-License-Identifier: MIT */
/*
 * collect-nobpf.c - stands in for the BPF collector where gilscope was built without it.
 */
#include <stdio.h>

#include "collect.h"

static bool usable(char error[COLLECT_ERROR_BYTES])
{
    snprintf(error, COLLECT_ERROR_BYTES,
             "this gilscope was built without BPF (configure --with-bpf=yes with clang, bpftool and libbpf)");
    return false;
}

static int start(const struct collect_options *options, char error[COLLECT_ERROR_BYTES])
{
    (void)options;
    usable(error);
    return -1;
}

const struct collector collect_bpf = {.name = "bpf", .source = REC_SOURCE_BPF, .usable = usable, .start = start};
