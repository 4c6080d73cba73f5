/* SPDX-License-Identifier: MIT */
/*
 * replay-elf.c - as replay.c, of ELF files.
 */
#include "replay.h"

int main(void)
{
    return replay("corpus-elf", fuzz_elf_run, fuzz_elf_mutate);
}
