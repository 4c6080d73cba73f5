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

#include "recfile.h"

/* Whether the header is that of a file of PID's. */
static int is_of(const struct rec_header *header, int pid, uint64_t proc_start)
{
    return header->source == REC_SOURCE_PRELOAD && header->pid == (uint32_t)pid &&
           (!header->proc_start_jiffies || header->proc_start_jiffies == proc_start);
}

void closer_stamp(const char *dir, int pid, uint64_t proc_start)
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
        size_t length = strlen(entry->d_name), suffix = strlen(REC_SUFFIX);
        char *path;
        if (length <= suffix || strcmp(entry->d_name + length - suffix, REC_SUFFIX))
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
            is_open = !header.complete && !header.end_ticks;
        } else {
            close(fd);
        }
    }
    closedir(stream);

    if (newest >= 0) {
        if (is_open && pread(newest, &header, sizeof header, 0) == (ssize_t)sizeof header) {
            uint64_t end_ticks = recfile_now(header.clock);
            if (end_ticks > header.start_ticks) {
                ssize_t written = pwrite(newest, &end_ticks, sizeof end_ticks, offsetof(struct rec_header, end_ticks));
                (void)written; /* without it the recording is read up to its last beat */
            }
        }
        close(newest);
    }
}
