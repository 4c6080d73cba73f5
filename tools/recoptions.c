/* SPDX-License-Identifier: MIT */
/*
 * recoptions.c - options of the commands that record.
 */
#include "recoptions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "msg.h"
#include "recdir.h"

enum { OPT_FORMAT = 256, OPT_REPORT };

static const struct argp_option options[] = {
    {"output", 'o', "DIR", 0, "Record into DIR, which must be empty or not exist [./NAME.gilscope]", 0},
    {"quiet", 'q', NULL, 0, "Record only; print no report", 0},
    {"format", OPT_FORMAT, "FORMAT", 0, "Report as text or json [text]", 0},
    {"report", OPT_REPORT, "FILE", 0, "Write the report to FILE [standard error]", 0},
    {0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct recoptions *given = state->input;

    switch (key) {
    case 'o':
        given->dir = text;
        return 0;
    case 'q':
        given->quiet = 1;
        return 0;
    case OPT_FORMAT:
        if (!report_has_format(text))
            argp_error(state, "there is no format '%s'; use one of: %s", text, report_formats());
        given->report.format = text;
        return 0;
    case OPT_REPORT:
        given->report.output = text;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp recoptions_argp = {.options = options, .parser = parse};

int recoptions_prepare(const struct recoptions *given, int *made_file)
{
    const char *file = given->report.output;

    *made_file = 0;
    if (!file || given->quiet)
        return 0;
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    *made_file = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(file, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENXIO) { /* a FIFO without reader: there may be one in the end */
        msg_error("cannot write the report to '%s': %s", file, strerror(errno));
        return -1;
    }
    if (fd >= 0)
        close(fd);
    return 0;
}

int recoptions_report(const struct recoptions *given, char *dir)
{
    if (given->quiet)
        return 0;
    return report_write(&given->report, &dir, 1, stderr) == CMD_FAILED ? -1 : 0;
}

void recoptions_tidy(const struct recoptions *given, const char *dir, int made_dir, int made_file)
{
    if (dir && recdir_has_recordings(dir))
        return;
    if (dir && made_dir)
        rmdir(dir);
    if (made_file)
        unlink(given->report.output);
}
