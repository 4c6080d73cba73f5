/* SPDX-License-Identifier: MIT */
/*
 * cpython.c - the layout table and what is read with it.
 *
 * Offsets are those of the releases' own headers (offsetof), constant within each minor version: Include/cpython/
 * pystate.h, Include/internal/pycore_frame.h, Include/cpython/code.h, unicodeobject.h, pycore_dict.h, object.h.
 * Everything read is checked for what it should be before it is believed.
 */
#include "cpython.h"

#include "cpython-frames.h"

/* clang-format off */
static const struct cpython_layout layouts[] = {
    /*  ------frame-------------------------------------   --code----------------------------------   -str--  type runtime
        frame cur  code back inst entry own stack locals   file name qual first lines bytes           asc comp keys final */
    {8,  24, 255,  32,  24, 104,  0,  0,  0, 360,          104, 112,   0,  40, 120,   0,              48, 72, 872,  16},
    {9,  24, 255,  32,  24, 104,  0,  0,  0, 360,          104, 112,   0,  40, 120,   0,              48, 72, 864,  16},
    {10, 24, 255,  32,  24,  96,  0,  0,  0, 352,          104, 112,   0,  40, 120,   0,              48, 72, 872,  16},
    {11, 56,   8,  32,  48,  56, 68, 69, 64,  72,          112, 120, 128,  72, 136, 184,              48, 72, 872,  24},
    {12, 56,   0,   0,   8,  56,  0, 70, 64,  72,          112, 120, 128,  68, 136, 192,              40, 56, 880,  24},
    {13, 72, 255,   0,   8,  56,  0, 70, 64,  72,          112, 120, 128,  68, 136, 200,              40, 56, 880, 608},
    {14, 72, 255,   0,   8,  56,  0, 74, 64,  80,          112, 120, 128,  68, 136, 208,              40, 56, 880, 784},
    {15, 72, 255,   0,   8,  56,  0, 74, 64,  80,          112, 120, 128,  68, 136, 208,              40, 56, 888, 912},
};
/* clang-format on */

/* The same in all versions (PyTypeObject, PyDictObject of GIL builds). */
enum {
    TP_BASICSIZE = 32,
    TP_FLAGS = 168,
    TP_DICTOFFSET = 288,
    MA_KEYS = 32,
    MA_VALUES = 40,
};

#define FRAMES_MAX 200  /* a thread's first frames; deeper stacks keep the name that they had */
#define ENTRIES_MAX 128 /* attributes of a Thread object that are looked at */

const struct cpython_layout *cpython_layout(uint32_t hex)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (hex >> 24 == 3 && ((hex >> 16) & 255) == layouts[i].minor)
            return &layouts[i];
    return NULL;
}

/* --- an object's attribute --------------------------------------------------------------------------------------- */
/* Looks a name up in a PyDictKeysObject; values: the split table's values, or 0 where the entries hold them. */
static uint64_t in_keys(struct cpython_reader *r, uint64_t keys, uint64_t values, const char *name)
{
    uint64_t n, entries;
    bool wide;
    if (r->l->minor <= 10) {
        uint64_t size = cpython_pointer(r, keys + 8);
        n = cpython_pointer(r, keys + 32);
        entries = keys + 40 + size * (size <= 0xff ? 1 : size <= 0xffff ? 2 : 4);
        wide = true;
    } else {
        uint8_t head[4]; /* log2_size, log2_index_bytes, kind */
        if (cpython_fetch(r, keys + 8, head, sizeof head) != 0 || head[1] > 40)
            return 0;
        n = cpython_pointer(r, keys + 24);
        entries = keys + 32 + ((uint64_t)1 << head[1]);
        wide = head[2] == 0;
    }
    for (uint64_t i = 0; i < n && i < ENTRIES_MAX; i++) {
        uint64_t entry = entries + i * (wide ? 24 : 16) + (wide ? 8 : 0); /* {[hash] key value} */
        if (cpython_text_is(r, cpython_pointer(r, entry), name))
            return values ? cpython_pointer(r, values + i * 8) : cpython_pointer(r, entry + 8);
    }
    return 0;
}

static uint64_t in_dict(struct cpython_reader *r, uint64_t dict, const char *name)
{
    uint64_t keys = cpython_pointer(r, dict + MA_KEYS), values = cpython_pointer(r, dict + MA_VALUES);
    if (values && r->l->minor >= 13)
        values += 8; /* PyDictValues: four bytes of bookkeeping, padded; up to 3.12 they lie in front */
    return keys ? in_keys(r, keys, values, name) : 0;
}

static uint64_t attribute(struct cpython_reader *r, uint64_t object, const char *name)
{
    uint64_t type = cpython_pointer(r, object + CPYTHON_OB_TYPE), flags = cpython_pointer(r, type + TP_FLAGS);
    uint64_t keys = cpython_pointer(r, type + r->l->cached_keys);
    const uint64_t managed_dict = 1u << 4, inline_values = 1u << 2; /* Py_TPFLAGS_..., Include/object.h */
    if (r->l->minor <= 10 || !(flags & managed_dict)) {
        int64_t offset = (int64_t)cpython_pointer(r, type + TP_DICTOFFSET);
        return offset > 0 ? in_dict(r, cpython_pointer(r, object + (uint64_t)offset), name) : 0;
    }
    uint64_t dict = cpython_pointer(r, object - 24), values = 0;
    if (r->l->minor == 11) {
        values = cpython_pointer(r, object - 32);
    } else if (r->l->minor == 12) {
        if (dict & 1) { /* PyDictOrValues: an odd value is one less than the address of the values */
            values = dict + 1;
            dict = 0;
        }
    } else if (!dict && (flags & inline_values)) {
        values = object + cpython_pointer(r, type + TP_BASICSIZE) + 8;
    }
    if (dict)
        return in_dict(r, dict, name);
    return values && keys ? in_keys(r, keys, values, name) : 0;
}

enum cpython_name cpython_thread_name(const struct cpython_layout *layout, cpython_read *read, void *context,
                                      uint64_t tstate, char *name, size_t room)
{
    struct cpython_reader r;
    struct cpython_walk walk;
    struct cpython_frame f = {.frame = 0};
    int n = 0;
    cpython_reader_init(&r, layout, read, context);
    cpython_walk_begin(&walk, &r, tstate, 0);
    while (n < FRAMES_MAX && cpython_walk_next(&walk, &f))
        n++;
    struct cpython_code code;
    if (n == 0 || n == FRAMES_MAX || walk.broken || !cpython_code(&r, f.code, &code))
        return CPYTHON_NAME_NONE;
    if (!cpython_text_is(&r, cpython_pointer(&r, f.code + layout->code_name), "_bootstrap"))
        return cpython_text(&r, code.name, name, room, NULL) ? CPYTHON_NAME_FUNCTION : CPYTHON_NAME_NONE;
    uint64_t self = cpython_pointer(&r, f.frame + layout->frame_locals) & ~(uint64_t)3;
    uint64_t value = self ? attribute(&r, self, "_name") : 0;
    return value && cpython_text(&r, value, name, room, NULL) ? CPYTHON_NAME_THREAD : CPYTHON_NAME_NONE;
}
