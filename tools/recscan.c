/* SPDX-License-Identifier: MIT */
/*
 * recscan.c - finds the records of a recording that is being written.
 */
#include "recscan.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES 16384u

static bool get(int fd, void *to, size_t n, uint64_t at)
{
    return at <= INT64_MAX - n && pread(fd, to, n, (off_t)at) == (ssize_t)n;
}

/* What is no record may be one that is being made, or only room in front of one that begins at a cache line
 * (shim_file_record()): it is passed over, and looked at once more by the next scan. */
void recscan(struct recscan *scan, int fd, enum rec_type type, bool (*found)(void *context, uint64_t at), void *context)
{
    unsigned char chunk[CHUNK_BYTES];
    uint64_t used, at = scan->scanned, doubtful = 0;
    bool go_on = true;

    if (!get(fd, &used, sizeof used, offsetof(struct rec_header, used_bytes)) || used > INT64_MAX)
        return;
    while (go_on && at + sizeof(struct rec_head) <= used) {
        size_t n = used - at < sizeof chunk ? used - at : sizeof chunk, i = 0;
        if (!get(fd, chunk, n, at))
            return;
        while (go_on && i + sizeof(struct rec_head) <= n) {
            struct rec_head head;
            memcpy(&head, chunk + i, sizeof head);
            bool sound = head.mark == REC_HEAD_MARK && head.size >= sizeof head && head.size % REC_CELL_BYTES == 0;
            if ((!sound || !head.type) && !doubtful && at + i >= scan->scanned_once)
                doubtful = at + i;
            if (sound && head.type == type)
                go_on = found(context, at + i);
            i += sound ? head.size : REC_CELL_BYTES;
        }
        at += i;
    }
    scan->scanned = doubtful ? doubtful : at;
    scan->scanned_once = at;
}
