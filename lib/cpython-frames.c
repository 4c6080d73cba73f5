/* SPDX-License-Identifier: MIT */
/*
 * cpython-frames.c - walks the Python frames of a thread, and tells what code they run and where.
 *
 * Up to 3.10 each frame has an evaluation loop of its own (Python/ceval.c, _PyEval_EvalFrameDefault).  From 3.11 on a
 * call from Python to Python stays in the loop; a loop that native code called begins with a frame that has is_entry
 * set (3.11), or lies behind a frame of its own in the chain that runs no Python code (3.12+; owner 3 or 4:
 * Include/internal/pycore_frame.h, enum _frameowner).
 */
#include "cpython-frames.h"

#include <string.h>

#define STEPS_MAX 100000 /* a chain that bites its tail ends here */
#define NOT_PYTHON 3     /* frame_owner */
#define LINES_MAX (64u << 10)

static uint64_t at64(const unsigned char *bytes, unsigned offset)
{
    uint64_t value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

static uint32_t at32(const unsigned char *bytes, unsigned offset)
{
    uint32_t value;
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

static bool plausible(uint64_t address)
{
    return address >= 4096 && !(address & 7) && address >> 56 == 0;
}

void cpython_walk_begin(struct cpython_walk *w, struct cpython_reader *r, uint64_t tstate, uint64_t code_type)
{
    memset(w, 0, sizeof *w);
    w->r = r;
    w->code_type = code_type;
    w->next = cpython_pointer(r, tstate + r->l->tstate_frame);
    if (w->next && r->l->cframe_current != 255)
        w->next = cpython_pointer(r, w->next + r->l->cframe_current);
}

static bool is_code(struct cpython_walk *w, uint64_t object)
{
    if (!plausible(object))
        return false;
    uint64_t type = cpython_pointer(w->r, object + CPYTHON_OB_TYPE);
    if (type && type == w->code_type)
        return true;
    if (!plausible(type) || !cpython_is_a(w->r, object, "code"))
        return false;
    w->code_type = type;
    return true;
}

/* Reads the frame at w->next: 1 = Python code, in *f; 0 = the border to C; -1 = no frame. */
static int read_frame(struct cpython_walk *w, struct cpython_frame *f)
{
    const struct cpython_layout *l = w->r->l;
    unsigned char bytes[CPYTHON_FRAME_BYTES_MAX];
    size_t size = CPYTHON_FRAME_BYTES(l->minor);
    uint64_t frame = w->next;
    if (!plausible(frame) || ++w->steps > STEPS_MAX || cpython_fetch(w->r, frame, bytes, size) != 0)
        return -1;
    w->next = at64(bytes, l->frame_back);
    if (l->minor >= 12 && bytes[l->frame_owner] >= NOT_PYTHON)
        return 0;
    f->frame = frame;
    f->code = at64(bytes, l->frame_code) & ~(uint64_t)3; /* 3.14+ tags references */
    if (!is_code(w, f->code))
        return -1;
    if (l->minor <= 10) {
        int32_t last = (int32_t)at32(bytes, l->frame_instruction);
        f->at = l->minor == 10 ? last * 2 : last; /* an index of code units there */
    } else {
        int64_t at = (int64_t)(at64(bytes, l->frame_instruction) - (f->code + l->code_bytes));
        f->at = at >= 0 && at < 1 << 28 ? (int32_t)at : -1;
    }
    f->entry = l->minor <= 10 || (l->frame_entry && bytes[l->frame_entry]);
    return 1;
}

bool cpython_walk_next(struct cpython_walk *w, struct cpython_frame *f)
{
    while (w->next) {
        struct cpython_frame found;
        int kind = read_frame(w, &found);
        if (kind < 0) {
            w->broken = true;
            break;
        }
        if (kind == 0) {
            if (w->have_ahead)
                w->ahead.entry = true;
            continue;
        }
        bool have = w->have_ahead;
        *f = w->ahead;
        w->ahead = found;
        w->have_ahead = true;
        if (have)
            return true;
    }
    w->next = 0;
    if (!w->have_ahead)
        return false;
    *f = w->ahead;
    /* The outermost: nothing but native code can have called it, and from 3.11 on it says so itself.  One that does not has
     * just been made and is not yet linked (_PyFrame_Initialize, Include/internal/pycore_frame.h): another thread's. */
    w->broken |= w->r->l->minor >= 11 && !f->entry;
    f->entry |= !w->broken;
    w->have_ahead = false;
    return true;
}

bool cpython_code(struct cpython_reader *r, uint64_t code, struct cpython_code *c)
{
    const struct cpython_layout *l = r->l;
    unsigned char bytes[144];
    if (cpython_fetch(r, code, bytes, sizeof bytes) != 0)
        return false;
    c->name = at64(bytes, l->code_qualname ? l->code_qualname : l->code_name);
    c->file = at64(bytes, l->code_filename);
    c->lines = at64(bytes, l->code_lines);
    c->first_line = at32(bytes, l->code_first_line);
    return plausible(c->name) && plausible(c->file);
}

/* --- lines ------------------------------------------------------------------------------------------------------- */
/* The bytes of a table, one after the other. */
struct table {
    struct cpython_reader *r;
    uint64_t next, end;
    unsigned have, used;
    bool failed;
    unsigned char bytes[64];
};

static bool open_table(struct table *t, struct cpython_reader *r, uint64_t object)
{
    uint64_t size = 0;
    t->r = r;
    t->have = t->used = 0;
    t->failed = !plausible(object) || !cpython_is_a(r, object, "bytes") ||
                cpython_fetch(r, object + CPYTHON_OB_SIZE, &size, sizeof size) != 0;
    t->next = object + CPYTHON_BYTES_DATA;
    t->end = t->next + (size < LINES_MAX ? size : LINES_MAX);
    return !t->failed;
}

static bool more(const struct table *t)
{
    return !t->failed && (t->used < t->have || t->next < t->end);
}

static unsigned next_byte(struct table *t)
{
    if (t->used == t->have) {
        size_t n = t->end - t->next < sizeof t->bytes ? t->end - t->next : sizeof t->bytes;
        t->failed |= n == 0 || cpython_fetch(t->r, t->next, t->bytes, n) != 0;
        if (t->failed)
            return 0;
        t->next += n;
        t->have = (unsigned)n;
        t->used = 0;
    }
    return t->bytes[t->used++];
}

static uint32_t next_varint(struct table *t)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 30; shift += 6) {
        unsigned b = next_byte(t);
        value |= (b & 63) << shift;
        if (!(b & 64))
            break;
    }
    return value;
}

static int32_t next_signed(struct table *t)
{
    uint32_t value = next_varint(t);
    return value & 1 ? -(int32_t)(value >> 1) : (int32_t)(value >> 1);
}

/* 3.8, 3.9: pairs of a step in the code and a signed one in the lines (Objects/lnotab_notes.txt). */
static int32_t line_by_lnotab(struct table *t, int32_t line, int32_t at)
{
    for (int32_t address = 0; more(t);) {
        address += (int32_t)next_byte(t);
        if (address > at)
            break;
        line += (int8_t)next_byte(t);
    }
    return line;
}

/* 3.10: pairs of a length and a step in the lines that comes before it (PEP 626); -128 = no line. */
static int32_t line_by_ranges(struct table *t, int32_t line, int32_t at)
{
    for (int32_t end = 0; more(t);) {
        end += (int32_t)next_byte(t);
        int8_t step = (int8_t)next_byte(t);
        if (step != -128)
            line += step;
        if (at < end)
            return step == -128 ? 0 : line;
    }
    return 0;
}

/* 3.11+: entries of one byte with a code and a length, and what the code asks for (PEP 657, Objects/locations.md). */
static int32_t line_by_locations(struct table *t, int32_t line, int32_t at)
{
    for (int32_t end = 0; more(t);) {
        unsigned first = next_byte(t), code = (first >> 3) & 15;
        end += ((int32_t)(first & 7) + 1) * 2;
        if (code == 14) {
            line += next_signed(t);
            next_varint(t); /* end line, column, end column */
            next_varint(t);
            next_varint(t);
        } else if (code == 13) {
            line += next_signed(t);
        } else if (code >= 10 && code <= 12) {
            line += (int32_t)code - 10;
            next_byte(t);
            next_byte(t);
        } else if (code < 10) {
            next_byte(t);
        }
        if (at < end)
            return code == 15 ? 0 : line;
    }
    return 0;
}

uint32_t cpython_line(struct cpython_reader *r, const struct cpython_code *c, int32_t at)
{
    struct table t;
    int32_t first = (int32_t)c->first_line, line;
    if (at < 0)
        return c->first_line;
    if (!open_table(&t, r, c->lines))
        return 0;
    if (r->l->minor <= 9)
        line = line_by_lnotab(&t, first, at);
    else if (r->l->minor == 10)
        line = line_by_ranges(&t, first, at);
    else
        line = line_by_locations(&t, first, at);
    return line > 0 && !t.failed ? (uint32_t)line : 0;
}
