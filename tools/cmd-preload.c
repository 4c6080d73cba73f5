/* SPDX-License-Identifier: MIT */
/*
 * cmd-preload.c - `gilscope preload`: prints the path of the shim, for those who set LD_PRELOAD themselves.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "paths.h"

int cmd_preload(int argc, char **argv)
{
    const struct argp argp = {
        .doc = "Print the path of the preload library.\vWithout `gilscope run', for instance in a container:\n\n"
               "  LD_PRELOAD=$(gilscope preload) GILSCOPE=output=DIR python3 app.py\n\n"
               "DIR must exist and be absolute; `output=DIR,paused' waits for `gilscope resume PID'. "
               "`gilscope report DIR' reports.",
    };

    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    char *path = paths_shim();
    if (!path)
        return CMD_FAILED;
    puts(path);
    free(path);
    return CMD_OK;
}
