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
};

/* There is none yet.  A control group with a limit on processor time never has room: what looks take would be missing.
 */
void holds_room_begin(struct holds_room *room);

/* Is there room at now_ns, which is CLOCK_MONOTONIC?  By what was in the last tenth of a second, at least; reads the
 * kernel's account no more often.  That is `some` of /proc/pressure/cpu: how long anybody had to wait for a processor
 * (Documentation/accounting/psi.rst, Linux 4.20 and later; it may be switched off). */
bool holds_room_now(struct holds_room *room, uint64_t now_ns);

void holds_room_end(struct holds_room *room);

#endif
