/* SPDX-License-Identifier: MIT */
/*
 * holds-room.h - whether looks may cost more for a while, because nobody on this machine waits for a processor.
 */
#ifndef GILSCOPE_HOLDS_ROOM_H
#define GILSCOPE_HOLDS_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct holds_room {
    int fd; /* of /proc/pressure/cpu; -1 = nothing is known, and so there is no room */
    bool is_there;
    uint64_t read_ns, waited_us; /* when it was read last, and what it said */
    int load_fd;                 /* of /proc/loadavg; -1 = nothing is known */
    uint64_t load_read_ns;
    double crowd;
};

/* There is none yet.  A control group with a limit on processor time never has room: what looks take would be missing.
 */
void holds_room_begin(struct holds_room *room);

/* Is there room at now_ns, which is CLOCK_MONOTONIC?  By what was in the last tenth of a second, at least; reads the
 * kernel's account no more often.  That is `some` of /proc/pressure/cpu: how long anybody had to wait for a processor
 * (Documentation/accounting/psi.rst, Linux 4.20 and later; it may be switched off). */
bool holds_room_now(struct holds_room *room, uint64_t now_ns);

/* How many threads run or are ready to, on the whole machine, for each CROWD_LEAST (4) of them that each processor can
 * well have; 1 at least.  Where hundreds are ready, a thread that a look takes from its processor for a moment may be
 * behind all of them before it has one again, and if it has the GIL, everybody is: what looks cost by the clock says
 * nothing of that.  As holds_room_now(). */
double holds_room_crowd(struct holds_room *room, uint64_t now_ns);

void holds_room_end(struct holds_room *room);

#endif
