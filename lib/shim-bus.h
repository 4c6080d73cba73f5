/* SPDX-License-Identifier: MIT */
/* shim-bus.h - SIGBUS: a recording whose storage fails does not take the program with it. */
#ifndef GILSCOPE_SHIM_BUS_H
#define GILSCOPE_SHIM_BUS_H

/* Puts a handler in front of the program's own for SIGBUS, or does nothing if SIGBUS is ignored.  Called with the
 * recording mapped; again in a forked child that records.  Errors leave things as they are. */
void shim_bus_start(void);

/* In a forked child: SIGBUS is this process's from now on. */
void shim_bus_in_child(void);

#endif
