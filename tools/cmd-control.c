/* SPDX-License-Identifier: MIT */
/*
 * cmd-control.c - `gilscope pause` and `gilscope resume`: stop and restart the measuring of a running process.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd.h"
#include "msg.h"
#include "procinfo.h"
#include "recfile.h"
#include "toggle.h"

static error_t parse(int key, char *text, struct argp_state *state)
{
    int *pid = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "one process at a time: '%s' is too much", text);
        *pid = procinfo_parse_pid(text);
        if (*pid < 0)
            argp_error(state, "'%s' is not a process id", text);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which process? give its id");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The file may be cut short at any moment: then what is mapped of it is there no more. */
static sigjmp_buf cut_short;

static void on_bus_error(int signal)
{
    siglongjmp(cut_short, signal);
}

/* Appends a toggle to the header behind fd.  Returns 1 done, 0 it was so already, -1 after an error line. */
static int toggle(int fd, int pid, int pause)
{
    struct rec_header *header = mmap(NULL, sizeof *header, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct sigaction catch = {.sa_handler = on_bus_error}, before;
    int done = 0;

    if (header == MAP_FAILED) {
        msg_error("cannot map the recording of process %d: %s", pid, strerror(errno));
        return -1;
    }
    sigaction(SIGBUS, &catch, &before);
    if (sigsetjmp(cut_short, 1)) {
        sigaction(SIGBUS, &before, NULL);
        msg_error("cannot %s process %d: its recording has been cut short, or the disk has failed",
                  pause ? "pause" : "resume", pid);
        return -1;
    }
    uint32_t n = __atomic_load_n(&header->n_toggles, __ATOMIC_ACQUIRE);
    if (!recfile_now(header->clock)) {
        msg_error("cannot tell the time of process %d's recording: it uses a clock that this machine lacks", pid);
        done = -1;
    } else if ((n & 1) != (uint32_t)pause) {
        toggle_append(header);
        done = 1;
    } else if (n) {
        toggle_set_time(header, n - 1);
    }
    sigaction(SIGBUS, &before, NULL);
    munmap(header, sizeof *header);
    return done;
}

static int control(int argc, char **argv, int pause, const char *doc)
{
    const struct argp argp = {.parser = parse, .args_doc = "PID", .doc = doc};
    int pid = -1;

    argp_parse(&argp, argc, argv, 0, NULL, &pid);

    struct rec_header header;
    int fd = procinfo_open_recording(pid, &header);
    if (fd < 0)
        return CMD_FAILED;
    /* Two commands at once must not write the same toggle. */
    int done = -1;
    if (flock(fd, LOCK_EX))
        msg_error("cannot lock the recording of process %d: %s", pid, strerror(errno));
    else
        done = toggle(fd, pid, pause);
    close(fd);
    if (done < 0)
        return CMD_FAILED;
    printf("process %d: %s%s\n", pid, pause ? "paused" : "measuring", done ? "" : " already");
    return CMD_OK;
}

int cmd_pause(int argc, char **argv)
{
    return control(argc, argv, 1,
                   "Stop measuring process PID, which runs under gilscope's preload library.  Until it is resumed it "
                   "pays almost nothing for being measurable.");
}

int cmd_resume(int argc, char **argv)
{
    return control(argc, argv, 0,
                   "Measure process PID again, which was paused, or was started with `gilscope run --paused'.");
}
