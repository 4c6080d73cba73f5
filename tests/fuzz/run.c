/* SPDX-License-Identifier: MIT */
/*
 * run.c - one execution: a recording in memory goes through the reader, the model, every view and the dump.
 */
#include <fcntl.h>
#include <locale.h>
#include <sanitizer/allocator_interface.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "fuzz.h"
#include "record.h"
#include "report.h"
#include "symbols-file.h"
#include "view.h"

static const struct view *const views[] = {&view_text, &view_json,       &view_html, &view_folded,
                                           &view_svg,  &view_speedscope, &view_pprof};
#define N_VIEWS (sizeof views / sizeof views[0])

static int recording_fd, sink_fd;
static struct {
    const uint8_t *bytes;
    size_t n;
} recording; /* what is in recording_fd, as far as anybody reads it */
static FILE *sink;
static size_t live_bytes, peak_bytes;
static bool counting;

__attribute__((noreturn, format(printf, 1, 2))) static void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

/* Only what an execution allots is counted: what lived before it and is freed in it does not exist here. */
static void on_malloc(const volatile void *memory, size_t size)
{
    if (!counting || !memory)
        return;
    live_bytes += size;
    if (live_bytes > peak_bytes)
        peak_bytes = live_bytes;
}

static void on_free(const volatile void *memory)
{
    size_t size = counting && memory ? __sanitizer_get_allocated_size(memory) : 0;

    live_bytes -= size < live_bytes ? size : live_bytes;
}

/* The linker puts this in front of the real one (--wrap).  The files with the symbols are not part of the input, and to
 * read them takes a thousand times as long as all the rest. */
struct symbols_file *__wrap_symbols_file_open(const char *path, const unsigned char *build_id, size_t n_build_id);
struct symbols_file *__wrap_symbols_file_open(const char *path, const unsigned char *build_id, size_t n_build_id)
{
    (void)path, (void)build_id, (void)n_build_id;
    return NULL;
}

/* The only pread() is the reader's, of the recording: its bytes come from memory, not by way of the kernel. */
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t offset)
{
    size_t at = (size_t)offset, n;

    (void)fd;
    if (offset < 0 || at >= recording.n)
        return 0;
    n = size < recording.n - at ? size : recording.n - at;
    memcpy(to, recording.bytes + at, n);
    return (ssize_t)n;
}

/* Between two readings of what somebody may be writing; nobody writes here. */
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time, (void)left;
    return 0;
}

static ssize_t swallow(void *cookie, const char *bytes, size_t size)
{
    void *bad = __asan_region_is_poisoned((void *)bytes, size); /* all of it has to be there */

    (void)cookie;
    if (bad)
        give_up("output of %zu bytes at %p of which %p is not the program's", size, (const void *)bytes, bad);
    return (ssize_t)size;
}

static void begin(void)
{
    static const cookie_io_functions_t functions = {.write = swallow};

    if (sink)
        return;
    setlocale(LC_ALL, "C.UTF-8");
    recording_fd = memfd_create("recording", MFD_CLOEXEC);
    sink_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    sink = fopencookie(NULL, "w", functions);
    if (recording_fd < 0 || sink_fd < 0 || !sink)
        give_up("the fuzzer cannot work here: no memory file, or no /dev/null");
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

/* What must be true of every model, whatever was in the file. */
static void check_model(const struct model *model)
{
    for (size_t i = 0; i < model->n_processes; i++) {
        const struct model_process *process = &model->processes[i];
        if (process->verdict.confidence < 0 || process->verdict.confidence > 1)
            give_up("a confidence of %g", process->verdict.confidence);
        for (size_t j = 0; j < process->n_threads; j++) {
            const struct model_thread *thread = &process->threads[j];
            const struct model_states *s = &thread->states;
            const uint64_t states[] = {s->held_oncpu_ns,  s->held_offcpu_ns,    s->wait_blocked_ns,   s->wait_wakeup_ns,
                                       s->wait_forced_ns, s->released_oncpu_ns, s->released_offcpu_ns};
            if (!thread->name || !thread->name[0])
                give_up("a thread without a name");
            for (size_t k = 0; k < sizeof states / sizeof states[0]; k++)
                if (states[k] > INT64_MAX) /* in JSON it would be negative */
                    give_up("thread %u: %llu ns in state %zu", thread->tid, (unsigned long long)states[k], k);
        }
    }
}

static unsigned hash_of(const uint8_t *data, size_t size)
{
    unsigned hash = 2166136261u;

    for (size_t i = 0; i < size; i += 7)
        hash = (hash ^ data[i]) * 16777619u;
    return hash >> 8;
}

/* In every other execution, since it takes twice as long as all else: one view of the model.  JSON, which has all
 * numbers, is twice as likely as the others.  By the contents: what is found can be found again. */
static void render(const struct model *model, unsigned chosen)
{
    struct view_options options = {.view = (enum model_view)(chosen % MODEL_VIEWS), .view_given = chosen & 16};
    size_t drawn = chosen / 32 % (N_VIEWS + 1);
    const struct view *view = drawn < N_VIEWS ? views[drawn] : &view_json;

    if (chosen / 8192 % 2)
        return;
    if (view->needs & VIEW_NEEDS_TERMINAL) {
        options.columns = chosen & 1024 ? 40 : 120;
        options.color = chosen & 2048;
        options.utf8 = !(chosen & 4096);
        options.recording = "recording";
    }
    view->render(model, &options, sink);
    fflush(sink);
}

static char links[] = "/tmp/gilscope-fuzz-XXXXXX", gil[sizeof links + 8], holds[sizeof links + 8];

static void remove_links(void)
{
    unlink(gil);
    unlink(holds);
    rmdir(links);
}

/* A path that ends in .gil, beside which there is one that ends in .holds, of the same file. */
static char *as_both(const char *path)
{
    if (gil[0])
        return gil;
    if (!mkdtemp(links))
        give_up("no directory can be made in /tmp");
    snprintf(gil, sizeof gil, "%s/x.gil", links);
    snprintf(holds, sizeof holds, "%s/x.holds", links);
    if (symlink(path, gil) || symlink(path, holds))
        give_up("no links can be made in %s", links);
    atexit(remove_links);
    return gil;
}

static void dump(char *path)
{
    char name[] = "dump", *argv[] = {name, path, NULL};
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);

    fflush(stdout);
    dup2(sink_fd, STDOUT_FILENO);
    dup2(sink_fd, STDERR_FILENO);
    cmd_dump(2, argv);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
}

void fuzz_run(const uint8_t *data, size_t size)
{
    unsigned chosen = hash_of(data, size);
    struct model model;
    char path[64], *names[] = {path};
    uint32_t source = 0;

    begin();
    if (size > FUZZ_BYTES_MAX)
        size = FUZZ_BYTES_MAX;
    if (size != recording.n && ftruncate(recording_fd, (off_t)size))
        give_up("the memory file cannot be given a size");
    recording.bytes = data;
    recording.n = size;
    snprintf(path, sizeof path, "/proc/self/fd/%d", recording_fd);
    if (size >= offsetof(struct rec_header, source) + sizeof source)
        memcpy(&source, data + offsetof(struct rec_header, source), sizeof source);
    if (source == REC_SOURCE_HOLDS) /* it is a process's recording and what was seen of its holds at once */
        names[0] = as_both(path);

    live_bytes = peak_bytes = 0;
    counting = true;
    model_load(&model, names, 1);
    check_model(&model);
    render(&model, chosen);
    model_free(&model);
    if (chosen / 16384 % 32 == 0)
        dump(path);
    counting = false;
    if (peak_bytes > FUZZ_ALLOTTED_MAX(size))
        give_up("%zu bytes allotted for a file of %zu", peak_bytes, size);
}

void fuzz_check_formats(void)
{
    char names[256] = "";

    for (size_t i = 0; i < N_VIEWS; i++) {
        strcat(names, i ? ", " : "");
        strcat(names, views[i]->name);
    }
    if (strcmp(names, report_formats()))
        give_up("formats of `gilscope report`: %s; here: %s", report_formats(), names);
}
