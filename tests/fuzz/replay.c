/* SPDX-License-Identifier: MIT */
/*
 * replay.c - reads and reports every file of the fuzzer's corpus, and mutations of it.  A test of `make check` in a
 * build with --enable-sanitizers; without: "skipped".
 */
#include "replay.h"

int main(void)
{
    fuzz_check_formats();
    return replay("corpus", fuzz_run, fuzz_mutate);
}
