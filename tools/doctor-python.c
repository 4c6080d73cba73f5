/* SPDX-License-Identifier: MIT */
/*
 * doctor-python.c - tries the shim on a Python: runs it, and reads the recording back.
 */
#include "doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "model.h"
#include "reader.h"

#define PATIENCE_MS 10000

/* Works on every Python that may be in the way, 2.7 and PyPy included. */
static const char question[] =
    "import os,sys\n"
    "i=getattr(sys,'implementation',None)\n"
    "t=getattr(sys,'_is_gil_enabled',None)\n"
    "print('gilscope|%s|%s|%d|%s'%(i.name if i else 'python','.'.join(map(str,sys.version_info[:3])),"
    "t is not None and not t(),os.path.realpath(sys.executable)))\n";

struct answer {
    char text[8192];
    const char *implementation, *version, *executable;
    bool without_gil;
    char complaint[256]; /* what it said on stderr: the shim's reason, else the first line */
    int status;          /* as of waitpid */
    bool timed_out;
};

static void run_question(const char *path, const char *shim, const char *dir, int out, int err)
{
    char options[4200];

    snprintf(options, sizeof options, "output=%s", dir);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    setenv("LD_PRELOAD", shim, 1);
    setenv("GILSCOPE", options, 1);
    execl(path, path, "-c", question, (char *)NULL);
    _exit(127);
}

static int64_t now_ms(void)
{
    return (int64_t)(clock_ns(CLOCK_MONOTONIC) / 1000000);
}

/* Reads what the child prints until it closes its streams or patience ends. */
static void listen_to(struct answer *answer, int out, int err)
{
    char errors[4096] = "";
    size_t n_text = 0, n_errors = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    struct pollfd ends[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};

    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        int64_t left = deadline - now_ms();
        if (left <= 0 || poll(ends, 2, (int)left) <= 0) {
            answer->timed_out = true;
            break;
        }
        for (int i = 0; i < 2; i++) {
            char *to = i ? errors : answer->text, scrap[512];
            size_t *n = i ? &n_errors : &n_text, room = (i ? sizeof errors : sizeof answer->text) - 1 - *n;
            if (!ends[i].revents)
                continue;
            ssize_t got = room ? read(ends[i].fd, to + *n, room) : read(ends[i].fd, scrap, sizeof scrap);
            if (got <= 0)
                ends[i].fd = -1;
            else if (room)
                *n += (size_t)got;
        }
    }
    answer->text[n_text] = '\0';
    errors[n_errors] = '\0';
    /* "gilscope: not measuring process 42: the reason" */
    const char *shims_own = strstr(errors, "gilscope: not measuring process ");
    const char *reason = shims_own ? strstr(shims_own + strlen("gilscope: "), ": ") : NULL;
    const char *complaint = reason ? reason + strlen(": ") : errors + strspn(errors, "\n");
    snprintf(answer->complaint, sizeof answer->complaint, "%.*s", (int)strcspn(complaint, "\n"), complaint);
    for (char *c = answer->complaint; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
}

/* Splits the line that the question prints.  What a wrapper script printed before it is passed over. */
static bool understand(struct answer *answer)
{
    char *line = strstr(answer->text, "gilscope|"), *rest;

    if (!line)
        return false;
    line[strcspn(line, "\n")] = '\0';
    strtok_r(line, "|", &rest);
    answer->implementation = strtok_r(NULL, "|", &rest);
    answer->version = strtok_r(NULL, "|", &rest);
    const char *without_gil = strtok_r(NULL, "|", &rest);
    answer->executable = rest;
    answer->without_gil = without_gil && *without_gil == '1';
    return without_gil && answer->executable && *answer->executable;
}

static bool ask(const char *path, const char *shim, const char *dir, struct answer *answer)
{
    int out[2], err[2];

    memset(answer, 0, sizeof *answer);
    if (pipe2(out, O_CLOEXEC))
        return false;
    if (pipe2(err, O_CLOEXEC)) {
        close(out[0]);
        close(out[1]);
        return false;
    }
    pid_t pid = fork();
    if (!pid)
        run_question(path, shim, dir, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    if (pid > 0) {
        listen_to(answer, out[0], err[0]);
        if (answer->timed_out)
            kill(pid, SIGKILL);
        while (waitpid(pid, &answer->status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(out[0]);
    close(err[0]);
    return pid > 0;
}

/* Which clock the recordings in DIR use. */
static uint32_t clock_of(const char *dir)
{
    struct reader_paths paths = {0};
    char error[READER_ERROR_BYTES];
    uint32_t clock = 0;

    if (reader_find(dir, &paths, error) && paths.n) {
        struct reader_file *file = reader_open(paths.path[0], error);
        if (file) {
            clock = file->header.clock;
            reader_close(file);
        }
    }
    reader_paths_free(&paths);
    return clock;
}

/* How often the GIL was taken, by the report on DIR; 0 where there is no recording that can be read. */
static uint64_t read_back(char *dir)
{
    struct model model;
    uint64_t acquisitions = 0;

    model_load(&model, &dir, 1);
    for (size_t i = 0; i < model.n_processes; i++) {
        for (size_t gil = 0; gil < model.processes[i].n_gils; gil++)
            acquisitions += model.processes[i].gils[gil].acquisitions;
    }
    model_free(&model);
    return acquisitions;
}

static void remove_directory(const char *dir)
{
    DIR *stream = opendir(dir);

    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream));)
        unlinkat(dirfd(stream), entry->d_name, 0); /* refuses . and .. */
    closedir(stream);
    rmdir(dir);
}

static enum doctor_word judge(struct answer *answer, uint64_t acquisitions, char *details, size_t size)
{
    if (answer->timed_out) {
        snprintf(details, size, "gave no answer in %d s", PATIENCE_MS / 1000);
        return DOCTOR_NOTE;
    }
    if (!understand(answer)) {
        if (WIFEXITED(answer->status))
            snprintf(details, size, "does not run (exit status %d): %s", WEXITSTATUS(answer->status),
                     answer->complaint);
        else
            snprintf(details, size, "is ended by signal %d", WTERMSIG(answer->status));
        return DOCTOR_NOTE;
    }
    bool is_cpython = !strcmp(answer->implementation, "cpython");
    int n = snprintf(details, size, "%s %s", is_cpython ? "CPython" : answer->implementation, answer->version);
    if (n < 0 || (size_t)n >= size)
        return DOCTOR_NOTE;
    if (acquisitions) {
        snprintf(details + n, size - (size_t)n, ": measured, %llu acquisitions", (unsigned long long)acquisitions);
        return DOCTOR_OK;
    }
    snprintf(details + n, size - (size_t)n, "%s: not measured%s%s", answer->without_gil ? ", runs without a GIL" : "",
             answer->complaint[0] ? ": " : "", answer->complaint);
    return is_cpython && !answer->without_gil ? DOCTOR_MISSING : DOCTOR_NOTE;
}

enum doctor_word doctor_try_python(const char *path, const char *shim, struct doctor_trial *trial, char *details,
                                   size_t size)
{
    const char *temporary = getenv("TMPDIR");
    char dir[4096];
    struct answer answer;

    memset(trial, 0, sizeof *trial);
    /* The options of GILSCOPE end at a comma. */
    if (!temporary || temporary[0] != '/' || strpbrk(temporary, ",\\") || strlen(temporary) > sizeof dir - 32)
        temporary = "/tmp";
    snprintf(dir, sizeof dir, "%s/gilscope-doctor-XXXXXX", temporary);
    if (!mkdtemp(dir)) {
        snprintf(details, size, "cannot create a directory in %.200s: %s", temporary, strerror(errno));
        return DOCTOR_MISSING;
    }
    enum doctor_word word = DOCTOR_MISSING;
    if (ask(path, shim, dir, &answer)) {
        trial->clock = clock_of(dir);
        word = judge(&answer, read_back(dir), details, size);
        trial->ran = answer.executable != NULL;
        if (trial->ran)
            snprintf(trial->real_path, sizeof trial->real_path, "%s", answer.executable);
    } else {
        snprintf(details, size, "cannot start a process: %s", strerror(errno));
    }
    remove_directory(dir);
    return word;
}
