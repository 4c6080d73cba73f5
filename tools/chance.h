/* SPDX-License-Identifier: MIT */
/*
 * chance.h - how far off what was found by looking now and then may be.
 */
#ifndef GILSCOPE_CHANCE_H
#define GILSCOPE_CHANCE_H

/* A share was seen in `seen` of n looks, or what counts as so many: in 95 of 100 cases the truth is no more than this from
 * it, as a part of 1. */
double chance_error(double seen, double n);

#endif
