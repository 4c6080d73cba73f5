/* SPDX-License-Identifier: MIT */
/*
 * rust-name.c - makes a symbol of Rust (mangling v0, RFC 2603) readable; the C++ library knows its older names only.
 *
 * Symbols come from files that may say anything: what is written, how deep it goes and how many steps it takes have
 * bounds, and references lead backwards only.
 */
#include "rust-name.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 1024
#define DEPTH_MAX 100
#define STEPS_MAX 10000
#define SYMBOL_MAX 32768 /* a step may go through as much of it as there is */

struct rust {
    const char *text; /* behind the "_R" */
    size_t at, length;
    char *out;
    size_t n;
    int depth, steps;
    bool silent, bad;
    bool cut; /* the rest is too long */
};

static void path(struct rust *r, bool in_type);
static void type(struct rust *r);

static void __attribute__((format(printf, 2, 3))) put(struct rust *r, const char *format, ...)
{
    va_list args;

    if (r->silent || r->bad)
        return;
    va_start(args, format);
    int n = vsnprintf(r->out + r->n, NAME_BYTES - r->n, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < NAME_BYTES - r->n) {
        r->n += (size_t)n;
        return;
    }
    r->n = NAME_BYTES - sizeof "...";
    strcpy(r->out + r->n, "...");
    r->silent = r->cut = true;
}

static char next(struct rust *r)
{
    if (r->at < r->length)
        return r->text[r->at++];
    r->bad = true;
    return 0;
}

static bool eat(struct rust *r, char c)
{
    if (r->bad || r->at >= r->length || r->text[r->at] != c)
        return false;
    r->at++;
    return true;
}

static bool enter(struct rust *r)
{
    if (++r->depth > DEPTH_MAX || ++r->steps > STEPS_MAX)
        r->bad = true;
    return !r->bad;
}

/* 0 is "_", 1 is "0_". */
static uint64_t base62(struct rust *r)
{
    uint64_t value = 0;

    if (eat(r, '_'))
        return 0;
    for (int i = 0; i < 12 && !r->bad; i++) {
        char c = next(r);
        if (c == '_')
            return value + 1;
        if (!isalnum((unsigned char)c))
            break;
        value = value * 62 + (uint64_t)(isdigit((unsigned char)c)   ? c - '0'
                                        : islower((unsigned char)c) ? c - 'a' + 10
                                                                    : c - 'A' + 36);
    }
    r->bad = true;
    return 0;
}

static uint64_t tagged(struct rust *r, char tag)
{
    return eat(r, tag) ? base62(r) + 1 : 0;
}

struct ident {
    uint64_t number; /* which of those that are called the same */
    const char *bytes;
    int n;
};

/* Names that are not ASCII stay in their Punycode. */
static struct ident ident(struct rust *r)
{
    struct ident i = {.number = tagged(r, 's')};
    size_t n = 0;

    eat(r, 'u');
    if (r->bad || r->at >= r->length || !isdigit((unsigned char)r->text[r->at]))
        r->bad = true;
    if (!eat(r, '0'))
        while (!r->bad && r->at < r->length && isdigit((unsigned char)r->text[r->at]) && n < r->length)
            n = n * 10 + (size_t)(r->text[r->at++] - '0');
    eat(r, '_');
    if (r->bad || n > r->length - r->at) {
        r->bad = true;
        return i;
    }
    i.bytes = r->text + r->at;
    i.n = (int)n;
    r->at += n;
    return i;
}

/* Goes back to what has been written once before. */
static void back(struct rust *r, void (*what)(struct rust *r, bool in_type), bool in_type)
{
    size_t here = r->at - 1, to = (size_t)base62(r), after = r->at;

    if (r->bad || to >= here) {
        r->bad = true;
        return;
    }
    r->at = to;
    what(r, in_type);
    r->at = after;
}

static void type_again(struct rust *r, bool in_type)
{
    (void)in_type;
    type(r);
}

static void constant(struct rust *r, bool in_type)
{
    (void)in_type;
    if (!enter(r))
        return;
    if (eat(r, 'p')) {
        put(r, "_");
    } else if (eat(r, 'B')) {
        back(r, constant, false);
    } else {
        next(r); /* its type */
        if (eat(r, 'n'))
            put(r, "-");
        size_t from = r->at;
        while (r->at < r->length && isxdigit((unsigned char)r->text[r->at]))
            r->at++;
        put(r, "0x%.*s", (int)(r->at - from), r->text + from);
        r->bad |= !eat(r, '_');
    }
    r->depth--;
}

static void arguments(struct rust *r)
{
    for (int i = 0; !r->bad && !eat(r, 'E'); i++) {
        put(r, i ? ", " : "");
        if (eat(r, 'L')) {
            base62(r);
            put(r, "'_");
        } else if (eat(r, 'K')) {
            constant(r, false);
        } else {
            type(r);
        }
    }
}

static void types(struct rust *r)
{
    for (int i = 0; !r->bad && !eat(r, 'E'); i++) {
        put(r, i ? ", " : "");
        type(r);
    }
}

static void function(struct rust *r)
{
    tagged(r, 'G');
    eat(r, 'U');
    if (eat(r, 'K') && !eat(r, 'C'))
        ident(r);
    put(r, "fn(");
    types(r);
    put(r, ")");
    if (!eat(r, 'u')) {
        put(r, " -> ");
        type(r);
    }
}

static void traits(struct rust *r)
{
    tagged(r, 'G');
    put(r, "dyn ");
    for (int i = 0; !r->bad && !eat(r, 'E'); i++) {
        put(r, i ? " + " : "");
        path(r, true);
        while (eat(r, 'p')) {
            struct ident name = ident(r);
            put(r, "<%.*s = ", name.n, name.bytes ? name.bytes : "");
            type(r);
            put(r, ">");
        }
    }
    if (eat(r, 'L'))
        base62(r);
}

static void type(struct rust *r)
{
    static const char *const basic[26] = {"i8",    "bool", "char", "f64", "str",  "f32",  NULL,  "u8", "isize",
                                          "usize", NULL,   "i32",  "u32", "i128", "u128", "_",   NULL, NULL,
                                          "i16",   "u16",  "()",   "...", NULL,   "i64",  "u64", "!"};
    char c;

    if (!enter(r))
        return;
    c = next(r);
    if (islower((unsigned char)c)) {
        put(r, "%s", basic[c - 'a'] ? basic[c - 'a'] : "?");
    } else if (c == 'B') {
        back(r, type_again, true);
    } else if (c == 'A' || c == 'S') {
        put(r, "[");
        type(r);
        if (c == 'A') {
            put(r, "; ");
            constant(r, false);
        }
        put(r, "]");
    } else if (c == 'T') {
        put(r, "(");
        types(r);
        put(r, ")");
    } else if (c == 'R' || c == 'Q') {
        if (eat(r, 'L'))
            base62(r);
        put(r, c == 'R' ? "&" : "&mut ");
        type(r);
    } else if (c == 'P' || c == 'O') {
        put(r, c == 'P' ? "*const " : "*mut ");
        type(r);
    } else if (c == 'F') {
        function(r);
    } else if (c == 'D') {
        traits(r);
    } else if (!r->bad) {
        r->at--;
        path(r, true);
    }
    r->depth--;
}

/* Where an implementation stands is left out: its type says more. */
static void implementation(struct rust *r)
{
    bool silent = r->silent;

    tagged(r, 's');
    r->silent = true;
    path(r, false);
    r->silent = silent || r->cut;
}

static void nested(struct rust *r, bool in_type)
{
    char space = next(r);

    path(r, in_type);
    struct ident name = ident(r);
    if (islower((unsigned char)space) && name.n)
        put(r, "::%.*s", name.n, name.bytes);
    else if (isupper((unsigned char)space))
        put(r, "::{%s#%" PRIu64 "}", space == 'C' ? "closure" : space == 'S' ? "shim" : "other", name.number);
}

static void path(struct rust *r, bool in_type)
{
    if (!enter(r))
        return;
    char c = next(r);
    if (c == 'C') {
        struct ident name = ident(r);
        put(r, "%.*s", name.n, name.bytes ? name.bytes : "");
    } else if (c == 'N') {
        nested(r, in_type);
    } else if (c == 'M' || c == 'X' || c == 'Y') {
        if (c != 'Y')
            implementation(r);
        put(r, "<");
        type(r);
        if (c != 'M') {
            put(r, " as ");
            path(r, true);
        }
        put(r, ">");
    } else if (c == 'I') {
        path(r, in_type);
        put(r, in_type ? "<" : "::<");
        arguments(r);
        put(r, ">");
    } else if (c == 'B') {
        back(r, path, in_type);
    } else {
        r->bad = true;
    }
    r->depth--;
}

char *rust_name(const char *symbol)
{
    struct rust r = {.text = symbol + 2};

    if (strncmp(symbol, "_R", 2) || !isupper((unsigned char)symbol[2]))
        return NULL;
    r.length = strcspn(r.text, ".$"); /* what the compiler adds for its copies */
    if (r.length > SYMBOL_MAX)
        return NULL;
    r.out = calloc(1, NAME_BYTES);
    if (!r.out)
        return NULL;
    path(&r, false);
    if (!r.bad && r.n)
        return r.out;
    free(r.out);
    return NULL;
}
