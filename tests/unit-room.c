/* SPDX-License-Identifier: MIT */
/*
 * unit-room.c - looks may cost more only while nobody waits for a processor, by what the kernel says of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "holds-room.h"
#include "unit-check.h"

#define MS UINT64_C(1000000)

static char path[] = "unit-room-XXXXXX";
static uint64_t waited_us;

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

/* So many ms have passed, in which somebody waited for so many us. */
static bool room_after(struct holds_room *room, uint64_t ms, uint64_t us)
{
    static uint64_t now_ns = 1000 * MS;
    char text[160];

    now_ns += ms * MS;
    waited_us += us;
    snprintf(text, sizeof text,
             "some avg10=0.05 avg60=1.29 avg300=3.37 total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
             (unsigned long long)waited_us);
    write_file(text);
    return holds_room_now(room, now_ns);
}

static void test_room_comes_and_goes(void)
{
    struct holds_room room = {.fd = open(path, O_RDONLY | O_CLOEXEC), .load_fd = -1};

    CHECK(!room_after(&room, 1, 4846673105)); /* nothing to compare with */
    CHECK(!room_after(&room, 50, 0));         /* too early */
    CHECK(room_after(&room, 100, 1000));
    CHECK(room_after(&room, 100, 4000));
    CHECK(room_after(&room, 50, 50000)); /* seen next time */
    CHECK(!room_after(&room, 100, 0));
    CHECK(!room_after(&room, 100, 4000)); /* not enough to have room again */
    CHECK(room_after(&room, 100, 1000));
    CHECK(!room_after(&room, 10000, 600000));
    holds_room_end(&room);
    CHECK(room.fd == -1);
    CHECK(!room_after(&room, 100, 0) && !room_after(&room, 100, 0));
}

static void test_what_is_no_such_file_is_no_room(void)
{
    const char *texts[] = {"", "some avg10=0.05", "total=3\n", "full avg10=0.00 total=0\n"};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct holds_room room = {.fd = open(path, O_RDONLY | O_CLOEXEC), .load_fd = -1, .is_there = true};
        write_file(texts[i]);
        CHECK(!holds_room_now(&room, 1000 * MS));
        CHECK(room.fd == -1);
    }
}

/* The crowd by what /proc/loadavg says now, some time later, for each processor. */
static double crowd_after(struct holds_room *room, uint64_t ms, long running)
{
    static uint64_t now_ns = 1000 * MS;
    char text[160];

    now_ns += ms * MS;
    snprintf(text, sizeof text, "0.60 1.52 1.89 %ld/418 12345\n", running * sysconf(_SC_NPROCESSORS_ONLN));
    write_file(text);
    return holds_room_crowd(room, now_ns);
}

static void test_a_crowd_is_counted_by_the_processor(void)
{
    struct holds_room room = {.fd = -1, .load_fd = open(path, O_RDONLY | O_CLOEXEC), .crowd = 1};

    CHECK(crowd_after(&room, 1, 1) == 1);
    CHECK(crowd_after(&room, 100, 4) == 1);
    CHECK(crowd_after(&room, 50, 400) == 1); /* seen next time */
    CHECK(crowd_after(&room, 100, 400) == 100);
    CHECK(crowd_after(&room, 100, 8) == 2);
    write_file("");
    CHECK(holds_room_crowd(&room, 100000 * MS) == 1);
    holds_room_end(&room);
    CHECK(room.load_fd == -1);
    CHECK(crowd_after(&room, 100, 400) == 1); /* nothing is known */
}

int main(void)
{
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    test_room_comes_and_goes();
    test_what_is_no_such_file_is_no_room();
    test_a_crowd_is_counted_by_the_processor();
    unlink(path);
    return check_result();
}
