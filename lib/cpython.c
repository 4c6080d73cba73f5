/* SPDX-License-Identifier: MIT */
/*
 * cpython.c - the layout table and what is read with it.
 *
 * Offsets are those of the releases' own headers (offsetof), constant within each minor version: Include/cpython/
 * pystate.h, Include/internal/pycore_frame.h, Include/cpython/code.h, unicodeobject.h, pycore_dict.h, object.h.
 * Everything read is checked for what it should be before it is believed.
 */
#include "cpython.h"

#include <string.h>

struct cpython_layout {
    uint8_t minor;
    uint16_t tstate_frame;  /* frame, cframe (3.11, 3.12) or current_frame */
    uint8_t cframe_current; /* 255 = tstate points to the frame itself */
    uint8_t frame_code, frame_back;
    uint8_t frame_owner; /* 0 = no such field */
    uint16_t frame_locals;
    uint8_t code_filename, code_name, code_qualname; /* qualname 0 = none */
    uint8_t ascii_data, compact_data;
    uint16_t cached_keys; /* PyHeapTypeObject.ht_cached_keys */
};

/* clang-format off */
static const struct cpython_layout layouts[] = {
    /*  frame cur  code back owner locals file name qual ascii comp keys */
    {8,  24, 255,  32,  24,   0,  360, 104, 112,   0, 48, 72, 872},
    {9,  24, 255,  32,  24,   0,  360, 104, 112,   0, 48, 72, 864},
    {10, 24, 255,  32,  24,   0,  352, 104, 112,   0, 48, 72, 872},
    {11, 56,   8,  32,  48,  69,   72, 112, 120, 128, 48, 72, 872},
    {12, 56,   0,   0,   8,  70,   72, 112, 120, 128, 40, 56, 880},
    {13, 72, 255,   0,   8,  70,   72, 112, 120, 128, 40, 56, 880},
    {14, 72, 255,   0,   8,  74,   80, 112, 120, 128, 40, 56, 880},
    {15, 72, 255,   0,   8,  74,   80, 112, 120, 128, 40, 56, 888},
};
/* clang-format on */

/* The same in all versions (PyObject, PyTypeObject, PyDictObject, PyASCIIObject of GIL builds). */
enum {
    OB_TYPE = 8,
    TP_NAME = 24,
    TP_BASICSIZE = 32,
    TP_FLAGS = 168,
    TP_DICTOFFSET = 288,
    MA_KEYS = 32,
    MA_VALUES = 40,
    UNICODE_LENGTH = 16,
    UNICODE_STATE = 32,
};

#define FRAMES_MAX 200  /* a thread's first frames; deeper stacks keep the name that they had */
#define ENTRIES_MAX 128 /* attributes of a Thread object that are looked at */

/* Every read is a system call, and what is wanted lies close together: the last few blocks are kept. */
#define BLOCK_BYTES 512 /* divides the page size: a block is there or not */
#define BLOCKS 8
struct reader {
    const struct cpython_layout *l;
    cpython_read *read;
    void *context;
    uint64_t address[BLOCKS]; /* 0 = none */
    unsigned next;
    unsigned char bytes[BLOCKS][BLOCK_BYTES];
};

const struct cpython_layout *cpython_layout(uint32_t hex)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (hex >> 24 == 3 && ((hex >> 16) & 255) == layouts[i].minor)
            return &layouts[i];
    return NULL;
}

static const unsigned char *block_at(struct reader *r, uint64_t address)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (r->address[i] == address)
            return r->bytes[i];
    unsigned i = r->next++ % BLOCKS;
    r->address[i] = 0;
    if (r->read(r->context, address, r->bytes[i], BLOCK_BYTES) != 0)
        return NULL;
    r->address[i] = address;
    return r->bytes[i];
}

/* Copies n bytes; 0 = done. */
static int fetch(struct reader *r, uint64_t address, void *to, size_t n)
{
    char *out = to;
    if (address < 4096 || address + n < address)
        return -1;
    while (n) {
        uint64_t offset = address % BLOCK_BYTES;
        size_t part = n < BLOCK_BYTES - offset ? n : BLOCK_BYTES - offset;
        const unsigned char *block = block_at(r, address - offset);
        if (!block)
            return -1;
        memcpy(out, block + offset, part);
        out += part;
        address += part;
        n -= part;
    }
    return 0;
}

static uint64_t pointer(struct reader *r, uint64_t address)
{
    uint64_t value;
    return fetch(r, address, &value, sizeof value) == 0 ? value : 0;
}

/* --- str --------------------------------------------------------------------------------------------------------- */
static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c >= 0xd800 && c < 0xe000)
        c = 0xfffd; /* a lone surrogate has no UTF-8 */
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | ((c >> 6) & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | ((c >> 12) & 63));
    to[2] = (char)(0x80 | ((c >> 6) & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Copies a str as UTF-8, cut to room.  False if it is none. */
static bool text(struct reader *r, uint64_t object, char *to, size_t room)
{
    uint64_t length;
    uint32_t state;
    char type_name[8] = "";
    uint64_t type_name_at = pointer(r, pointer(r, object + OB_TYPE) + TP_NAME);
    if (fetch(r, type_name_at, type_name, 4) != 0 || strcmp(type_name, "str") != 0)
        return false;
    if (fetch(r, object + UNICODE_LENGTH, &length, sizeof length) != 0 ||
        fetch(r, object + UNICODE_STATE, &state, sizeof state) != 0)
        return false;
    uint32_t kind = (state >> 2) & 7;
    bool compact = (state >> 5) & 1, ascii = (state >> 6) & 1;
    if (!compact || (kind != 1 && kind != 2 && kind != 4) || length > 1u << 20)
        return false;
    uint64_t data = object + (ascii ? r->l->ascii_data : r->l->compact_data);
    size_t used = 0;
    unsigned char chunk[64];
    uint64_t per_chunk = sizeof chunk / kind;
    for (uint64_t i = 0; i < length; i += per_chunk) {
        uint64_t n = length - i < per_chunk ? length - i : per_chunk;
        if (fetch(r, data + i * kind, chunk, n * kind) != 0)
            return false;
        for (uint64_t j = 0; j < n; j++) {
            uint32_t c = 0;
            memcpy(&c, chunk + j * kind, kind);
            if (used + 5 > room) {
                to[used] = 0;
                return true;
            }
            used += put_utf8(to + used, c);
        }
    }
    to[used] = 0;
    return true;
}

static bool text_is(struct reader *r, uint64_t object, const char *wanted)
{
    char found[32];
    return object && text(r, object, found, sizeof found) && strcmp(found, wanted) == 0;
}

/* --- an object's attribute --------------------------------------------------------------------------------------- */
/* Looks a name up in a PyDictKeysObject; values: the split table's values, or 0 where the entries hold them. */
static uint64_t in_keys(struct reader *r, uint64_t keys, uint64_t values, const char *name)
{
    uint64_t n, entries;
    bool wide;
    if (r->l->minor <= 10) {
        uint64_t size = pointer(r, keys + 8);
        n = pointer(r, keys + 32);
        entries = keys + 40 + size * (size <= 0xff ? 1 : size <= 0xffff ? 2 : 4);
        wide = true;
    } else {
        uint8_t head[4]; /* log2_size, log2_index_bytes, kind */
        if (fetch(r, keys + 8, head, sizeof head) != 0 || head[1] > 40)
            return 0;
        n = pointer(r, keys + 24);
        entries = keys + 32 + ((uint64_t)1 << head[1]);
        wide = head[2] == 0;
    }
    for (uint64_t i = 0; i < n && i < ENTRIES_MAX; i++) {
        uint64_t entry = entries + i * (wide ? 24 : 16) + (wide ? 8 : 0); /* {[hash] key value} */
        if (text_is(r, pointer(r, entry), name))
            return values ? pointer(r, values + i * 8) : pointer(r, entry + 8);
    }
    return 0;
}

static uint64_t in_dict(struct reader *r, uint64_t dict, const char *name)
{
    uint64_t keys = pointer(r, dict + MA_KEYS), values = pointer(r, dict + MA_VALUES);
    if (values && r->l->minor >= 13)
        values += 8; /* PyDictValues: four bytes of bookkeeping, padded; up to 3.12 they lie in front */
    return keys ? in_keys(r, keys, values, name) : 0;
}

static uint64_t attribute(struct reader *r, uint64_t object, const char *name)
{
    uint64_t type = pointer(r, object + OB_TYPE), flags = pointer(r, type + TP_FLAGS);
    uint64_t keys = pointer(r, type + r->l->cached_keys);
    const uint64_t managed_dict = 1u << 4, inline_values = 1u << 2; /* Py_TPFLAGS_..., Include/object.h */
    if (r->l->minor <= 10 || !(flags & managed_dict)) {
        int64_t offset = (int64_t)pointer(r, type + TP_DICTOFFSET);
        return offset > 0 ? in_dict(r, pointer(r, object + (uint64_t)offset), name) : 0;
    }
    uint64_t dict = pointer(r, object - 24), values = 0;
    if (r->l->minor == 11) {
        values = pointer(r, object - 32);
    } else if (r->l->minor == 12) {
        if (dict & 1) { /* PyDictOrValues: an odd value is one less than the address of the values */
            values = dict + 1;
            dict = 0;
        }
    } else if (!dict && (flags & inline_values)) {
        values = object + pointer(r, type + TP_BASICSIZE) + 8;
    }
    if (dict)
        return in_dict(r, dict, name);
    return values && keys ? in_keys(r, keys, values, name) : 0;
}

/* --- frames ------------------------------------------------------------------------------------------------------ */
static bool is_code(struct reader *r, uint64_t object)
{
    char type_name[8] = "";
    uint64_t at = pointer(r, pointer(r, object + OB_TYPE) + TP_NAME);
    return fetch(r, at, type_name, 5) == 0 && strcmp(type_name, "code") == 0;
}

enum cpython_name cpython_thread_name(const struct cpython_layout *layout, cpython_read *read, void *context,
                                      uint64_t tstate, char *name, size_t room)
{
    struct reader r;
    r.l = layout;
    r.read = read;
    r.context = context;
    r.next = 0;
    memset(r.address, 0, sizeof r.address);
    uint64_t frame = pointer(&r, tstate + layout->tstate_frame), root = 0, code = 0;
    if (frame && layout->cframe_current != 255)
        frame = pointer(&r, frame + layout->cframe_current);
    for (int i = 0; frame && i < FRAMES_MAX; i++) {
        unsigned char owner = 0;
        uint64_t c = pointer(&r, frame + layout->frame_code) & ~(uint64_t)3; /* 3.14+ tags references */
        if (layout->frame_owner && fetch(&r, frame + layout->frame_owner, &owner, 1) != 0)
            return CPYTHON_NAME_NONE;
        if (c && owner < 3 && is_code(&r, c)) { /* else an entry frame between C and Python */
            root = frame;
            code = c;
        }
        frame = pointer(&r, frame + layout->frame_back);
    }
    if (frame || !root)
        return CPYTHON_NAME_NONE;
    if (!text_is(&r, pointer(&r, code + layout->code_name), "_bootstrap")) {
        uint64_t function = pointer(&r, code + (layout->code_qualname ? layout->code_qualname : layout->code_name));
        return function && text(&r, function, name, room) ? CPYTHON_NAME_FUNCTION : CPYTHON_NAME_NONE;
    }
    uint64_t self = pointer(&r, root + layout->frame_locals) & ~(uint64_t)3;
    uint64_t value = self ? attribute(&r, self, "_name") : 0;
    return value && text(&r, value, name, room) ? CPYTHON_NAME_THREAD : CPYTHON_NAME_NONE;
}
