/* SPDX-License-Identifier: MIT */
/*
 * cmd.h - the commands of the gilscope executable: one function each, called by main() from its table.
 */
#ifndef GILSCOPE_CMD_H
#define GILSCOPE_CMD_H

/* Exit statuses, the same in every command but `run`, which passes its program's on and has its own for failures. */
enum cmd_status {
    CMD_OK = 0,
    CMD_FAILED = 1,       /* the command could not do what it was asked to; an error line says why */
    CMD_USAGE = 2,        /* the command line makes no sense */
    CMD_RUN_FAILED = 125, /* run: gilscope itself failed */
    CMD_RUN_NOT_EXECUTABLE = 126,
    CMD_RUN_NOT_FOUND = 127,
    CMD_RUN_SIGNAL_BASE = 128, /* run: the program was ended by signal N: this plus N */
};

/* Each takes its own argument vector, argv[0] being "gilscope NAME", and returns the exit status.  Options are parsed
 * with argp, which exits by itself for --help (0) and for wrong usage (CMD_USAGE; `run`: CMD_RUN_FAILED). */
int cmd_attach(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_preload(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_run(int argc, char **argv);

#endif
