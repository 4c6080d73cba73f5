/* SPDX-License-Identifier: MIT */
/*
 * closer.c - notes the end of a process that was killed before it could close its file.
 */
#include "closer.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recdir.h"
#include "recfile.h"

/* Whether the header is that of a file of PID's. */
static int is_of(const struct rec_header *header, int pid, uint64_t proc_start)
{
    return header->source == REC_SOURCE_PRELOAD && header->pid == (uint32_t)pid &&
           (!header->proc_start_jiffies || header->proc_start_jiffies == proc_start);
}

/* Without it the recording is read up to the last that is known of the process. */
static void put(int fd, const void *from, size_t n, size_t at)
{
    ssize_t written = pwrite(fd, from, n, (off_t)at);

    (void)written;
}

static void note_end(int fd, const struct rec_header *header, int status)
{
    uint64_t end_ticks = recfile_now(header->clock);
    uint32_t end_status = REC_END_KNOWN | ((uint32_t)status & 0xffff);

    if (!header->end_ticks && end_ticks > header->start_ticks)
        put(fd, &end_ticks, sizeof end_ticks, offsetof(struct rec_header, end_ticks));
    if (!header->complete)
        put(fd, &end_status, sizeof end_status, offsetof(struct rec_header, end_status));
}

void closer_stamp(const char *dir, int pid, uint64_t proc_start, int status)
{
    struct rec_header header;
    int is_open = 0; /* the newest one is */
    const char *problem;
    uint64_t newest_start = 0;
    int newest = -1;

    DIR *stream = opendir(dir);
    if (!stream)
        return;
    for (struct dirent *entry; (entry = readdir(stream));) {
        char *path;
        if (!recdir_is_recording(entry->d_name))
            continue;
        if (asprintf(&path, "%s/%s", dir, entry->d_name) < 0)
            break;
        int fd = recfile_open(path, &header, &problem);
        free(path);
        if (fd < 0)
            continue;
        /* A process that has replaced itself by exec left a file of each of its programs; the last one ends now. */
        if (is_of(&header, pid, proc_start) && (newest < 0 || header.start_ticks > newest_start)) {
            if (newest >= 0)
                close(newest);
            newest = fd;
            newest_start = header.start_ticks;
            is_open = !header.complete && !(header.end_status & REC_END_EXEC) && !header.losses[REC_LOSS_STORAGE];
        } else {
            close(fd);
        }
    }
    closedir(stream);

    if (newest >= 0) {
        if (is_open && pread(newest, &header, sizeof header, 0) == (ssize_t)sizeof header)
            note_end(newest, &header, status);
        close(newest);
    }
}
