/* SPDX-License-Identifier: MIT */
/*
 * replay.c - reads and reports every file of the fuzzer's corpus as it is, and in some mutations of each, which are the
 * same each time.  A test of `make check` in a build with --enable-sanitizers; without: "skipped".
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MUTATIONS 100 /* of each file */

static uint8_t bytes[FUZZ_BYTES_MAX], changed[FUZZ_BYTES_MAX];

static int broken(const char *what)
{
    perror(what);
    return 99;
}

static size_t read_file(const char *directory, const char *name)
{
    char path[4096];
    size_t n;
    FILE *in;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    in = fopen(path, "re");
    if (!in)
        exit(broken(path));
    n = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    return n;
}

int main(void)
{
    const char *source = getenv("srcdir");
    char directory[2048];
    const struct dirent *entry;
    unsigned n_files = 0;
    DIR *corpus;

    fuzz_check_formats();
    snprintf(directory, sizeof directory, "%s/tests/fuzz/corpus", source ? source : ".");
    corpus = opendir(directory);
    if (!corpus)
        return broken(directory);
    while ((entry = readdir(corpus))) {
        if (entry->d_name[0] == '.')
            continue;
        size_t n = read_file(directory, entry->d_name);
        fuzz_run(bytes, n);
        n_files++;
        for (unsigned seed = 0; seed < MUTATIONS; seed++) {
            memcpy(changed, bytes, n);
            fuzz_run(changed, fuzz_mutate(changed, n, sizeof changed, seed * 2654435761u + n_files));
        }
    }
    closedir(corpus);
    printf("%u files, %u mutations of each\n", n_files, MUTATIONS);
    if (!n_files) {
        fprintf(stderr, "no files in %s\n", directory);
        return 99;
    }
    return 0;
}
