/* SPDX-License-Identifier: MIT */
/*
 * unit-symbols.c - symbols of a file that is cut short after it has been opened, as when a library is built anew;
 * and Rust's symbols.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rust-name.h"
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

static void check_rust(const char *symbol, const char *readable)
{
    char *name = rust_name(symbol);

    if (readable)
        CHECK_TEXT(name ? name : "(none)", readable);
    else
        CHECK(!name);
    free(name);
}

/* Constants of which each is the one before: n of them. */
static char *chain_of_rust(int n)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char begin[] = "_RINvC3app3runKj1_";
    char *symbol = malloc(sizeof begin + 8 * (size_t)n), *end = symbol + sizeof begin - 1;
    long to = (long)sizeof begin - 1 - 2 - 3; /* of that constant, behind the "_R" */

    memcpy(symbol, begin, sizeof begin);
    for (int i = 0; i < n; i++) {
        long here = end - symbol - 2 + 1, number = to - 1;
        end = stpcpy(end, "KB");
        for (long unit = 62 * 62 * 62; unit; unit /= 62)
            *end++ = digits[number / unit % 62];
        end = stpcpy(end, "_");
        to = here;
    }
    strcpy(end, "E");
    return symbol;
}

static void test_rust(void)
{
    check_rust("_RNvNtCsh61yYgEBR7J_4core3fmt5write", "core::fmt::write");
    check_rust("_RNCNvC3app4main0B3_", "app::main::{closure#0}");
    check_rust("_RNvNCNvC3app5spawn03MIN.0", "app::spawn::{closure#0}::MIN");
    check_rust("_RNvMs_C3appNtB4_5Model6encode", "<app::Model>::encode");
    check_rust("_RNvXs0_C3appNtB5_5ModelNtC4core5Clone5clone", "<app::Model as core::Clone>::clone");
    check_rust("_RINvC3app3runRShTlmEAbj4_FEuNvB2_3JobE", "app::run::<&[u8], (i32, u32), [bool; 0x4], fn(), app::Job>");
    check_rust("_RINvC3app3runDNtC4core4SendEL_E", "app::run::<dyn core::Send>");
    /* No symbols of Rust, damaged ones, and some that never end. */
    check_rust("_R", NULL);
    check_rust("_ReadFile", NULL);
    check_rust("main", NULL);
    check_rust("_RNvC3app9short", NULL);
    check_rust("_RNvC3app99999999999999999999main", NULL);
    check_rust("_RB_", NULL);
    check_rust("_RINvC3app3runTTTTTTTTTT", NULL);
    char many[4096] = "_RINvC3app3runT";
    for (int i = 0; i < 900; i++)
        strcat(many, i % 2 ? "Bd_" : "TBd_E");
    check_rust(many, NULL);
    char deep[1024] = "_R";
    for (int i = 0; i < 1000; i++)
        deep[2 + i] = 'I';
    check_rust(deep, NULL);
    char *chain = chain_of_rust(3);
    check_rust(chain, "app::run::<0x1, 0x1, 0x1, 0x1>");
    free(chain);
    for (int n = 300; n <= 3000000; n *= 100) { /* as deep: the stack would not do, or it would take hours */
        chain = chain_of_rust(n);
        check_rust(chain, NULL);
        free(chain);
    }
}

int main(void)
{
    test_rust();
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
