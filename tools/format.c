/* SPDX-License-Identifier: MIT */
/*
 * format.c - numbers with units.
 */
#include "format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *with_unit(char buffer[FORMAT_BYTES], uint64_t ns, double unit_ns, const char *unit)
{
    double value = (double)ns / unit_ns;

    /* 9.995 and 99.95 would be rounded to one digit more than the others have */
    snprintf(buffer, FORMAT_BYTES, value < 9.995 ? "%.2f %s" : value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit);
    return buffer;
}

const char *format_time(char buffer[FORMAT_BYTES], uint64_t ns)
{
    uint64_t s = (ns + 500000000) / 1000000000;

    if (ns < 1000)
        snprintf(buffer, FORMAT_BYTES, "%u %s", (unsigned)ns, ns ? "ns" : "s");
    else if (ns < 999500)
        with_unit(buffer, ns, 1e3, "µs");
    else if (ns < 999500000)
        with_unit(buffer, ns, 1e6, "ms");
    else if (s < 120)
        with_unit(buffer, ns, 1e9, "s");
    else if (s < 7200)
        snprintf(buffer, FORMAT_BYTES, "%" PRIu64 " min %02u s", s / 60, (unsigned)(s % 60));
    else
        snprintf(buffer, FORMAT_BYTES, "%" PRIu64 " h %02u min", s / 3600, (unsigned)(s / 60 % 60));
    return buffer;
}

const char *format_share(char buffer[FORMAT_BYTES], double share)
{
    if (share > 0 && share < 0.0005)
        snprintf(buffer, FORMAT_BYTES, "<0.1 %%");
    else
        snprintf(buffer, FORMAT_BYTES, "%.1f %%", share * 100);
    return buffer;
}

const char *format_cpus(char buffer[FORMAT_BYTES], double cpus)
{
    int n = snprintf(buffer, FORMAT_BYTES, "%.*g processor", cpus < 100 ? 3 : 6, cpus);

    snprintf(buffer + n, (size_t)(FORMAT_BYTES - n), "%s", strcmp(buffer, "1 processor") ? "s" : "");
    return buffer;
}

const char *format_cpus_of(char buffer[FORMAT_BYTES], uint32_t cpus, double limit)
{
    int n = snprintf(buffer, FORMAT_BYTES, "%" PRIu32 " CPU%s", cpus, cpus == 1 ? "" : "s");

    if (limit > 0 && limit < cpus)
        snprintf(buffer + n, (size_t)(FORMAT_BYTES - n), " limited to %.3g", limit);
    return buffer;
}

const char *format_count(char buffer[FORMAT_BYTES], uint64_t count)
{
    char digits[FORMAT_BYTES], *to = buffer;
    int n = snprintf(digits, sizeof digits, "%" PRIu64, count);

    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return buffer;
}

const char *format_share_xml(char buffer[FORMAT_BYTES], double share)
{
    char plain[FORMAT_BYTES];
    const char *text = format_share(plain, share);

    snprintf(buffer, FORMAT_BYTES, "%s%s", *text == '<' ? "&lt;" : "", text + (*text == '<'));
    return buffer;
}
