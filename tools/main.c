/* SPDX-License-Identifier: MIT */
/*
 * main.c - the gilscope executable: finds the command in a table and runs it.
 */
#include "config.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "msg.h"
#include "privileges.h"

struct cmd {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct cmd commands[] = {
    {"run", "run a program and report what the GIL cost it", cmd_run},
    {"attach", "measure a running process, without restarting it", cmd_attach},
    {"report", "report on recordings, as text or JSON", cmd_report},
    {"dump", "print a recording's raw contents", cmd_dump},
    {"doctor", "say what works on this machine, and what is missing", cmd_doctor},
    {"pause", "stop measuring a running process", cmd_pause},
    {"resume", "measure a paused process again", cmd_resume},
    {"preload", "print the path of the library for LD_PRELOAD", cmd_preload},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *out)
{
    fputs("Usage: gilscope COMMAND [OPTION...] [ARGUMENT...]\n"
          "Say exactly what the GIL costs a Python program: who holds it, who waits for it,\n"
          "and what would be gained without it.\n\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\n"
          "  --help     print this help; `gilscope COMMAND --help` prints a command's\n"
          "  --version  print the version\n"
          "\n"
          "Start with: gilscope run -- python3 app.py\n",
          out);
}

static int run_command(const struct cmd *cmd, int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof name, "gilscope %s", cmd->name);
    if (privileges_begin(cmd->run == cmd_attach || cmd->run == cmd_doctor))
        return cmd->run == cmd_run ? CMD_RUN_FAILED : CMD_FAILED;
    argv[0] = name; /* what argp calls the program in help and errors */
    argp_err_exit_status = cmd->run == cmd_run ? CMD_RUN_FAILED : CMD_USAGE;
    return cmd->run(argc, argv);
}

static int dispatch(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (!name) {
        print_help(stderr);
        return CMD_USAGE;
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?") || !strcmp(name, "help")) {
        print_help(stdout);
        return CMD_OK;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        puts(argp_program_version);
        return CMD_OK;
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (!strcmp(name, commands[i].name))
            return run_command(&commands[i], argc - 1, argv + 1);
    }
    msg_error("unknown %s '%s'; see gilscope --help", name[0] == '-' ? "option" : "command", name);
    return CMD_USAGE;
}

int main(int argc, char **argv)
{
    /* argp writes a message in several pieces; a line must reach stderr whole. */
    setvbuf(stderr, NULL, _IOLBF, 0);
    argp_program_version = PACKAGE_STRING;

    int status = dispatch(argc, argv);

    /* A full disk is not success. */
    if ((fflush(stdout) || ferror(stdout)) && status == CMD_OK) {
        msg_error("cannot write to standard output: %s", strerror(errno));
        status = CMD_FAILED;
    }
    return status;
}
