/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf.h - what the parts of the BPF collector share.
 */
#ifndef GILSCOPE_COLLECT_BPF_H
#define GILSCOPE_COLLECT_BPF_H

#include "collect-stacks.h"
#include "collect.h"
#include "gilscope.h"
#include "threads.h"

struct bpf_slot { /* what is known of a slot's thread beyond the programs' account */
    uint32_t id;          /* 0 = nobody's, as far as is known here */
    uint32_t index;       /* in the recording */
    uint64_t closed_ns;   /* not 0: its id was taken from the programs then, and its figures are about to be added to
                             those of other ended threads */
    uint64_t by_ended_ns; /* blocked by threads that have no slot any more, ... */
    uint64_t ended_by_ns; /* ... and they by it: moved from the map of pairs */
    uint32_t inner_tid;
    enum rec_name_source name_source;
    bool is_python;                            /* it has, or had, a thread state */
    uint64_t run_delay_first_ns, run_delay_ns; /* of schedstat, when first seen and last */
    bool run_delay_known;
    uint32_t pictures;
    uint64_t asleep_since_ns, entered_since_ns; /* off CPU, with the stack asleep_stack; entered already */
    uint32_t asleep_stack;
    uint32_t looked; /* pictures in which its name was looked for */
    char name[64];
};

/* What threads that have no slot any more had in theirs: those of a process that used one of its GILs most. */
struct bpf_ended {
    struct gs_thread sum; /* its sums and histograms */
    uint64_t n, wall_ns, run_delay_ns;
};

struct bpf_process {
    struct find_process found;
    struct gs_target target; /* as in the map */
    uint32_t kernel_pid;     /* the kernel's number, which is its key in maps */
    uint64_t start_ns, gil_start_ns[FIND_GIL_MAX];
    bool used;
    bool is_free; /* the handle may be another one's: nothing is left of the one that had it */
    struct bpf_stacks *stacks; /* NULL = none are taken */
    struct bpf_locks *locks;
    uint32_t n_indices;                    /* given to its threads */
    struct bpf_ended *ended[FIND_GIL_MAX]; /* NULL = none */
    uint64_t n_ended;
    uint64_t ended_native_ns;  /* on processors, of those that had nothing to do with a GIL */
    uint64_t ended_charged_ns; /* what they were charged besides, and ... */
    uint64_t ended_among_ns;   /* ... how long they blocked each other */
};

struct bpf_seen { /* the threads of a process; empty where the kernel's numbers are those that are seen */
    struct gs_seen *thread;
    size_t n, room;
};

struct bpf_collector {
    struct collect_options options;
    struct gilscope_bpf *skeleton;
    struct gs_thread *threads; /* mapped */
    struct gs_gil *gils;       /* mapped */
    uint32_t n_slots_max, n_gils, n_gils_max, n_free_gils;
    uint32_t *free_gils; /* indices */
    struct bpf_slot *slots;
    struct gs_thread *copies; /* for pictures; kept, as new memory cost more than all that is done with it */
    size_t n_copies_max;
    struct bpf_process processes[GS_TARGETS];
    int n_processes;
    uint64_t ended_every_ns; /* so many threads end that the slots are looked at so often; 0 = not */
    uint32_t n_ended_pairs;  /* in the map, of ended threads, when they were counted last */
    int pairs_fd, free_fd, samples_fd, stacks_fd, native_fd, lock_waits_fd;
    bool sees_returns; /* to the program, after a wait: the kernel has on_return()'s tracepoint */
    int *clock_fds;
    int n_clocks;
    struct bpf_link **links;
    bool translates;              /* the kernel has other numbers for processes and threads than are seen here */
    struct bpf_link *each_thread; /* then */
};

/* Puts what errno says into error[COLLECT_ERROR_BYTES]; -1. */
int bpf_fail(char error[COLLECT_ERROR_BYTES], const char *what);

/* --- collect-bpf-batch.c */
/* Calls each() for every entry of a hash map, and takes the entries out if take.  Entries that come or change meanwhile
 * may be seen or not. */
void bpf_each(int map_fd, bool take, size_t key_bytes, size_t value_bytes,
              void (*each)(void *context, const void *key, const void *value), void *context);

/* --- collect-bpf-add.c */
/* Measures a process from now on; its handle, or -1 with one line in error[COLLECT_ERROR_BYTES]. */
int bpf_add(struct bpf_collector *c, const struct find_process *found, char error[COLLECT_ERROR_BYTES]);
/* Adds GILs that there are by now: of interpreters that were made since. */
void bpf_find_gils(struct bpf_collector *c, int handle);

/* --- collect-bpf-ended.c */
/* The slot that has, or had, this id, as long as its figures are in it; 0 = they are among those of ended threads, or
 * the id is nobody's. */
uint32_t bpf_slot_of(struct bpf_collector *c, uint32_t id);
/* Who has a slot, for bpf_slot_of() and for what is written of it: false = nobody. */
bool bpf_meet(struct bpf_collector *c, uint32_t slot);
/* Whether the slot's thread has ended; also if it has none, which is slot 0. */
bool bpf_is_ended(const struct bpf_collector *c, uint32_t slot);
/* Gives the slots of threads that have ended back to the programs, in time before they run out; their figures are added
 * up.  To be called every 0.1 s or so, and every c->ended_every_ns. */
void bpf_ended_poll(struct bpf_collector *c);
/* All those of a process together. */
void bpf_ended_all(const struct bpf_process *p, struct bpf_ended *all);
void bpf_ended_free(struct bpf_process *p);
/* An id whose slot is nobody's, as free_id() in probes/thread.bpf.h; 0 = there is none. */
uint32_t bpf_free_id(struct bpf_collector *c);

/* --- collect-bpf.c */
/* How many slots have been used. */
uint32_t bpf_n_slots(const struct bpf_collector *c);
uint64_t bpf_loss(const struct bpf_collector *c, enum gs_loss loss);

/* --- collect-bpf-seen.c */
/* Asks for the numbers of a process's threads as of now.  -1 with errno: they cannot be had. */
int bpf_seen_read(const struct bpf_collector *c, int pid, struct bpf_seen *seen);
void bpf_seen_free(struct bpf_seen *seen);
/* The kernel's number of a thread; 0 = there was none of that number. */
uint32_t bpf_seen_kernel_tid(const struct bpf_seen *seen, uint32_t tid);

/* --- collect-bpf-who.c */
/* Whether a thread has had to do with a GIL; charged_ns: what it is charged with, open waits included. */
bool bpf_touches_gil(const struct bpf_slot *s, const struct gs_thread *t, uint64_t charged_ns);
/* Enters how long an ended thread had no processor, as the kernel had it at its end. */
void bpf_learn_end(struct bpf_collector *c, uint32_t slot, const struct gs_thread *t);
/* Learns the name of a thread, as copied, its thread state, and how long it had no processor.  tstates: as read at now_ns.  last:
 * there will be no other picture. */
void bpf_learn(struct bpf_collector *c, const struct threads_list *tstates, uint64_t now_ns, bool last, uint32_t slot,
               struct gs_thread *t);

/* --- collect-bpf-picture.c */
/* Puts all that is known of a process into a recording.  last: open intervals' stacks, too. */
void bpf_picture(struct bpf_collector *c, int handle, struct recwriter *writer, uint64_t now_ns, bool last);

/* --- collect-bpf-stacks.c */
struct bpf_stacks *bpf_stacks_new(const struct find_process *found);
void bpf_stacks_free(struct bpf_stacks *s);
/* Takes all weights out of the map, for all processes. */
void bpf_stacks_drain(struct bpf_collector *c);
/* Looks at the stacks of threads that have been off the processors for long; to be called every 0.1 s or so. */
void bpf_stacks_poll(struct bpf_collector *c);
/* Adds the interval that is open in a thread at the end, if its stack is known. */
void bpf_stacks_add_open(struct bpf_collector *c, uint32_t slot, const struct gs_thread *t, uint64_t now_ns);
/* Threads' stacks become those of ended threads: by their indices, which are sorted for it.  s: may be NULL. */
void bpf_stacks_move(struct bpf_stacks *s, uint32_t *indices, size_t n);
void bpf_stacks_write(const struct bpf_stacks *s, struct recwriter *writer);

/* --- collect-bpf-locks.c */
struct bpf_locks *bpf_locks_new(const struct find_process *found);
void bpf_locks_free(struct bpf_locks *l);
/* The thread sleeps in this futex call, not on a word of the GIL, since before it was measured: begins a wait for a
 * lock if it is one.  sp: its stack pointer. */
void bpf_locks_open(const struct bpf_locks *l, struct gs_thread *t, const unsigned long long args[6], uint64_t sp);
/* Looks at threads that wait, for what cannot be told later; to be called every 0.1 s or so. */
void bpf_locks_poll(struct bpf_collector *c);
/* Whether the wait for a lock that is open in a thread is one to be notified. */
bool bpf_locks_notifies(struct bpf_collector *c, const struct gs_thread *t);
/* Adds how long the threads of a process have waited to be notified, without gs_thread.notify_ns, by slot; [0]: those
 * that have no slot any more. */
void bpf_locks_notified(struct bpf_collector *c, uint32_t target, uint64_t *notified_ns);
/* Takes the waits of some slots' threads out of the map, to those of ended ones. */
void bpf_locks_move(struct bpf_collector *c, const bool *slots);

#endif
