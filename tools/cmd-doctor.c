/* SPDX-License-Identifier: MIT */
/*
 * cmd-doctor.c - `gilscope doctor`: what works on this machine, what is missing.
 */
#include "config.h"

#include <argp.h>
#include <dirent.h>
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd.h"
#include "doctor.h"
#include "label.h"
#include "paths.h"
#include "procinfo.h"
#include "record.h"

#define MAX_PYTHONS 64

struct found { /* the Pythons that were tried, by the interpreter that ran in the end */
    char *real_path[MAX_PYTHONS];
    int n;
    int n_measured;
    uint32_t clock;
    char broken[1024]; /* names of those that do not run, such as a version manager's wrappers for what it lacks */
};

void doctor_line(const char *what, enum doctor_word word, const char *format, ...)
{
    static const char *const words[] = {"ok", "missing", "note"};
    char text[6000];
    va_list args;

    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    while (length > 0 && length < (int)sizeof text && text[length - 1] == ' ')
        text[--length] = '\0';
    char *plain = label_plain(text, ""); /* paths are other people's data */
    printf("  %-13s %-8s %s\n", what, words[word], plain);
    free(plain);
}

static int already_tried(struct found *found, const char *path)
{
    for (int i = 0; i < found->n; i++) {
        if (!strcmp(found->real_path[i], path))
            return 1;
    }
    return 0;
}

static void remember(struct found *found, const char *path)
{
    if (found->n < MAX_PYTHONS && (found->real_path[found->n] = strdup(path)))
        found->n++;
}

/* python, python3, python3.11, python3.13t, pypy3: not python3-config. */
static int is_python_name(const char *name)
{
    const char *rest = !strncmp(name, "python", 6) ? name + 6 : !strncmp(name, "pypy", 4) ? name + 4 : NULL;

    if (!rest)
        return 0;
    rest += strspn(rest, "0123456789.");
    return !strcmp(rest, "") || !strcmp(rest, "t");
}

static void try_python(struct found *found, const char *path, const char *shim)
{
    struct doctor_trial trial;
    char details[1024], *real_path = realpath(path, NULL);

    if (!real_path || already_tried(found, real_path) || found->n >= MAX_PYTHONS) {
        free(real_path);
        return;
    }
    enum doctor_word word = doctor_try_python(path, shim, &trial, details, sizeof details);
    remember(found, real_path);
    if (!trial.ran && word == DOCTOR_NOTE) {
        size_t n = strlen(found->broken);
        snprintf(found->broken + n, sizeof found->broken - n, "%s%s", n ? " " : "", path);
        free(real_path);
        return;
    }
    /* A wrapper script may have led to an interpreter that has its line already. */
    int known = strcmp(trial.real_path, real_path) && already_tried(found, trial.real_path);
    if (!known) {
        doctor_line("python", word, "%s: %s", path, details);
        found->n_measured += word == DOCTOR_OK;
        if (word == DOCTOR_OK)
            found->clock = trial.clock;
        remember(found, trial.real_path);
    }
    free(real_path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_python_entry(const struct dirent *entry)
{
    return is_python_name(entry->d_name);
}

static void try_directory(struct found *found, const char *dir, const char *shim)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, is_python_entry, by_name);

    for (int i = 0; i < n; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", dir, entries[i]->d_name) >= 0) {
            if (!access(path, X_OK))
                try_python(found, path, shim);
            free(path);
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

static void try_pythons(struct found *found, const char *shim)
{
    const char *path = getenv("PATH");
    char *search = NULL, *rest = NULL;

    if (asprintf(&search, "%s:/usr/bin:/usr/local/bin", path ? path : "") < 0)
        return;
    for (char *dir = strtok_r(search, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest))
        try_directory(found, dir, shim);
    free(search);
    if (found->broken[0])
        doctor_line("python", DOCTOR_NOTE, "do not run: %s", found->broken);
    if (!found->n)
        doctor_line("python", DOCTOR_MISSING, "no python3 in PATH: nothing could be tried");
}

static void report_clock(const struct found *found)
{
    char source[64] = "unknown";
    FILE *stream = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

    if (stream) {
        if (fgets(source, sizeof source, stream))
            source[strcspn(source, "\n")] = '\0';
        fclose(stream);
    }
    if (!found->n_measured)
        doctor_line("clock", DOCTOR_NOTE, "not tried (the kernel's clock source is %s)", source);
    else if (found->clock == REC_CLOCK_MONOTONIC)
        doctor_line("clock", DOCTOR_NOTE,
                    "clock_gettime: exact, but a GIL hand-off costs more (no invariant counter; the kernel uses %s)",
                    source);
    else
        doctor_line("clock", DOCTOR_OK, "the processor's counter, invariant (the kernel uses %s)", source);
}

/* As the shim opens it (lib/shim-native.c). */
static void report_native(void)
{
    void *library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);

    if (library && dlsym(library, "unw_backtrace"))
        doctor_line("native frames", DOCTOR_OK, "libunwind.so.8");
    else
        doctor_line("native frames", DOCTOR_NOTE,
                    "without libunwind.so.8, stacks have Python frames only: install libunwind8 (Fedora: libunwind)");
    if (library)
        dlclose(library);
}

static void report_directory(void)
{
    char *dir = getcwd(NULL, 0);

    if (dir)
        doctor_output(dir);
    else
        doctor_line("output", DOCTOR_MISSING, "there is no working directory: use `gilscope run -o DIR'");
    doctor_inert(getpid());
    free(dir);
}

static int report_machine(void)
{
    struct utsname name;
    struct found found = {0};

    if (!uname(&name))
        printf("%s on %s %s, %s, glibc %s\n", PACKAGE_STRING, name.sysname, name.release, name.machine,
               gnu_get_libc_version());
    char *shim = paths_shim();
    doctor_line("preload shim", shim ? DOCTOR_OK : DOCTOR_MISSING, "%s",
                shim ? shim : "see the line on standard error");
    if (shim)
        try_pythons(&found, shim);
    doctor_cpus(getpid());
    report_clock(&found);
    report_native();
    report_directory();
    int bpf = doctor_attach();
    for (int i = 0; i < found.n; i++)
        free(found.real_path[i]);
    free(shim);
    printf("%s\n", found.n_measured ? "Programs can be measured here: gilscope run -- python3 app.py"
                                    : "Nothing can be measured here by gilscope run, see above.");
    printf("Processes that run already are measured %s: gilscope attach PID\n",
           bpf ? "by BPF, waits exactly" : "by sampling, all of it estimated");
    return found.n_measured > 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    int *pid = state->input;

    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    if (state->arg_num > 0)
        argp_error(state, "one process at a time: '%s' is too much", text);
    *pid = procinfo_parse_pid(text);
    if (*pid < 0)
        argp_error(state, "'%s' is not a process id", text);
    return 0;
}

int cmd_doctor(int argc, char **argv)
{
    const struct argp argp = {
        .parser = parse,
        .args_doc = "[PID]",
        .doc = "Say what works on this machine and what is missing: each Python that is found is run under the preload "
               "library.  With PID, say what is known of that process.\v"
               "Exits with 0 if programs can be measured here, or process PID is being measured or can be attached to; "
               "with "
               "1 if not.",
    };
    int pid = 0;

    argp_parse(&argp, argc, argv, 0, NULL, &pid);
    return (pid ? doctor_process(pid) : report_machine()) ? CMD_OK : CMD_FAILED;
}
