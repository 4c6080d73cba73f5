/* SPDX-License-Identifier: MIT */
/*
 * unit-frames.c - a chain of Python frames that ends without a border to C is one that was read while it was being made.
 */
#include <string.h>

#include "cpython-frames.h"
#include "unit-check.h"

/* The objects that the walk looks at, made by hand in this process's memory. */
static _Alignas(16) unsigned char tstate[4096], cframe[64], type[64], code[256];
static _Alignas(16) unsigned char inner[CPYTHON_FRAME_BYTES_MAX], outer[CPYTHON_FRAME_BYTES_MAX],
    border[CPYTHON_FRAME_BYTES_MAX];

static void put(unsigned char *object, unsigned offset, const void *to)
{
    uint64_t value = (uint64_t)(uintptr_t)to;
    memcpy(object + offset, &value, sizeof value);
}

static const struct cpython_layout *make(uint32_t hex)
{
    static const char name[] = "code";
    const struct cpython_layout *l = cpython_layout(hex);
    unsigned char *frames[] = {inner, outer, border};

    put(type, CPYTHON_TP_NAME, name);
    put(code, CPYTHON_OB_TYPE, type);
    for (size_t i = 0; i < 3; i++) {
        memset(frames[i], 0, sizeof inner);
        put(frames[i], l->frame_code, code);
    }
    if (l->cframe_current != 255) {
        put(tstate, l->tstate_frame, cframe);
        put(cframe, l->cframe_current, inner);
    } else {
        put(tstate, l->tstate_frame, inner);
    }
    if (l->minor >= 12)
        border[l->frame_owner] = 3;
    return l;
}

/* How many frames there are to the end of the chain. */
static unsigned walk(const struct cpython_layout *l, bool *broken)
{
    struct cpython_reader r;
    struct cpython_walk w;
    struct cpython_frame f;
    unsigned n = 0;

    cpython_reader_init(&r, l, NULL, NULL);
    cpython_walk_begin(&w, &r, (uint64_t)(uintptr_t)tstate, 0);
    while (cpython_walk_next(&w, &f))
        n++;
    *broken = w.broken;
    return n;
}

static void test_whole_chain(uint32_t hex)
{
    const struct cpython_layout *l = make(hex);
    bool broken;

    put(inner, l->frame_back, outer);
    if (l->minor >= 12)
        put(outer, l->frame_back, border);
    else if (l->frame_entry)
        outer[l->frame_entry] = 1;
    CHECK(walk(l, &broken) == 2 && !broken);
}

/* The innermost one has its code, but is not linked yet. */
static void test_torn_chain(uint32_t hex)
{
    const struct cpython_layout *l = make(hex);
    bool broken;

    CHECK(walk(l, &broken) == 1 && broken);
}

int main(void)
{
    for (uint32_t minor = 8; minor <= 15; minor++) {
        test_whole_chain(0x03000000 | minor << 16);
        if (minor >= 11)
            test_torn_chain(0x03000000 | minor << 16);
    }
    return check_result();
}
