/* SPDX-License-Identifier: MIT */
/*
 * model.c - from the files of recordings to the model: one process each, in the order of their tree.
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mem.h"
#include "model-build.h"
#include "utf8.h"

/* The report shows a command in one line. */
#define COMMAND_BYTES 4096
/* The split into on and off CPU is an estimate if more than this part of the CPU time could be on either side. */
#define CPU_UNSURE_SHARE 0.05

static void add_loss(struct model_process *process, const char *cause, uint64_t count)
{
    if (count)
        process->losses[process->n_losses++] = (struct model_loss){cause, count};
}

static void build_losses(struct build *build)
{
    static const char *const names[] = REC_LOSS_NAMES;
    const struct reader_file *file = build->file;
    struct model_process *process = build->process;
    uint64_t unknown = 0,
             control = file->header.losses[REC_LOSS_CONTROL] + (build->keeps_pauses ? 0 : build->n_lost_toggles);

    process->losses = mem_zeroed(REC_LOSS_N + 5, sizeof *process->losses);
    for (size_t i = 0; i < REC_LOSS_N; i++)
        add_loss(process, names[i],
                 i == REC_LOSS_CONTROL ? control
                                       : file->header.losses[i] + (build->holds ? build->holds->header.losses[i] : 0));
    for (size_t i = REC_LOSS_N; i < REC_LOSS_MAX; i++) /* causes that only a newer version has a name for */
        unknown += file->header.losses[i];
    add_loss(process, "unknown", unknown);
    add_loss(process, "truncated", file->truncated);
    add_loss(process, "damaged_bytes", file->damaged_bytes);
    add_loss(process, "clock_rate", !build->calibrated);
    add_loss(process, "unexplained_us", build->unexplained_ns / 1000);
}

static void estimate(struct model_process *process, const char *field)
{
    process->estimated[process->n_estimated++] = field;
}

/* What a collector that looks from outside cannot know: takes and releases that made no call, and whether a semaphore
 * is a lock's.  The sampler knows nothing but samples. */
static void estimate_outside(struct model_process *process, uint32_t source)
{
    static const char *const bpf[] = {"held_oncpu_ns", "released_oncpu_ns", "held_ns",  "free_ns", "acquisitions",
                                      "hold",          "lock_wait_ns",      "lock_wait"};
    static const char *const sample[] = {"held_offcpu_ns", "released_offcpu_ns", "wait_blocked_ns", "wait_wakeup_ns",
                                         "wait_forced_ns", "charged_ns",         "contended",       "wait",
                                         "blocking"};

    for (size_t i = 0; source != REC_SOURCE_PRELOAD && i < sizeof bpf / sizeof *bpf; i++)
        estimate(process, bpf[i]);
    for (size_t i = 0; source == REC_SOURCE_SAMPLE && i < sizeof sample / sizeof *sample; i++)
        estimate(process, sample[i]);
}

static void build_estimated(struct build *build)
{
    struct model_process *process = build->process;
    uint32_t source = build->file->header.source;

    estimate_outside(process, source);
    if (source == REC_SOURCE_PRELOAD && build->cpu_unsure_ns > CPU_UNSURE_SHARE * (double)process->totals.oncpu_ns) {
        estimate(process, "held_oncpu_ns");
        estimate(process, "held_offcpu_ns");
        estimate(process, "released_oncpu_ns");
        estimate(process, "released_offcpu_ns");
    }
    if (build->file->header.losses[REC_LOSS_PAIRS] && source != REC_SOURCE_SAMPLE)
        estimate(process, "blocking");
    if (build->file->header.losses[REC_LOSS_CHARGES])
        estimate(process, "charged_ns");
}

/* The arguments of a /proc/PID/cmdline. */
static void build_argv(struct build *build)
{
    const struct reader_text *text = reader_text(build->file, REC_TEXT_COMMAND);
    struct model_process *process = build->process;
    size_t capacity = 0;

    for (size_t i = 0; text && i < text->length;) {
        size_t length = strnlen(text->bytes + i, text->length - i);
        process->argv = mem_grow(process->argv, process->argc, &capacity, sizeof *process->argv);
        process->argv[process->argc++] = utf8_clean(text->bytes + i, length);
        i += length + 1;
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* The index of the argument that names the program: behind an interpreter and its options. */
static size_t program_argument(const struct model_process *process)
{
    size_t i = 1;

    if (process->argc < 2 || strncmp(base_name(process->argv[0]), "python", 6))
        return 0;
    while (i + 1 < process->argc && process->argv[i][0] == '-' && !strchr("mc", process->argv[i][1]))
        i += strchr("WX", process->argv[i][1]) && process->argv[i][1] && !process->argv[i][2] ? 2 : 1;
    return i < process->argc ? i : 0;
}

/* What people call a command: without the interpreter and directories. */
static char *command_line(const struct model_process *process)
{
    size_t i = program_argument(process), n = 0;
    char *line = mem_zeroed(COMMAND_BYTES, 1);

    if (!process->argc)
        n = (size_t)snprintf(line, COMMAND_BYTES, "(command not known)");
    for (bool first = true; i < process->argc && n < COMMAND_BYTES; i++, first = false)
        n += (size_t)snprintf(line + n, COMMAND_BYTES - n, "%s%s", first ? "" : " ",
                              first ? base_name(process->argv[i]) : process->argv[i]);
    /* What was cut may have been cut within a character. */
    char *clean = utf8_clean(line, COMMAND_BYTES);
    free(line);
    return clean;
}

static char *rfc3339(int64_t realtime_ns)
{
    time_t seconds = (time_t)(realtime_ns / 1000000000);
    struct tm utc;
    char text[64];

    if (realtime_ns <= 0 || !gmtime_r(&seconds, &utc) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc))
        return mem_print("1970-01-01T00:00:00Z");
    return mem_print("%s.%03dZ", text, (int)(realtime_ns / 1000000 % 1000));
}

static const char *source_name(uint32_t source)
{
    switch (source) {
    case REC_SOURCE_PRELOAD:
        return "preload";
    case REC_SOURCE_BPF:
        return "bpf";
    case REC_SOURCE_SAMPLE:
        return "sample";
    default:
        return "unknown";
    }
}

static char *python_version(const struct rec_header *header)
{
    if (header->python_version[0])
        return utf8_clean(header->python_version, sizeof header->python_version);
    if (header->python_hex)
        return mem_print("%u.%u.%u", header->python_hex >> 24, header->python_hex >> 16 & 255,
                         header->python_hex >> 8 & 255);
    return mem_print("unknown");
}

static void build_process(struct model_process *process, const struct reader_file *file,
                          const struct reader_file *holds, struct reader_file *const *others, size_t n_others)
{
    struct build build = {.file = file, .holds = holds, .process = process};
    const struct rec_header *header = &file->header;
    const struct reader_text *inert = reader_text(file, REC_TEXT_INERT);

    build_time(&build, others, n_others);
    process->path = mem_print("%s", file->path);
    process->pid = header->pid;
    process->ppid = header->ppid;
    process->host = utf8_clean(header->host, sizeof header->host);
    process->python = python_version(header);
    process->source = source_name(header->source);
    process->start = rfc3339(header->start_realtime_ns);
    process->inert = inert ? utf8_clean(inert->bytes, inert->length) : NULL;
    process->stopped_ns = header->stopped_ns;
    process->free_threaded = header->free_threaded;
    process->complete = header->complete;
    process->running = build.running;
    build_end(&build);
    process->paused = header->n_toggles & 1;
    process->cpus = header->cpus ? header->cpus : 1;
    build_cpu_limit(&build);
    process->wall_ns = build_ns(&build, build.wall_ticks);
    process->n_threads_ever = header->n_threads;
    process->proc_start_jiffies = header->proc_start_jiffies;
    process->start_realtime_ns = header->start_realtime_ns;
    build_argv(&build);
    process->command = command_line(process);
    build_threads(&build);
    build_gils(&build);
    build_pairs(&build);
    build_totals(&build);
    build_stacks(&build);
    build_losses(&build);
    build_estimated(&build);
    build_note(&build);
}

/* For how long the second one was there, of the first one's time, in ns. */
static double time_together(const struct model_process *process, const struct model_process *other)
{
    double begin = (double)other->start_realtime_ns - (double)process->start_realtime_ns;
    double end = begin + (double)other->wall_ns, last = (double)process->wall_ns;

    begin = begin > 0 ? begin : 0;
    end = end < last ? end : last;
    return end > begin ? end - begin : 0;
}

/* What the other processes used of the processors of the same machine meanwhile, as if each had used the same all the
 * time. */
static void build_beside(struct model *model)
{
    for (size_t i = 0; i < model->n_processes; i++) {
        struct model_process *process = &model->processes[i];
        for (size_t j = 0; j < model->n_processes && process->wall_ns; j++) {
            const struct model_process *other = &model->processes[j];
            if (i != j && !strcmp(process->host, other->host))
                process->beside_cpus +=
                    other->totals.oncpu_cpus * time_together(process, other) / (double)process->wall_ns;
        }
    }
}

static void add_failure(struct model *model, size_t *capacity, const char *error)
{
    model->failures = mem_grow(model->failures, model->n_failures, capacity, sizeof *model->failures);
    model->failures[model->n_failures++].error = mem_print("%s", error);
}

void model_load(struct model *model, char *const *names, size_t n_names)
{
    struct reader_paths paths = {.n = 0};
    struct reader_file **files;
    size_t n_files = 0, capacity = 0;
    char error[READER_ERROR_BYTES];

    memset(model, 0, sizeof *model);
    for (size_t i = 0; i < n_names; i++)
        if (!reader_find(names[i], &paths, error))
            add_failure(model, &capacity, error);
    files = mem_zeroed(paths.n, sizeof *files);
    for (size_t i = 0; i < paths.n; i++) {
        if ((files[n_files] = reader_open(paths.path[i], error)))
            n_files++;
        else
            add_failure(model, &capacity, error);
    }
    model->processes = mem_zeroed(n_files, sizeof *model->processes);
    model->n_processes = n_files;
    for (size_t i = 0; i < n_files; i++) {
        struct reader_file *holds = reader_open_holds(files[i], error);
        if (error[0])
            add_failure(model, &capacity, error);
        build_process(&model->processes[i], files[i], holds, files, n_files);
        reader_close(holds);
    }
    build_beside(model);
    for (size_t i = 0; i < n_files; i++)
        verdict_judge(&model->processes[i]);
    build_tree(model);
    build_minor(model);

    for (size_t i = 0; i < n_files; i++)
        reader_close(files[i]);
    free(files);
    reader_paths_free(&paths);
}

static void free_process(struct model_process *process)
{
    for (size_t i = 0; i < process->argc; i++)
        free(process->argv[i]);
    for (size_t i = 0; i < process->n_threads; i++)
        free(process->threads[i].name);
    free(process->path);
    free(process->host);
    free(process->python);
    free(process->command);
    free(process->start);
    free(process->argv);
    free(process->inert);
    free(process->note);
    free(process->gils);
    free(process->threads);
    free(process->pairs);
    free(process->losses);
    build_stacks_free(&process->stacks);
    verdict_free(&process->verdict);
}

void model_free(struct model *model)
{
    for (size_t i = 0; i < model->n_processes; i++)
        free_process(&model->processes[i]);
    for (size_t i = 0; i < model->n_failures; i++)
        free(model->failures[i].error);
    free(model->processes);
    free(model->failures);
    memset(model, 0, sizeof *model);
}

const struct model_thread *model_find_thread(const struct model_process *process, uint32_t index)
{
    for (size_t i = 0; index && i < process->n_threads; i++)
        if (process->threads[i].index == index)
            return &process->threads[i];
    return NULL;
}
