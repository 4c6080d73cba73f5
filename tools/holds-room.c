/* SPDX-License-Identifier: MIT */
/* holds-room.c - whether anybody waits for a processor, and how many do. */
#include "holds-room.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu-limit.h"

#define READ_NS 100000000
#define ROOM_PARTS 50 /* somebody waited for less than one part in so many of the time: there is room; */
#define CROWD_LEAST 4 /* threads that run or are ready to, for each processor */
#define FULL_PARTS 20 /* for more than one in so many: there is none any more.  The looks themselves make some wait */

void holds_room_begin(struct holds_room *room)
{
    struct cpu_limit limit;

    *room = (struct holds_room){.fd = -1, .crowd = 1};
    room->load_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    cpu_limit_read(0, &limit);
    if (!limit.milli)
        room->fd = open("/proc/pressure/cpu", O_RDONLY | O_CLOEXEC);
}

/* "some avg10=0.05 avg60=1.29 avg300=3.37 total=4846673105": the last number, in us.  False: it is something else. */
static bool read_waited(int fd, uint64_t *us)
{
    char text[256];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *total = strstr(text, "total=");
    if (strncmp(text, "some ", 5) != 0 || !total)
        return false;
    *us = strtoull(total + strlen("total="), NULL, 10);
    return true;
}

bool holds_room_now(struct holds_room *room, uint64_t now_ns)
{
    uint64_t waited_us;

    if (room->fd < 0 || now_ns - room->read_ns < READ_NS)
        return room->is_there;
    if (!read_waited(room->fd, &waited_us)) {
        close(room->fd);
        room->fd = -1;
        return room->is_there = false;
    }
    uint64_t elapsed_ns = now_ns - room->read_ns, waited_ns = (waited_us - room->waited_us) * 1000;
    room->is_there = room->read_ns && waited_ns < elapsed_ns / (room->is_there ? FULL_PARTS : ROOM_PARTS);
    room->read_ns = now_ns;
    room->waited_us = waited_us;
    return room->is_there;
}

/* "0.60 1.52 1.89 2/418 12345": the fourth number, of threads that run or are ready to; 0 = it is something else. */
static double read_running(int fd)
{
    char text[128];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    double running = 0;

    text[n > 0 ? n : 0] = 0;
    return sscanf(text, "%*f %*f %*f %lf/", &running) == 1 ? running : 0;
}

double holds_room_crowd(struct holds_room *room, uint64_t now_ns)
{
    if (room->load_fd < 0 || now_ns - room->load_read_ns < READ_NS)
        return room->crowd;
    long processors = sysconf(_SC_NPROCESSORS_ONLN); /* reads a file */
    double each = read_running(room->load_fd) / (double)(processors > 0 ? processors : 1);
    room->crowd = each > CROWD_LEAST ? each / CROWD_LEAST : 1;
    room->load_read_ns = now_ns;
    return room->crowd;
}

void holds_room_end(struct holds_room *room)
{
    if (room->fd >= 0)
        close(room->fd);
    if (room->load_fd >= 0)
        close(room->load_fd);
    *room = (struct holds_room){.fd = -1, .load_fd = -1, .crowd = 1};
}
