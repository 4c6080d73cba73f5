/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf.h - what the parts of the BPF collector share.
 */
#ifndef GILSCOPE_COLLECT_BPF_H
#define GILSCOPE_COLLECT_BPF_H

#include "collect.h"
#include "gilscope.h"
#include "threads.h"

struct bpf_slot { /* what is known of a slot's thread beyond the programs' account */
    uint32_t inner_tid;
    enum rec_name_source name_source;
    bool is_python;  /* it has, or had, a thread state */
    uint32_t looked; /* pictures in which its name was looked for */
    char name[64];
};

struct bpf_process {
    struct find_process found;
    uint64_t start_ns;
    bool used;
};

struct bpf_collector {
    struct collect_options options;
    struct gilscope_bpf *skeleton;
    struct gs_thread *threads; /* mapped */
    struct gs_gil *gils;       /* mapped */
    uint32_t n_slots_max, n_gils, n_gils_max;
    struct bpf_slot *slots;
    struct bpf_process processes[COLLECT_PROCESSES];
    int n_processes;
    int pairs_fd, samples_fd, stacks_fd, native_fd;
    int *clock_fds;
    int n_clocks;
    struct bpf_link **links;
};

/* How many slots have been given out. */
uint32_t bpf_n_slots(const struct bpf_collector *c);
uint64_t bpf_loss(const struct bpf_collector *c, enum gs_loss loss);

/* Puts all that is known of a process into a recording. */
void bpf_picture(struct bpf_collector *c, int handle, struct recwriter *writer, uint64_t now_ns);

#endif
