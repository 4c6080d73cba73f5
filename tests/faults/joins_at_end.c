/* SPDX-License-Identifier: MIT */
/* joins_at_end.c - a library that waits for a thread of Python's when the process ends. */
#include <time.h>

static volatile int over;

void is_over(void)
{
    over = 1;
}

__attribute__((destructor)) static void wait_for_it(void)
{
    for (int i = 0; i < 30000 && !over; i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}
