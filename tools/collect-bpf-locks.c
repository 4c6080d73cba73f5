/* SPDX-License-Identifier: MIT */
/*
 * collect-bpf-locks.c - tells waits to be notified from waits for a lock that another thread has, by the line that
 * waits.
 *
 * The standard library waits to be notified in a few functions.  SimpleQueue is written in C: up to 3.12 it waits on a
 * semaphore as a lock does, and the line is its caller's; but while the caller waits, the queue lies on its frame's
 * stack.
 */
#include <bpf/bpf.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collect-bpf.h"
#include "cpython-frames.h"
#include "mem.h"
#include "peer.h"

#define SIMPLE_QUEUE_LAST_MINOR 12 /* later ones wait at a parking lot, which the programs tell */
#define STACK_MAX 64u
#define LOOKS_MOST 20 /* at a line, for a queue */

enum kind { KIND_FREE, KIND_MUTEX, KIND_PERHAPS, KIND_NOTIFY };

struct line {
    uint64_t code, at;
    enum kind kind;
    uint32_t looks;
    uint64_t ended_ns; /* waited there by threads that have no slot any more */
};

struct bpf_locks {
    struct find_process found;
    const struct cpython_layout *layout;
    struct line *lines; /* open addressing */
    size_t n, size;     /* a power of 2 */
};

struct bpf_locks *bpf_locks_new(const struct find_process *found)
{
    struct bpf_locks *l = mem_zeroed(1, sizeof *l);

    l->found = *found;
    l->layout = cpython_layout(found->hex);
    l->size = 256;
    l->lines = mem_zeroed(l->size, sizeof *l->lines);
    return l;
}

void bpf_locks_free(struct bpf_locks *l)
{
    if (!l)
        return;
    free(l->lines);
    free(l);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && !strcmp(text + n - m, end);
}

/* Condition.wait() is in Event, Barrier, Semaphore and Queue, too. */
static bool notifies(const char *function, const char *file)
{
    const char *dot = strrchr(function, '.');
    const char *name = dot ? dot + 1 : function;

    if (ends_with(file, "/threading.py"))
        return !strcmp(name, "wait") || !strcmp(name, "join") || !strcmp(name, "_wait_for_tstate_lock");
    if (ends_with(file, "/trio/_core/_thread_cache.py")) /* idle workers wait for a lock that gives them work */
        return !strcmp(name, "_work");
    return ends_with(file, "/multiprocessing/synchronize.py") && !strcmp(name, "wait");
}

static enum kind kind_by_name(const struct bpf_locks *l, uint64_t code_address)
{
    struct cpython_reader reader;
    struct cpython_code code;
    char name[256], file[1024];
    int pid = l->found.pid;

    if (!l->layout || !code_address)
        return KIND_MUTEX;
    cpython_reader_init(&reader, l->layout, peer_read_callback, &pid);
    if (!cpython_code(&reader, code_address, &code) || !cpython_text(&reader, code.name, name, sizeof name, NULL) ||
        !cpython_text(&reader, code.file, file, sizeof file, NULL))
        return KIND_MUTEX;
    if (notifies(name, file))
        return KIND_NOTIFY;
    return l->layout->minor <= SIMPLE_QUEUE_LAST_MINOR ? KIND_PERHAPS : KIND_MUTEX;
}

static struct line *place(struct line *lines, size_t size, uint64_t code, uint64_t at)
{
    size_t i = (size_t)((code ^ at * 0x9e3779b97f4a7c15u) * 0x9e3779b97f4a7c15u >> 32) & (size - 1);

    while (lines[i].kind != KIND_FREE && (lines[i].code != code || lines[i].at != at))
        i = (i + 1) & (size - 1);
    return &lines[i];
}

static struct line *line_of(struct bpf_locks *l, uint64_t code, uint64_t at)
{
    struct line *line = place(l->lines, l->size, code, at);

    if (line->kind != KIND_FREE)
        return line;
    if (2 * l->n >= l->size) {
        struct line *larger = mem_zeroed(2 * l->size, sizeof *larger);
        for (size_t i = 0; i < l->size; i++)
            if (l->lines[i].kind != KIND_FREE)
                *place(larger, 2 * l->size, l->lines[i].code, l->lines[i].at) = l->lines[i];
        free(l->lines);
        l->lines = larger;
        l->size *= 2;
        line = place(l->lines, l->size, code, at);
    }
    l->n++;
    *line = (struct line){code, at, kind_by_name(l, code), 0, 0};
    return line;
}

/* Where a thread is, as innermost() in probes/stack.bpf.h has it; *code and *at stay if that cannot be read. */
static void innermost(const struct bpf_locks *l, uint64_t tstate, gs_u64 *code, gs_u64 *at)
{
    struct cpython_reader reader;
    struct cpython_walk walk;
    struct cpython_frame f;
    int pid = l->found.pid;

    if (!l->layout)
        return;
    cpython_reader_init(&reader, l->layout, peer_read_callback, &pid);
    cpython_walk_begin(&walk, &reader, tstate, 0);
    if (!cpython_walk_next(&walk, &f))
        return;
    *code = f.code;
    *at = l->layout->minor >= 11   ? f.code + l->layout->code_bytes + (uint64_t)(int64_t)f.at
          : l->layout->minor == 10 ? (uint64_t)(int64_t)(f.at / 2)
                                   : (uint64_t)(int64_t)f.at;
}

/* --- SimpleQueue ------------------------------------------------------------------------------------------------- */
static bool is_queue(struct cpython_reader *r, uint64_t object)
{
    return cpython_is_a(r, object, "_queue.SimpleQueue");
}

/* The thread's innermost frame is calling a method of a SimpleQueue: the topmost method on its stack is one's. */
static bool calls_queue(const struct bpf_locks *l, uint64_t tstate, uint64_t code)
{
    enum {
        CODE_STACK_SIZE_10 = 32,
        CODE_STACK_SIZE_11 = 68,
        CODE_STACK_SIZE_12 = 64,
        VALUE_STACK_10 = 64,
        M_SELF = 24,
        IT_CALLABLE = 16
    };
    const struct cpython_layout *layout = l->layout;
    struct cpython_reader r;
    struct cpython_walk walk;
    struct cpython_frame f;
    uint64_t stack[STACK_MAX + 1] = {0};
    uint32_t size = 0, locals = 0;
    int pid = l->found.pid;

    cpython_reader_init(&r, layout, peer_read_callback, &pid);
    cpython_walk_begin(&walk, &r, tstate, 0);
    if (!cpython_walk_next(&walk, &f) || f.code != code)
        return false;
    uint64_t size_at = layout->minor <= 10   ? CODE_STACK_SIZE_10
                       : layout->minor == 11 ? CODE_STACK_SIZE_11
                                             : CODE_STACK_SIZE_12;
    uint64_t locals_at = layout->minor == 11 ? 76 : 72;
    if (cpython_fetch(&r, f.code + size_at, &size, sizeof size) ||
        (layout->minor > 10 && cpython_fetch(&r, f.code + locals_at, &locals, sizeof locals)) || locals > 10000)
        return false;
    if (size > STACK_MAX)
        size = STACK_MAX;
    uint64_t base = layout->minor <= 10 ? cpython_pointer(&r, f.frame + VALUE_STACK_10)
                                        : f.frame + layout->frame_locals + locals * 8u;
    if (!size || cpython_fetch(&r, base, stack, size * sizeof *stack))
        return false;
    for (uint32_t i = size; i-- > 0;) {
        if (!stack[i] || (stack[i] & 7))
            continue;
        if (cpython_is_a(&r, stack[i], "callable_iterator")) /* iter(queue.get, None) */
            return is_queue(&r, cpython_pointer(&r, cpython_pointer(&r, stack[i] + IT_CALLABLE) + M_SELF));
        if (cpython_is_a(&r, stack[i], "builtin_function_or_method") || cpython_is_a(&r, stack[i], "builtin_method"))
            return is_queue(&r, cpython_pointer(&r, stack[i] + M_SELF));
        if (cpython_is_a(&r, stack[i], "method_descriptor"))
            return is_queue(&r, stack[i + 1]);
    }
    return false;
}

void bpf_locks_poll(struct bpf_collector *c)
{
    for (uint32_t slot = 1, n = bpf_n_slots(c); slot < n; slot++) {
        volatile struct gs_thread *t = &c->threads[slot];
        gs_u64 since_ns = t->lock_since_ns, code = t->lock_code, at = t->lock_at, tstate = t->tstate;
        const struct bpf_process *p = &c->processes[t->target];
        if (!since_ns || !tstate || t->lock_notifies || t->target >= (uint32_t)c->n_processes || !p->used)
            continue;
        if (!code) { /* it has not been seen with the GIL before */
            innermost(p->locks, tstate, &code, &at);
            if (t->lock_since_ns == since_ns) {
                t->lock_at = at;
                t->lock_code = code;
            }
        }
        struct line *line = line_of(p->locks, code, at);
        if (line->kind != KIND_PERHAPS)
            continue;
        bool found = calls_queue(p->locks, tstate, code);
        if (t->lock_since_ns != since_ns || t->end_ns) /* it has gone on meanwhile */
            continue;
        if (found)
            line->kind = KIND_NOTIFY;
        else if (++line->looks == LOOKS_MOST)
            line->kind = KIND_MUTEX;
    }
}

/* --- figures ----------------------------------------------------------------------------------------------------- */
bool bpf_locks_notifies(struct bpf_collector *c, const struct gs_thread *t)
{
    struct bpf_locks *l = c->processes[t->target].locks;
    gs_u64 code = t->lock_code, at = t->lock_at;

    if (!t->lock_notifies && !code && t->tstate) /* that is known only by now */
        innermost(l, t->tstate, &code, &at);
    return t->lock_notifies || line_of(l, code, at)->kind == KIND_NOTIFY;
}

struct notified {
    struct bpf_collector *c;
    uint32_t target;
    uint64_t *ns; /* by slot */
};

static void add_notified(void *context, const void *key, const void *value)
{
    const struct notified *n = context;
    const struct gs_lock_key *k = key;
    uint32_t slot = bpf_slot_of(n->c, k->id);

    if (slot && n->c->threads[slot].target == n->target &&
        line_of(n->c->processes[n->target].locks, k->code, k->at)->kind == KIND_NOTIFY)
        n->ns[slot] += *(const uint64_t *)value;
}

void bpf_locks_notified(struct bpf_collector *c, uint32_t target, uint64_t *notified_ns)
{
    struct notified n = {c, target, notified_ns};
    const struct bpf_locks *l = c->processes[target].locks;

    bpf_each(c->lock_waits_fd, false, sizeof(struct gs_lock_key), sizeof(uint64_t), add_notified, &n);
    for (size_t i = 0; i < l->size; i++)
        if (l->lines[i].kind == KIND_NOTIFY)
            notified_ns[0] += l->lines[i].ended_ns;
}

struct moving {
    struct bpf_collector *c;
    const bool *slots;
    struct gs_lock_key *keys;
    size_t n, room;
};

static void move_one(void *context, const void *key, const void *value)
{
    struct moving *m = context;
    const struct gs_lock_key *k = key;
    uint32_t slot = bpf_slot_of(m->c, k->id);

    if (!slot || !m->slots[slot])
        return;
    struct bpf_locks *locks = m->c->processes[m->c->threads[slot].target].locks;
    if (locks)
        line_of(locks, k->code, k->at)->ended_ns += *(const uint64_t *)value;
    m->keys = mem_grow(m->keys, m->n, &m->room, sizeof *m->keys);
    m->keys[m->n++] = *k;
}

void bpf_locks_move(struct bpf_collector *c, const bool *slots)
{
    struct moving m = {.c = c, .slots = slots};

    bpf_each(c->lock_waits_fd, false, sizeof(struct gs_lock_key), sizeof(uint64_t), move_one, &m);
    for (size_t i = 0; i < m.n; i++)
        bpf_map_delete_elem(c->lock_waits_fd, &m.keys[i]);
    free(m.keys);
}

/* --- what was going on before ------------------------------------------------------------------------------------ */
void bpf_locks_open(const struct bpf_locks *l, struct gs_thread *t, const unsigned long long args[6], uint64_t sp)
{
    struct {
        uint32_t value, n_waiters, private;
    } s;
    uint64_t sem = args[0];
    unsigned char state = 3;
    int pid = l->found.pid;

    if (!t->tstate || !l->layout || (args[1] & 0x7f) != FUTEX_WAIT_BITSET || (uint32_t)args[2] || sem % 8 ||
        peer_read(pid, sem, &s, sizeof s) || !s.n_waiters || s.n_waiters >= 65536 || (s.private && s.private != 128))
        return;
    t->lock_since_ns = t->since_ns;
    if (sem - sp < 65536) {
        peer_read(pid, peer_pointer(pid, sem - 8), &state, sizeof state);
        t->lock_notifies = state != 3;
    }
    innermost(l, t->tstate, &t->lock_code, &t->lock_at);
}
