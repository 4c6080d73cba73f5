/* SPDX-License-Identifier: MIT */
/*
 * unit-symbols.c - symbols of a file that is cut short after it has been opened, as when a library is built anew.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbols.h"
#include "unit-check.h"

/* A copy of this program; its descriptor. */
static int copy_self(char *path)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = mkstemp(path);
    char bytes[65536];
    ssize_t n;

    if (from < 0 || to < 0)
        exit(99);
    while ((n = read(from, bytes, sizeof bytes)) > 0)
        if (write(to, bytes, (size_t)n) != n)
            exit(99);
    close(from);
    return to;
}

/* An address of the file at which there is a function of this program. */
static uint64_t address_of_a_function(const struct symbols *symbols)
{
    for (uint64_t address = 0x1000; address < 1u << 26; address += 16) {
        const char *name = symbols_find(symbols, address);
        if (name && !strcmp(name, "main"))
            return address;
    }
    return 0;
}

int main(void)
{
    char path[] = "/tmp/gilscope-unit-symbols-XXXXXX";
    int fd = copy_self(path);
    struct symbols *symbols = symbols_open(path, NULL, 0);
    uint64_t address = address_of_a_function(symbols);

    CHECK(address != 0);
    CHECK(!ftruncate(fd, 0));
    CHECK_TEXT(symbols_find(symbols, address), "main");
    symbols_close(symbols);

    /* And one that is empty from the beginning. */
    symbols = symbols_open(path, NULL, 0);
    CHECK(!symbols_find(symbols, address));
    symbols_close(symbols);
    close(fd);
    unlink(path);
    return check_result();
}
