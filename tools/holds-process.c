/* SPDX-License-Identifier: MIT */
/*
 * holds-process.c - who holds the GIL, by the live recording, and what that thread is doing, by the process's memory.
 *
 * The process is neither stopped nor traced.  Whether the GIL is held, by which thread state, and what leads to that
 * one's innermost frame is read in one call: that is the instant of a look.  Which thread it is, and who waits, the
 * recording says before and after; if nobody else has taken the GIL in between, it is right.  Frames further out are
 * those that wait for the innermost one, and stand still for longer.
 */
#include "holds-process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "cpython-callee.h"
#include "holds-see.h"
#include "live.h"
#include "peer.h"

#define TRIES 3
#define GIL_LAST_HOLDER_AT (-24) /* from gil->cond; locked follows.  The same in 3.8 to 3.15 */
#define NAME_BYTES 512
#define PLACES_MAX 65536u

/* --- places ------------------------------------------------------------------------------------------------------ */
/* The cell of the place at which a frame is; 0 if it cannot be read.  Known ones are found again by what their code
 * object refers to as well: addresses are used again. */
static uint32_t place_of(struct holds_process *p, struct cpython_reader *r, const struct cpython_frame *f)
{
    struct cpython_code code;
    char function[NAME_BYTES], file[NAME_BYTES];
    bool found;

    if (!cpython_code(r, f->code, &code))
        return 0;
    uint64_t parts[] = {f->code, (uint64_t)(int64_t)f->at, code.name, code.file, code.lines, code.first_line};
    if (p->places.n > PLACES_MAX)
        holds_table_clear(&p->places);
    uint32_t *cell = holds_table_at(&p->places, holds_hash(0, parts, sizeof parts), &found);
    if (!cell)
        return 0;
    if (!*cell && cpython_text(r, code.name, function, sizeof function, NULL) &&
        cpython_text(r, code.file, file, sizeof file, NULL)) {
        struct holds_place place = {function, file, cpython_line(r, &code, f->at), code.first_line};
        *cell = holds_file_place(p->file, &place);
    }
    return *cell;
}

/* What the innermost frame is calling, as flags and the address of the function. */
static uint32_t callee_of(struct holds_process *p, struct cpython_reader *r, const struct cpython_frame *inner,
                          uint64_t tstate, uint64_t *callee)
{
    struct cpython_frame f;

    *callee = 0;
    uint64_t function = p->no_native ? 0 : cpython_callee(r, tstate, &f), type_call;
    /* Objects of an extension's types are called by its function, as numba's compiled ones are.  Those of the
     * interpreter's own types are functions in Python and classes, mostly, of which that would say nothing. */
    if (!function && !p->no_native && (function = cpython_callee_object(r, tstate, &f, &type_call)) &&
        (!maps_is_code(&p->maps, p->pid, type_call) || maps_is_same(&p->maps, function, type_call)))
        return 0;
    if (!function || f.frame != inner->frame || f.at != inner->at || f.code != inner->code ||
        !maps_is_code(&p->maps, p->pid, function))
        return 0;
    for (; p->maps_written < p->maps.n; p->maps_written++) {
        const struct maps_object *o = &p->maps.object[p->maps_written];
        holds_file_object(p->file, o->path, o->start, o->end, o->bias);
    }
    *callee = function + 1; /* as a return address would be */
    return REC_STACK_CALLEE;
}

/* --- what a look stands for -------------------------------------------------------------------------------------- */
/* Of what this thread is charged with; NULL if there is no memory. */
static struct holds_sum *charged_sum(struct holds_process *p, uint32_t thread)
{
    bool found;
    uint32_t *number = holds_table_at(&p->charged, holds_hash(2, &thread, sizeof thread), &found);

    if (!number || *number)
        return number ? &p->charged_sum[*number - 1] : NULL;
    if (p->n_charged == p->charged_room) {
        size_t room = p->charged_room ? p->charged_room * 2 : 16;
        struct holds_sum *larger = realloc(p->charged_sum, room * sizeof *larger);
        if (!larger)
            return NULL;
        p->charged_sum = larger;
        p->charged_room = room;
    }
    p->charged_sum[p->n_charged] = (struct holds_sum){.given_ns = 0};
    *number = (uint32_t)++p->n_charged;
    return &p->charged_sum[*number - 1];
}

/* --- calls ------------------------------------------------------------------------------------------------------- */
/* For how long the holder has been in this call, as far as is known: since the first look that found it there in this
 * hold.  It may be one call after the other; but a function that lets go of the GIL ends the hold with it. */
static uint64_t in_call_ns(struct holds_gil *g, const struct cpython_frame *inner, uint64_t function, uint64_t now_ns)
{
    struct holds_call call = {function,     inner->frame,       inner->code, g->state_ticks,
                              g->n_changes, (int64_t)inner->at, now_ns},
                      *last = &g->call;

    if (function && call.function == last->function && call.frame == last->frame && call.code == last->code &&
        call.at == last->at && call.hold_ticks == last->hold_ticks && call.n_changes == last->n_changes)
        return now_ns - last->since_ns;
    *last = call;
    return 0;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */
static bool make_file(struct holds_process *p)
{
    if (p->file || p->no_file)
        return p->file;
    size_t stem = strlen(p->name) - strlen(REC_SUFFIX);
    char name[NAME_MAX + 1];
    int n = snprintf(name, sizeof name, "%.*s" REC_HOLDS_SUFFIX, (int)stem, p->name);
    if (n < (int)sizeof name)
        p->file = holds_file_new(p->directory, name, &p->header);
    p->no_file = !p->file;
    return p->file;
}

enum found { SEEN, GONE, AGAIN, NOTHING };

struct instant { /* what is so at one moment */
    struct {
        uint64_t last_holder;
        int32_t locked, pad;
    } gil;
    struct cpython_reader r;
    struct cpython_walk walk;
    struct cpython_frame f; /* the innermost one, */
    bool more;              /* if there is any */
};

/* Reads the GIL and its holder's innermost frame.  What leads there lies where it did the last time, mostly, and is
 * read in one call; if not, it is known now, and read again. */
static enum found read_instant(struct holds_process *p, const struct holds_gil *g, struct instant *i)
{
    for (int again = 0; again < 2; again++) {
        holds_memory_begin(&p->memory, g->holder);
        errno = 0;
        if (holds_memory_read(&p->memory, g->cond + GIL_LAST_HOLDER_AT, &i->gil, sizeof i->gil))
            return errno == ESRCH || errno == EPERM ? GONE : NOTHING;
        if (!i->gil.locked)
            return NOTHING;
        if (i->gil.locked != 1 || !i->gil.last_holder)
            return AGAIN;
        cpython_reader_init(&i->r, p->layout, holds_memory_read, &p->memory);
        cpython_walk_begin(&i->walk, &i->r, i->gil.last_holder, p->code_type);
        i->f = (struct cpython_frame){.code = 0};
        i->more = cpython_walk_next(&i->walk, &i->f);
        if (!i->more || holds_memory_innermost(&p->memory, i->f.frame))
            break;
        holds_memory_end(&p->memory);
    }
    return SEEN;
}

/* Whether the thread that the recording named before, as one that held the GIL or not, held it at that moment; what the
 * recording says of that hold then is in *g.  One that was short may have begun and ended in between. */
static enum found was_held(const struct holds_process *p, struct holds_gil *g, bool held)
{
    struct holds_gil after = *g;
    bool held_after = holds_see(p, &after);

    if (after.n_changes != g->n_changes)
        return AGAIN;
    if (!held && !held_after && after.state_ticks == g->state_ticks)
        return NOTHING; /* it is not measured */
    if (held_after || !held)
        *g = after;
    return SEEN;
}

/* Enters the stack of the GIL's holder. */
static enum found enter(struct holds_process *p, struct holds_gil *g, struct instant *i, struct holds_sample *s,
                        uint64_t now_ns)
{
    static uint32_t frames[HOLDS_PYTHON_FRAMES];
    struct cpython_frame inner = i->f; /* if there is any: a thread of C has none */

    if (!make_file(p))
        return NOTHING;
    if (!i->more && i->walk.broken)
        return AGAIN;
    for (; i->more; i->more = cpython_walk_next(&i->walk, &i->f)) {
        uint32_t cell = s->n_python < HOLDS_PYTHON_FRAMES ? place_of(p, &i->r, &i->f) : 0;
        if (!cell)
            break;
        if (!s->n_python)
            s->flags |= callee_of(p, &i->r, &inner, i->gil.last_holder, &s->callee);
        frames[s->n_python++] = cell | (i->f.entry ? REC_ENTRY_FRAME : 0);
    }
    if (!i->walk.broken)
        p->code_type = i->walk.code_type;
    if (!s->n_python && (i->more || i->walk.broken))
        return AGAIN;
    if (i->more || i->walk.broken)
        s->flags |= REC_STACK_PYTHON_CUT;
    if (!s->callee)
        s->flags |= REC_STACK_NO_NATIVE;
    s->call_ns = in_call_ns(g, &inner, s->callee, now_ns);
    s->python = frames;
    holds_file_add(p->file, s, now_ns);
    return SEEN;
}

/* Whether those who wait have begun to not long ago: since then, at frame_ns, no more than twice the time has passed
 * that the look took to come.  A look that takes the processor of a thread that is about to wait does not see it wait:
 * so of the first moments of waits some are missing, as long as that, and those that follow stand for them, too. */
static bool is_fresh(const struct holds_process *p, const struct holds_gil *g, uint64_t due_ns, uint64_t frame_ns)
{
    return p->ns_per_tick > 0 &&
           (double)frame_ns - holds_time_ns(p, g->waiters_at_ticks) < 2 * ((double)frame_ns - (double)due_ns);
}

/* A look at a GIL that is held or not, as the recording says. */
static enum found sample(struct holds_process *p, struct holds_gil *g, bool held, uint64_t due_ns, uint64_t now_ns,
                         uint64_t stands_for_ns)
{
    struct instant instant;
    enum found found = read_instant(p, g, &instant);
    uint64_t frame_ns = found == SEEN ? clock_ns(CLOCK_MONOTONIC) : 0;

    if (found == SEEN)
        found = was_held(p, g, held);
    if (found != SEEN)
        return found;
    struct holds_sum *charges = g->n_waiters ? charged_sum(p, g->holder) : NULL;
    uint64_t held_ns = holds_sum_made_up(&g->held_sum, stands_for_ns);
    struct holds_sample s = {.thread = g->holder,
                             .held_ns = held_ns,
                             .charged_ns =
                                 holds_sum_charged(charges, held_ns * g->n_waiters, is_fresh(p, g, due_ns, frame_ns))};
    found = enter(p, g, &instant, &s, now_ns);
    holds_memory_end(&p->memory);
    if (found != SEEN || p->ns_per_tick <= 0)
        return found;
    holds_sum_given(&g->held_sum, s.held_ns, holds_held_ns(p, g, now_ns));
    if (charges)
        holds_sum_given(charges, s.charged_ns, (double)g->charged_ticks * p->ns_per_tick);
    return found;
}

enum holds_look holds_process_look(struct holds_process *p, uint64_t due_ns, uint64_t now_ns, uint64_t stands_for_ns)
{
    enum holds_look look = HOLDS_IDLE;

    if (!p->n_gils || now_ns - p->checked_ns > 100000000) {
        p->checked_ns = now_ns;
        if (holds_process_ended(p))
            return HOLDS_OVER;
        holds_scan(p);
        holds_read_rate(p);
    }
    for (uint32_t i = 0; i < p->n_gils; i++) {
        struct holds_gil *g = &p->gil[i], before = *g;
        enum found found = AGAIN;
        bool held = false;
        for (int try = 0; try < TRIES && found == AGAIN; try++) {
            held = holds_see(p, g);
            found = g->holder ? sample(p, g, held, due_ns, now_ns, stands_for_ns) : NOTHING;
        }
        if (found == GONE)
            return HOLDS_OVER;
        if (found == AGAIN && held && p->file)
            holds_file_loss(p->file, REC_LOSS_STACKS_UNREAD);
        if (found == SEEN || g->state_ticks != before.state_ticks || g->n_changes != before.n_changes)
            look = HOLDS_BUSY;
    }
    return look;
}

/* --- processes --------------------------------------------------------------------------------------------------- */
bool holds_process_ended(const struct holds_process *p)
{
    struct pollfd end = {.fd = p->pidfd, .events = POLLIN};

    if (p->pidfd >= 0)
        return poll(&end, 1, 0) > 0;
    return live_pid(&p->header) != p->pid;
}

static bool is_sound(const struct rec_header *h)
{
    return !memcmp(h->magic, REC_MAGIC, sizeof h->magic) && h->endian == REC_ENDIAN && h->version_min <= REC_VERSION &&
           h->version >= REC_VERSION_TURN && h->source == REC_SOURCE_PRELOAD && h->header_bytes >= sizeof *h &&
           h->header_bytes % REC_CELL_BYTES == 0 && !h->free_threaded && h->proc_start_jiffies;
}

struct holds_process *holds_process_new(int directory, const char *name, bool no_native, bool *later)
{
    struct holds_process *p = calloc(1, sizeof *p);
    struct stat status;

    *later = false;
    if (!p)
        return NULL;
    p->directory = directory;
    p->no_native = no_native;
    p->pidfd = -1;
    p->name = strdup(name);
    /* O_NONBLOCK: a FIFO of that name must not stop us. */
    p->fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (!p->name || p->fd < 0 || fstat(p->fd, &status) || !S_ISREG(status.st_mode) ||
        !holds_get(p, &p->header, sizeof p->header, 0) || !is_sound(&p->header) || p->header.end_ticks ||
        !(p->layout = cpython_layout(p->header.python_hex)) || !(p->pid = live_pid(&p->header))) {
        *later = p->fd < 0 && errno == EMFILE;
        holds_process_free(p, 0);
        return NULL;
    }
    p->scan.scanned = p->header.header_bytes;
    p->memory.pid = p->pid;
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (holds_process_ended(p)) { /* its id may be another one's already */
        holds_process_free(p, 0);
        return NULL;
    }
    return p;
}

void holds_process_free(struct holds_process *p, uint64_t now_ns)
{
    if (!p)
        return;
    holds_file_close(p->file, now_ns);
    if (p->fd >= 0)
        close(p->fd);
    if (p->pidfd >= 0)
        close(p->pidfd);
    holds_table_clear(&p->places);
    holds_table_clear(&p->charged);
    free(p->charged_sum);
    maps_free(&p->maps);
    free(p->name);
    free(p);
}
