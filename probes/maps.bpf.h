/* SPDX-License-Identifier: MIT */
/*
 * maps.bpf.h - where the programs keep their accounts.  The loader sets the sizes that are 1 here.
 */
#ifndef GILSCOPE_MAPS_BPF_H
#define GILSCOPE_MAPS_BPF_H

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, GS_TARGETS);
    __type(key, gs_u32); /* tgid, the kernel's own */
    __type(value, gs_u32);
} targets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, gs_u32); /* tgid: a target's child, or a child's; whatever has become of its parent */
    __type(value, gs_u32); /* as gilscope sees it */
} family SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, GS_TARGETS);
    __type(key, gs_u32);
    __type(value, struct gs_target);
} target_info SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, gs_u32);
    __type(value, struct gs_gil);
} gils SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, gs_u32);
    __type(value, struct gs_thread);
} slots SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE); /* whose slots the loader has given back */
    __uint(max_entries, 1);
    __type(value, gs_u32); /* id */
} free_ids SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, gs_u32);   /* the kernel's thread id */
    __type(value, gs_u32); /* id */
} tids SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct gs_self);
    __type(value, gs_u32);
} selves SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, struct gs_pair);
    __type(value, gs_u64); /* ns blocked */
} pairs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, struct gs_lock_key);
    __type(value, gs_u64); /* ns */
} lock_waits SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 2048);
    __type(key, gs_u64); /* hash of the frames */
    __type(value, struct gs_stack);
} stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8192);
    __type(key, struct gs_sample_key);
    __type(value, struct gs_sample);
} samples SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, GS_NATIVE_STACKS);
    __uint(key_size, sizeof(gs_u32));
    __uint(value_size, GS_NATIVE * sizeof(gs_u64));
} native_stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); /* the programs that use it do not interrupt each other */
    __uint(max_entries, 1);
    __type(key, gs_u32);
    __type(value, struct gs_scratch);
} scratch SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, gs_u32);
    __type(value, struct gs_pace);
} paces SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); /* zeros */
    __uint(max_entries, 1);
    __type(key, gs_u32);
    __type(value, struct gs_sample);
} no_sample SEC(".maps");

#endif
