/* SPDX-License-Identifier: MIT */
/*
 * replay.h - runs every file of a corpus as it is, and some mutations of each, which are the same each time.
 */
#ifndef GILSCOPE_FUZZ_REPLAY_H
#define GILSCOPE_FUZZ_REPLAY_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define REPLAY_MUTATIONS 100 /* of each file */

static uint8_t replay_bytes[FUZZ_BYTES_MAX], replay_changed[FUZZ_BYTES_MAX];

static inline int replay_broken(const char *what)
{
    perror(what);
    return 99;
}

static inline size_t replay_read(const char *directory, const char *name)
{
    char path[4096];
    size_t n;
    FILE *in;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    in = fopen(path, "re");
    if (!in)
        exit(replay_broken(path));
    n = fread(replay_bytes, 1, sizeof replay_bytes, in);
    fclose(in);
    return n;
}

/* The exit status of a test: 0, or 99 where there is no corpus.  A finding ends the program.  folder: in tests/fuzz. */
static inline int replay(const char *folder, void (*run)(const uint8_t *, size_t),
                         size_t (*mutate)(uint8_t *, size_t, size_t, unsigned))
{
    const char *source = getenv("srcdir");
    char directory[2048];
    const struct dirent *entry;
    unsigned n_files = 0;
    DIR *corpus;

    snprintf(directory, sizeof directory, "%s/tests/fuzz/%s", source ? source : ".", folder);
    corpus = opendir(directory);
    if (!corpus)
        return replay_broken(directory);
    while ((entry = readdir(corpus))) {
        if (entry->d_name[0] == '.')
            continue;
        size_t n = replay_read(directory, entry->d_name);
        run(replay_bytes, n);
        n_files++;
        for (unsigned seed = 0; seed < REPLAY_MUTATIONS; seed++) {
            memcpy(replay_changed, replay_bytes, n);
            run(replay_changed, mutate(replay_changed, n, sizeof replay_changed, seed * 2654435761u + n_files));
        }
    }
    closedir(corpus);
    printf("%u files, %u mutations of each\n", n_files, REPLAY_MUTATIONS);
    if (!n_files) {
        fprintf(stderr, "no files in %s\n", directory);
        return 99;
    }
    return 0;
}

#endif
