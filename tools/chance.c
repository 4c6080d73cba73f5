/* SPDX-License-Identifier: MIT */
/*
 * chance.c - a share p of n looks has a standard error of sqrt(p (1 - p) / n), with two looks more of each kind, for
 * rare states (Agresti and Coull).
 */
#include "chance.h"

#include <math.h>

double chance_error(double seen, double n)
{
    double p = (seen + 2) / (n + 4);

    return p < 1 ? 1.96 * sqrt(p * (1 - p) / (n + 4)) : 0;
}
