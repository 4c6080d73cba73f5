/* SPDX-License-Identifier: MIT */
/* shim-life.c - the process: start, fork, end, and the reasons for staying inert. */
#define _GNU_SOURCE
#include "shim-life.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "config.h"
#include "shim-bus.h"
#include "shim-clock.h"
#include "shim-cpu.h"
#include "shim-file.h"
#include "shim-fold.h"
#include "shim-gil.h"
#include "shim-host.h"
#include "shim-libc.h"
#include "shim-native.h"
#include "shim-python.h"
#include "shim-quick.h"
#include "shim-sample.h"
#include "shim-say.h"
#include "shim-text.h"
#include "shim-thread.h"
#include "shim.h"

static char output[SHIM_PATH_BYTES]; /* absolute; empty = not given */
static bool start_paused;
static bool without_native, without_stacks;
static bool readable;             /* by the user's other processes, in spite of Yama's ptrace_scope 1 */
static uint64_t sample_us = 1000; /* between two samples of a thread's stack, on average */
static bool ready;                /* the constructor has run */
static bool said;                 /* this process has been told why it stays inert */
static char strange_option[64];   /* in GILSCOPE */
static uint64_t start_ticks, start_cpu_ns, start_process_cpu_ns;
static uint64_t known_ticks; /* so many passed in known_ns, in the parent; 0 = it did not know either */
static int64_t known_ns;
#define RATE_LEAST_NS 1000000 /* between two points; each is within some 50 ns */
static int64_t start_mono_ns;
static struct shim_python python;
static uint32_t generations;
uint32_t shim_life_leaving;

/* GILs that a forked child may meet again; the registry itself is wiped there. */
static const void *known_conds[SHIM_GILS];
static uint32_t n_known_conds;

/* --- inert ------------------------------------------------------------------------------------------------------- */
static void stay_inert(const char *reason, const char *object, const char *detail)
{
    if (!said)
        shim_say(SHIM_SAY_INERT, "not measuring", reason, object, detail);
    said = true;
}

static bool supported(const struct shim_python *p)
{
    if (p->found && !shim_libc_is_glibc()) {
        stay_inert("the program's C library is not glibc, CPython", p->version, NULL);
    } else if (p->pypy) {
        stay_inert("PyPy's GIL is not CPython's; the program runs on unmeasured", NULL, NULL);
    } else if (p->found && p->hex < 0x03080000) {
        stay_inert("CPython 3.8 or newer is needed, this is", p->version, NULL);
    } else if (p->found && p->free_threaded) {
        stay_inert("a free-threaded build has no GIL to measure, this is CPython", p->version, NULL);
    } else {
        return true;
    }
    return false;
}

/* Everything that says "measure".  Threads that are in the middle of a wrapper go on with what they have. */
static void stop(void)
{
    __atomic_store_n(&SHIM.ended, 1, __ATOMIC_RELAXED);
    SHIM.mutex = SHIM.cond = SHIM.switch_cond = NULL;
    SHIM.filter = 0;
}

void shim_life_storage_failed(const char *path)
{
    stop();
    SHIM.generation = 0;
    if (!said)
        shim_say(SHIM_SAY_INERT, "stopped measuring", "the file was cut short, or its disk failed:", path, NULL);
    said = true;
}

void shim_life_layout_unknown(const void *caller)
{
    struct shim_python p;
    T.busy = 1;
    shim_python_identify(&p, caller);
    T.busy = 0;
    if (p.found)
        stay_inert("the GIL of this build has an unknown layout, CPython", p.version, NULL);
}

/* --- start ------------------------------------------------------------------------------------------------------- */
/* "500us", "1ms", "0.5" is none: a whole number of us, ms or s, from 20 us to 10 s. */
static bool read_interval(const char *s, uint64_t *us)
{
    uint64_t n = 0;
    int digits = 0;
    for (; *s >= '0' && *s <= '9' && digits < 9; s++, digits++)
        n = n * 10 + (uint64_t)(*s - '0');
    uint64_t unit = strcmp(s, "us") == 0 ? 1 : strcmp(s, "ms") == 0 ? 1000 : strcmp(s, "s") == 0 ? 1000000 : 0;
    if (!digits || n * unit < 20 || n * unit > 10000000)
        return false;
    *us = n * unit;
    return true;
}

/* GILSCOPE=output=DIR,paused with \ before a comma or backslash that is part of DIR. */
static void read_options(const char *s)
{
    char word[SHIM_PATH_BYTES];
    while (s && *s) {
        struct shim_text text;
        shim_text_init(&text, word, sizeof word);
        for (; *s && *s != ','; s++) {
            if (*s == '\\' && s[1])
                s++;
            shim_text_char(&text, *s);
        }
        s += *s == ',';
        if (strcmp(word, "paused") == 0) {
            start_paused = true;
        } else if (strcmp(word, "ptracer") == 0) {
            readable = true;
        } else if (strcmp(word, "no-native") == 0) {
            without_native = true;
        } else if (strcmp(word, "no-stacks") == 0) {
            without_stacks = true;
        } else if (strncmp(word, "sample=", 7) == 0 && read_interval(word + 7, &sample_us)) {
            /* as told */
        } else if (strncmp(word, "output=", 7) == 0 && word[7] && !text.cut) {
            struct shim_text path;
            shim_text_init(&path, output, sizeof output);
            if (word[7] != '/' && getcwd(output, sizeof output)) {
                path.used = strlen(output);
                shim_text_add(&path, "/");
            }
            shim_text_add(&path, word + 7);
            /* "link/" and "link/." are what the link leads to, whoever has made it: see make_file(). */
            while (path.used > 1 &&
                   (output[path.used - 1] == '/' || (output[path.used - 1] == '.' && output[path.used - 2] == '/')))
                output[--path.used] = 0;
        } else if (word[0]) {
            shim_text_init(&text, strange_option, sizeof strange_option);
            shim_text_add(&text, word);
        }
    }
}

static void start(void)
{
    if (ready)
        return;
    ready = true;
    shim_say_start();
    shim_clock_choose();
    shim_clock_both(&start_ticks, &start_mono_ns);
    start_cpu_ns = shim_cpu_ns(0);
    start_process_cpu_ns = shim_cpu_process_ns();
    if (!getauxval(AT_SECURE))
        read_options(getenv("GILSCOPE"));
}

uint64_t shim_life_start_cpu_ns(void)
{
    return start_cpu_ns ? start_cpu_ns : 1;
}

__attribute__((constructor)) static void constructor(void)
{
    int saved_errno = errno;
    shim_real_resolve();
    shim_quick_choose();
    start();
    struct shim_python p;
    T.busy = 1;
    shim_python_identify(&p, NULL);
    T.busy = 0;
    supported(&p);
    errno = saved_errno;
}

/* --- fork -------------------------------------------------------------------------------------------------------- */
static void before_fork(void)
{
    const struct rec_header *h = SHIM.header;
    if (SHIM.n_toggles) {
        start_paused = *SHIM.n_toggles & 1;
        uint64_t ticks = __atomic_load_n(&h->rate_ticks, __ATOMIC_ACQUIRE);
        known_ticks = ticks ? ticks - h->start_ticks : h->first_ticks ? h->first_ticks - h->start_ticks : 0;
        known_ns = (ticks ? h->rate_mono_ns : h->first_mono_ns) - h->start_mono_ns;
    }
    shim_native_before_fork();
}

static void in_forked_child(void)
{
    uint32_t n_inits = T.n_inits;
    shim_file_forget();
    memset(&T, 0, sizeof T);
    T.n_inits = n_inits & 3 ? 0 : n_inits;
    said = false;
    shim_bus_in_child();
    start_cpu_ns = start_process_cpu_ns = 1;
    shim_life_leaving = 0;
    shim_sample_forget();
    shim_native_in_child();
    shim_fold_forget();
}

bool shim_life_is_forked_gil(const void *cond)
{
    for (uint32_t i = 0; i < n_known_conds && i < SHIM_GILS; i++)
        if (known_conds[i] == cond)
            return true;
    return false;
}

/* --- a recording ------------------------------------------------------------------------------------------------- */
static void default_output(struct shim_text *path)
{
    path->used = getcwd(output, sizeof output) ? strlen(output) : 0;
    shim_text_add(path, "/python-");
    shim_text_number(path, (uint64_t)getpid());
    shim_text_add(path, REC_DIR_SUFFIX);
}

/* A child has learnt the rate from its parent. */
static void set_rate(struct rec_header *h, uint64_t now_ticks, int64_t now_mono_ns)
{
    if (now_mono_ns - h->start_mono_ns >= RATE_LEAST_NS) {
        h->first_ticks = now_ticks;
        h->first_mono_ns = now_mono_ns;
    } else if (known_ticks) {
        h->first_ticks = h->start_ticks + known_ticks;
        h->first_mono_ns = h->start_mono_ns + known_ns;
    }
}

bool shim_life_activate(const void *cond, const void *caller, uint64_t *since)
{
    int saved_errno = errno;
    bool forked = shim_life_is_forked_gil(cond);
    start();
    if (said || getauxval(AT_SECURE))
        return false;
    if (!forked) {
        shim_python_identify(&python, caller);
        if (!supported(&python))
            return false;
        if (!python.found) { /* something else with the same four calls: none of our business, and not worth a word */
            errno = saved_errno;
            return false;
        }
    }
    shim_say_share();
    if (strange_option[0])
        shim_say(SHIM_SAY_OPTION, "measuring", "but GILSCOPE has an option without a meaning", strange_option,
                 "see gilscope(1)");
    static bool output_is_default;
    if (!output[0] || output_is_default) {
        struct shim_text path;
        shim_text_init(&path, output, sizeof output);
        default_output(&path);
        output_is_default = true;
    }
    if (readable)
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* EINVAL without Yama: then there is nothing to allow */
    const char *why;
    int error = 0;
    if (!shim_file_open(output, &why, &error)) {
        stay_inert(why, output, shim_say_error(error));
        errno = saved_errno;
        return false;
    }
    struct rec_header *h = SHIM.header;
    uint64_t now_ticks;
    int64_t now_mono_ns;
    shim_clock_both(&now_ticks, &now_mono_ns);
    shim_clock_rate(start_ticks, start_mono_ns, now_ticks, now_mono_ns);
    if (forked) {
        start_ticks = now_ticks;
        start_mono_ns = now_mono_ns;
    }
    h->start_realtime_ns -= now_mono_ns - start_mono_ns;
    h->start_ticks = start_ticks;
    h->start_mono_ns = start_mono_ns;
    h->beat_ticks = now_ticks;
    h->beat_mono_ns = now_mono_ns;
    h->cpu_last_ns = start_process_cpu_ns;
    set_rate(h, now_ticks, now_mono_ns);
    h->python_hex = SHIM.python_hex = python.hex;
    memcpy(h->python_version, python.version, sizeof h->python_version);
    memcpy(h->tool_version, PACKAGE_VERSION, sizeof PACKAGE_VERSION);
    shim_host_describe(h);
    if (start_paused) {
        h->toggle_ticks[0] = start_ticks;
        h->n_toggles = 1;
    }
    SHIM.n_toggles = &h->n_toggles;
    madvise(&shim_pages, sizeof shim_pages, MADV_WIPEONFORK);
    static bool registered;
    if (!registered) {
        registered = true;
        shim_libc_atfork(before_fork, shim_native_after_fork, in_forked_child);
        shim_thread_init();
    }
    if (!forked && n_known_conds < SHIM_GILS)
        known_conds[n_known_conds++] = cond;
    shim_bus_start();
    shim_sample_start(without_stacks ? 0 : sample_us, !without_native, python.runtime);
    *since = start_ticks;
    /* The magic makes it a recording: from here on it can be read. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(h->magic, REC_MAGIC, sizeof h->magic);
    if (!shim_file_finish()) {
        stay_inert("cannot name the recording in", output, shim_say_error(errno));
        shim_file_forget();
        errno = saved_errno;
        return false;
    }
    SHIM.generation = ++generations;
    errno = saved_errno;
    return true;
}

#define LEAVING_NS 1000000000 /* who waits for such a thread at the end does so in vain for no longer */

static int64_t leaving_since_ns;

bool shim_life_wait_on(const void *cond)
{
    /* A program that ends without Py_FinalizeEx() may have destructors that wait for Python's threads. */
    return SHIM.python_hex >= 0x03090000 && SHIM.python_hex < 0x030b0000 && shim_gil_find(cond, 1) &&
           shim_clock_monotonic_ns() - leaving_since_ns < LEAVING_NS &&
           (!python.is_initialized || !python.is_initialized());
}

/* Daemon threads may call the wrappers until the process is gone: they find no GIL any more and are passed on, and
 * nothing is unmapped under them. */
__attribute__((destructor)) static void destructor(void)
{
    if (!SHIM.generation || T.busy)
        return;
    int saved_errno = errno, cancel = shim_cancel_later();
    leaving_since_ns = shim_clock_monotonic_ns();
    __atomic_store_n(&shim_life_leaving, 1, __ATOMIC_RELEASE);
    shim_sample_close(shim_ticks());
    stop();
    shim_thread_close_all();
    shim_cancel_again(cancel);
    errno = saved_errno;
}
