/* SPDX-License-Identifier: MIT */
/*
 * holds-plan.h - the moments at which a process is looked at, and what a look stands for.
 *
 * Distances are exponentially distributed, their mean is decided by what was before.  So each moment is as likely as
 * any other, whatever looks have done to the process and the process to looks; one for which somebody could not come in
 * time is not dropped but made up for as soon as that is possible.
 */
#ifndef GILSCOPE_HOLDS_PLAN_H
#define GILSCOPE_HOLDS_PLAN_H

#include <stdint.h>

struct holds_plan {
    uint64_t due_ns; /* of the next look */
    double mean_ns;  /* distance of looks, up to there */
};

/* Begins at now_ns with a mean distance of mean_ns.  *random: state of the generator, not 0. */
void holds_plan_begin(struct holds_plan *p, uint64_t *random, uint64_t now_ns, double mean_ns);

/* What a look at now_ns, which is due, stands for, in ns: the mean distance, times the moments that have come since
 * (of more than a second without any look, those are forgotten: somebody had stopped us).  The next moment is drawn. */
uint64_t holds_plan_look(struct holds_plan *p, uint64_t *random, uint64_t now_ns);

/* From now_ns on, the mean distance is mean_ns. */
void holds_plan_change(struct holds_plan *p, uint64_t now_ns, double mean_ns);

#endif
