/* SPDX-License-Identifier: MIT */
/* shim-native.c - native frames of the calling thread, and the objects in which their code lies. */
#define _GNU_SOURCE
#include "shim-native.h"

#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim-file.h"
#include "shim-libc.h"
#include "shim-name.h"
#include "shim-stack.h"
#include "shim-text.h"
#include "shim-unwind.h"

#define OBJECTS 2048
#define OWN_FRAMES 8     /* of the shim and libunwind, at most, in front of the program's */
#define LETS_GO_FRAMES 4 /* from drop_gil out to the evaluation loop, or to a function that lets go */

static shim_backtrace *backtrace_of;

struct object {
    uint64_t start, end;
    struct rec_object *rec;
    uint32_t first_generation;
    bool seen;
};
static struct object *objects; /* those that are there */
static uint32_t n_objects;
static uint32_t generation;
static uint64_t last_adds, last_subs; /* of the dynamic loader, at the last look */
static uint64_t own_start, own_end;   /* the shim's code */
static bool greenlets;

/* --- callees ----------------------------------------------------------------------------------------------------- */
static struct {
    uint64_t start, end;
} save_thread, eval_loop;

static void find(void *scope, const char *name, uint64_t *start, uint64_t *end)
{
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    void *at = dlsym(scope, name);
    *start = *end = (uint64_t)(uintptr_t)at;
    if (at && dladdr1 && dladdr1(at, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && info.dli_saddr == at)
        *end = *start + symbol->st_size;
}

void shim_native_find_interpreter(void *scope)
{
    find(scope, "PyEval_SaveThread", &save_thread.start, &save_thread.end);
    find(scope, "_PyEval_EvalFrameDefault", &eval_loop.start, &eval_loop.end);
}

void shim_native_add_callee(struct shim_half *half, uint64_t function)
{
    uint32_t last = half->n < LETS_GO_FRAMES ? half->n : LETS_GO_FRAMES, cut = 0;
    for (uint32_t i = 0; i < last; i++) {
        if (half->native[i] > save_thread.start && half->native[i] <= save_thread.end)
            return; /* a function that does so itself is on the stack */
        if (half->native[i] > eval_loop.start && half->native[i] <= eval_loop.end) {
            cut = i;
            break;
        }
    }
    if (half->n + 1 - cut > SHIM_NATIVE_FRAMES)
        return;
    memmove(half->native + 1, half->native + cut, (half->n - cut) * sizeof *half->native);
    half->native[0] = function + 1; /* like an address that a call inside of it returns to */
    half->n += 1 - cut;
    half->callee = 1;
}

/* --- forks ------------------------------------------------------------------------------------------------------- */
#define FORK_WAITS 400 /* of 50 us: a thread that is in there may have been switched out */

static uint32_t n_inside, n_forking;
static bool several_threads; /* there were, at the last fork */

/* The directory has a link for each thread, and two of its own.  Where /proc is not there, many. */
static bool has_several_threads(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) != 0 || st.st_nlink != 3;
}

static bool go_in(void)
{
    __atomic_fetch_add(&n_inside, 1, __ATOMIC_SEQ_CST);
    if (LIKELY(!__atomic_load_n(&n_forking, __ATOMIC_SEQ_CST)))
        return true;
    __atomic_fetch_sub(&n_inside, 1, __ATOMIC_RELEASE);
    return false;
}

static void go_out(void)
{
    __atomic_fetch_sub(&n_inside, 1, __ATOMIC_RELEASE);
}

void shim_native_before_fork(void)
{
    const struct timespec moment = {0, 50000};
    int saved_errno = errno;
    __atomic_fetch_add(&n_forking, 1, __ATOMIC_SEQ_CST);
    several_threads = backtrace_of && has_several_threads();
    for (int i = 0; i < FORK_WAITS && __atomic_load_n(&n_inside, __ATOMIC_SEQ_CST); i++)
        syscall(SYS_nanosleep, &moment, NULL); /* not the libc's, which is a cancellation point */
    errno = saved_errno;
}

void shim_native_after_fork(void)
{
    __atomic_fetch_sub(&n_forking, 1, __ATOMIC_SEQ_CST);
}

void shim_native_in_child(void)
{
    /* Any thread of the program itself may have had the loader's lock, which the child would then wait for without ever
     * having asked for it: to load something, to throw an exception.  Or one of ours was inside for longer than we
     * wait, or this is a signal handler on top of us. */
    if (several_threads || n_inside)
        backtrace_of = NULL;
    n_inside = n_forking = 0;
}

bool shim_native_open(void)
{
    static bool tried;
    if (tried)
        return backtrace_of != NULL;
    tried = true;
    backtrace_of = shim_unwind_open();
    return backtrace_of != NULL;
}

bool shim_native_is_open(void)
{
    return backtrace_of != NULL;
}

void shim_native_reset(void)
{
    n_objects = 0;
    generation = 0;
    last_adds = last_subs = 0;
}

uint32_t shim_native_generation(void)
{
    return __atomic_load_n(&generation, __ATOMIC_RELAXED);
}

/* --- objects ----------------------------------------------------------------------------------------------------- */
/* The build id of an object, from its notes in memory: {name size, size, type, "GNU", id}.  How many bytes. */
static uint32_t read_build_id(const struct dl_phdr_info *info, unsigned char *id)
{
    unsigned char bytes[1024];
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        size_t n = p->p_memsz < sizeof bytes ? p->p_memsz : sizeof bytes;
        if (p->p_type != PT_NOTE || shim_name_read_self((const void *)(info->dlpi_addr + p->p_vaddr), bytes, n) != 0)
            continue;
        for (size_t at = 0; at + 12 <= n;) {
            uint32_t head[3];
            memcpy(head, bytes + at, sizeof head);
            size_t name = at + 12, text = name + ((head[0] + 3u) & ~3u);
            if (head[0] > n || head[1] > n || text + head[1] > n)
                break;
            if (head[2] == 3 /* NT_GNU_BUILD_ID */ && head[0] == 4 && memcmp(bytes + name, "GNU", 4) == 0 &&
                head[1] <= REC_BUILD_ID_BYTES) {
                memcpy(id, bytes + text, head[1]);
                return head[1];
            }
            at = text + ((head[1] + 3u) & ~3u);
        }
    }
    return 0;
}

/* The path of an object as others can open it. */
static void path_of(const char *name, struct shim_text *path)
{
    if (!*name) {
        ssize_t n = readlink("/proc/self/exe", path->bytes, path->room - 1);
        path->used = n > 0 ? (size_t)n : 0;
        path->bytes[path->used] = 0;
        return;
    }
    if (*name != '/' && strchr(name, '/') && getcwd(path->bytes, path->room - 1)) {
        path->used = strlen(path->bytes);
        shim_text_add(path, "/");
    }
    shim_text_add(path, name);
}

static void add_object(const struct dl_phdr_info *info, uint64_t start, uint64_t end)
{
    static char bytes[SHIM_PATH_BYTES]; /* inside shim_stack_enter */
    struct shim_text path;
    if (n_objects == OBJECTS)
        return;
    shim_text_init(&path, bytes, sizeof bytes);
    path_of(info->dlpi_name, &path);
    uint32_t path_cell = shim_stack_string(path.bytes, path.used);
    struct rec_object *rec = path_cell ? shim_file_record(sizeof *rec) : NULL;
    if (!rec)
        return;
    rec->path = path_cell;
    rec->build_id_bytes = read_build_id(info, rec->build_id);
    rec->start = start;
    rec->end = end;
    rec->bias = info->dlpi_addr;
    rec->first_generation = generation;
    shim_file_publish(rec, REC_OBJECT);
    objects[n_objects++] = (struct object){start, end, rec, generation, true};
    greenlets |= strstr(path.bytes, "_greenlet") != NULL;
}

/* Where its code is, from the first executable segment to the last. */
static bool code_range(const struct dl_phdr_info *info, uint64_t *start, uint64_t *end)
{
    *start = UINT64_MAX;
    *end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uint64_t from = info->dlpi_addr + p->p_vaddr;
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
            continue;
        *start = from < *start ? from : *start;
        *end = from + p->p_memsz > *end ? from + p->p_memsz : *end;
    }
    return *start < *end;
}

enum { MARK, ADD };

static int visit(struct dl_phdr_info *info, size_t size, void *pass)
{
    uint64_t start, end;
    (void)size;
    if (!code_range(info, &start, &end))
        return 0;
    for (uint32_t i = 0; i < n_objects; i++)
        if (objects[i].start == start && objects[i].end == end && objects[i].rec->bias == info->dlpi_addr) {
            objects[i].seen = true;
            return 0;
        }
    if (*(int *)pass == ADD)
        add_object(info, start, end);
    return 0;
}

/* What was unmapped and what is new.  An object in the very place of another of the same size, loaded between two
 * looks, is taken for it. */
static void look_again(void)
{
    int pass = MARK;
    bool gone = false;
    if (!objects) {
        void *room = mmap(NULL, OBJECTS * sizeof *objects, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room == MAP_FAILED)
            return;
        objects = room;
    }
    for (uint32_t i = 0; i < n_objects; i++)
        objects[i].seen = false;
    dl_iterate_phdr(visit, &pass);
    for (uint32_t i = 0; i < n_objects;) {
        if (objects[i].seen) {
            i++;
            continue;
        }
        if (!gone)
            __atomic_store_n(&generation, generation + 1, __ATOMIC_RELAXED);
        gone = true;
        __atomic_store_n(&objects[i].rec->end_generation, generation, __ATOMIC_RELAXED);
        objects[i] = objects[--n_objects];
    }
    pass = ADD;
    dl_iterate_phdr(visit, &pass);
    uint64_t here = (uint64_t)(uintptr_t)&shim_native_take;
    for (uint32_t i = 0; i < n_objects; i++)
        if (objects[i].start <= here && here < objects[i].end) {
            own_start = objects[i].start;
            own_end = objects[i].end;
        }
}

struct counters {
    uint64_t adds, subs;
};

static int read_counters(struct dl_phdr_info *info, size_t size, void *to)
{
    (void)size;
    *(struct counters *)to = (struct counters){info->dlpi_adds, info->dlpi_subs};
    return 1;
}

bool shim_native_still(const uint64_t *addresses, uint32_t n, uint32_t since)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n_objects; j++)
            if (objects[j].start <= addresses[i] && addresses[i] < objects[j].end) {
                if (objects[j].first_generation > since)
                    return false;
                break;
            }
    return true;
}

/* --- what was done without the GIL ------------------------------------------------------------------------------- */
static bool in_interpreter(uint64_t address)
{
    for (uint32_t i = 0; i < n_objects; i++)
        if (objects[i].start <= save_thread.start && save_thread.start < objects[i].end)
            return objects[i].start <= address && address < objects[i].end;
    return false;
}

void shim_native_add_released(struct shim_half *half, uint64_t function)
{
    uint32_t i = 0;
    while (i < half->n && in_interpreter(half->native[i]) &&
           !(half->native[i] > eval_loop.start && half->native[i] <= eval_loop.end))
        i++;
    if (i == 0 || i == half->n)
        return;
    half->n -= --i;
    memmove(half->native, half->native + i, half->n * sizeof *half->native);
    half->native[0] = function + 1;
    half->callee = 1;
}

/* --- frames ------------------------------------------------------------------------------------------------------ */
void shim_native_take(struct shim_half *half)
{
    struct counters now = {0, 0};
    half->n = 0;
    half->flags = half->callee = 0;
    if (!go_in())
        return;
    dl_iterate_phdr(read_counters, &now);
    if ((now.adds != last_adds || now.subs != last_subs || !n_objects) && shim_stack_enter()) {
        look_again();
        last_adds = now.adds;
        last_subs = now.subs;
        shim_stack_leave();
    }
    half->generation = shim_native_generation();
    int n = backtrace_of((void **)half->native, SHIM_NATIVE_FRAMES);
    go_out();
    int own = 0;
    while (own < n && own < OWN_FRAMES && half->native[own] >= own_start && half->native[own] < own_end)
        own++;
    if (n <= own)
        return;
    half->n = (uint32_t)(n - own);
    memmove(half->native, half->native + own, half->n * sizeof *half->native);
    half->flags = (n == SHIM_NATIVE_FRAMES ? REC_STACK_NATIVE_CUT : 0) | (greenlets ? REC_STACK_GREENLET : 0);
}
