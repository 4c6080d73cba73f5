/* SPDX-License-Identifier: MIT */
/*
 * paths.h - where the preload shim is.
 */
#ifndef GILSCOPE_PATHS_H
#define GILSCOPE_PATHS_H

#define PATHS_SHIM_NAME "libgilscope-preload.so"

/* The absolute path of the shim that belongs to this executable: in .libs/ beside it (a build tree), in
 * ../lib/gilscope/ (an installation, wherever it was moved to), or where configure put it.  The caller frees it.
 * NULL, after an error line, where there is none, or where its path cannot stand in LD_PRELOAD, which is separated by
 * spaces and colons. */
char *paths_shim(void);

#endif
