/* SPDX-License-Identifier: MIT */
/*
 * doctor-process.c - says of a running process whether it is CPython, preloaded, paused.
 */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elfscan.h"
#include "msg.h"
#include "procinfo.h"
#include "refused.h"

/* "3.11.2" of PY_VERSION_HEX; of a release only, for a pre-release is marked in the last byte's upper half. */
static void version_text(uint32_t hex, char *text, size_t size)
{
    snprintf(text, size, "%u.%u.%u%s", hex >> 24, (hex >> 16) & 0xff, (hex >> 8) & 0xff,
             (hex & 0xf0) == 0xf0 ? "" : " (pre-release)");
}

/* The version that the file's name tells, "libpython3.9.so.1.0" or "python3.9"; "" where it does not. */
static void version_from_name(const char *path, char *text, size_t size)
{
    const char *name = strrchr(path, '/'), *python = strstr(name ? name : path, "python");
    size_t length = python ? strspn(python + strlen("python"), "0123456789.") : 0;

    while (length && python[strlen("python") + length - 1] == '.')
        length--;
    snprintf(text, size, "%.*s", (int)length, length ? python + strlen("python") : "");
}

/* Whether it is a free-threaded build, by the file's name: "python3.13t", "libpython3.13t.so.1.0". */
static int is_free_threaded(const char *path)
{
    const char *name = strrchr(path, '/'), *python = strstr(name ? name : path, "python");
    size_t length = python ? strspn(python + strlen("python"), "0123456789.") : 0;

    return length && python[strlen("python") + length] == 't';
}

/* Whether the process runs CPython. */
static int report_python(int pid, const struct procinfo_maps *maps)
{
    char exe[64], version[64] = "";
    struct elfscan scan = {0};

    if (!maps->python[0]) {
        doctor_line("python", DOCTOR_MISSING,
                    "its executable cannot be seen: a kernel thread, or a process that has ended");
        return 0;
    }
    snprintf(exe, sizeof exe, "/proc/%d/exe", pid);
    char *path = maps->python_is_library ? procinfo_outer_path(pid, maps->python) : strdup(exe);
    int failed = !path || elfscan_read(path, &scan);
    int reason = errno;
    free(path);
    if (failed) {
        doctor_line("python", DOCTOR_MISSING, "cannot read %s: %s", maps->python, strerror(reason));
        return 0;
    }
    if (!scan.has_pyruntime) {
        doctor_line("python", DOCTOR_MISSING, "%s is not CPython 3.8 or later", maps->python);
        return 0;
    }
    if (is_free_threaded(maps->python)) {
        doctor_line("python", DOCTOR_MISSING, "%s is a free-threaded build: it has no GIL to measure", maps->python);
        return 0;
    }
    if (scan.python_hex)
        version_text(scan.python_hex, version, sizeof version);
    else
        version_from_name(maps->python, version, sizeof version);
    doctor_line("python", DOCTOR_OK, "CPython%s%s, %s %s", version[0] ? " " : "", version,
                maps->python_is_library ? "in" : "linked into", maps->python);
    return 1;
}

static void report_refused(int pid)
{
    char reason[512];

    refused_why(pid, reason, sizeof reason);
    printf("process %d\n", pid);
    doctor_line("attach", DOCTOR_MISSING, "its memory may not be read: %s", reason);
}

int doctor_process(int pid)
{
    struct procinfo_maps maps;
    struct rec_header header;

    if (procinfo_read_maps(pid, &maps)) {
        if (errno == ENOENT || errno == ESRCH)
            msg_error("there is no process %d", pid);
        else if (errno == EACCES || errno == EPERM)
            report_refused(pid);
        else
            msg_error("cannot look at process %d: %s", pid, strerror(errno));
        return 0;
    }
    printf("process %d\n", pid);
    int is_python = report_python(pid, &maps);
    int threads = procinfo_threads(pid);
    if (threads >= 0)
        doctor_line("threads", DOCTOR_NOTE, "%d%s", threads,
                    procinfo_is_stopped(pid) ? ", stopped by a signal or a debugger" : "");
    doctor_cpus(pid);
    doctor_line("preload shim", maps.has_shim ? DOCTOR_OK : DOCTOR_MISSING,
                maps.has_shim ? "loaded" : "not loaded: the process was started without it");

    int fd = procinfo_find_recording(pid, &header);
    if (fd >= 0) {
        close(fd);
        doctor_line("recording", DOCTOR_OK, "%s",
                    header.n_toggles & 1 ? "paused; `gilscope resume' starts measuring" : "being written");
    } else {
        doctor_line("recording", DOCTOR_MISSING, "none that can be opened is being written");
        doctor_inert(pid);
    }
    int attachable = doctor_attach_process(pid);
    return fd >= 0 || (is_python && maps.has_shim) || attachable;
}
