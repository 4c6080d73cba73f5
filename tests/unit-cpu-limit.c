/* SPDX-License-Identifier: MIT */
/* unit-cpu-limit.c - the limit of control groups, of both versions, as hosts and containers show them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cpu-limit.h"
#include "unit-check.h"

static char directory[] = "/tmp/gilscope-cpu-limit-XXXXXX";

static uint64_t n_periods, n_throttled;

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *out;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    out = fopen(path, "w");
    if (!out || fputs(text, out) < 0 || fclose(out))
        exit(99);
}

static void make_group(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (mkdir(path, 0700))
        exit(99);
}

/* What a process has to do with that has these two files; @ in the second one is the directory. */
static uint32_t limit(const char *groups, const char *mounts)
{
    char cgroup[256], mountinfo[256];
    FILE *out;

    write_file("cgroup", groups);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", directory);
    snprintf(mountinfo, sizeof mountinfo, "%s/mountinfo", directory);
    out = fopen(mountinfo, "w");
    if (!out)
        exit(99);
    for (const char *c = mounts; *c; c++)
        *c == '@' ? fputs(directory, out) : fputc(*c, out);
    fclose(out);
    struct cpu_limit limit;
    cpu_limit_read_from(cgroup, mountinfo, &limit);
    n_periods = limit.n_periods;
    n_throttled = limit.n_throttled;
    return limit.milli;
}

#define V2 "30 24 0:26 / @ rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void test_version_2(void)
{
    make_group("pod");
    make_group("pod/app");
    CHECK_NUMBER(limit("0::/pod/app\n", V2), 0);
    write_file("pod/app/cpu.max", "max 100000\n");
    CHECK_NUMBER(limit("0::/pod/app\n", V2), 0);
    write_file("pod/app/cpu.max", "150000 100000\n");
    write_file("pod/app/cpu.stat", "usage_usec 5\nnr_periods 70\nnr_throttled 12\nthrottled_usec 9\n");
    CHECK_NUMBER(limit("0::/pod/app\n", V2), 1500);
    CHECK_NUMBER(n_periods, 70);
    CHECK_NUMBER(n_throttled, 12);
    write_file("pod/cpu.max", "25000 50000\n"); /* a group's limit holds for those in it, too */
    CHECK_NUMBER(limit("0::/pod/app\n", V2), 500);
    CHECK_NUMBER(n_periods, 0); /* those of the group with the lowest limit count */
    CHECK_NUMBER(limit("0::/\n", V2), 0);
    write_file("pod/cpu.max", "400000 100000\n");
    CHECK_NUMBER(limit("0::/pod/app\n", V2), 1500);
}

static void test_containers(void)
{
    /* A namespace of its own: the group is the root of what is to be seen. */
    write_file("cpu.max", "30000 100000\n");
    CHECK_NUMBER(limit("0::/\n", V2), 300);
    /* Of a process of another namespace, only what is mounted is known. */
    CHECK_NUMBER(limit("0::/../other\n", V2), 300);
    /* A part of the hierarchy is mounted, the group is named from the whole. */
    CHECK_NUMBER(limit("0::/kube/pod\n", "30 24 0:26 /kube @ ro - cgroup2 cgroup2 rw\n"), 300);
    write_file("pod/cpu.max", "10000 100000\n");
    CHECK_NUMBER(limit("0::/kube/pod\n", "30 24 0:26 /kube @ ro - cgroup2 cgroup2 rw\n"), 100);
    CHECK_NUMBER(limit("0::/kubelet/pod\n", "30 24 0:26 /kube @ ro - cgroup2 cgroup2 rw\n"), 300);
}

static void test_version_1(void)
{
    static const char mounts[] = "32 31 0:29 / @ rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
                                 "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                                 "41 31 0:38 / /nowhere rw,relatime - cgroup2 cgroup2 rw\n";

    make_group("old");
    write_file("old/cpu.cfs_quota_us", "-1\n");
    write_file("old/cpu.cfs_period_us", "100000\n");
    CHECK_NUMBER(limit("4:memory:/x\n3:cpu,cpuacct:/old\n0::/\n", mounts), 0);
    write_file("old/cpu.cfs_quota_us", "20000\n");
    CHECK_NUMBER(limit("4:memory:/x\n3:cpu,cpuacct:/old\n0::/\n", mounts), 200);
    /* Another controller's group of that name is none of the processor's; cpuacct and cpuset are not cpu. */
    CHECK_NUMBER(limit("4:memory:/old\n3:cpuacct,cpuset:/old\n0::/\n", mounts), 0);
}

static void test_what_cannot_be_read(void)
{
    static char wide[6000];

    struct cpu_limit none = {.milli = 1};

    cpu_limit_read_from("/nowhere/cgroup", "/proc/self/mountinfo", &none);
    CHECK_NUMBER(none.milli, 0);
    CHECK_NUMBER(limit("", V2), 0);
    CHECK_NUMBER(limit("0::/pod/app\n", ""), 0);
    CHECK_NUMBER(limit("nonsense\n:\n0:\n0::/pod/app", "nonsense\n - \n- cgroup2 x y\n" V2), 100);
    /* A line that is longer than any of ours is left out, the next one counts. */
    memset(wide, 'x', sizeof wide - 1);
    memcpy(wide + sizeof wide - 1 - sizeof V2, "\n" V2, sizeof V2);
    CHECK_NUMBER(limit("0::/pod/app\n", wide), 100);
    write_file("pod/cpu.max", "100000\n");
    CHECK_NUMBER(limit("0::/pod\n", V2), 300);
    write_file("pod/cpu.max", "99999999999999999999 100000\n");
    CHECK_NUMBER(limit("0::/pod\n", V2), 300);
    write_file("pod/cpu.max", "1000 1000000000\n");
    CHECK_NUMBER(limit("0::/pod\n", V2), 1);
}

static void test_names(void)
{
    static char many[4000];
    size_t n = 0;

    /* mountinfo spells some characters in octal, /proc/PID/cgroup does not. */
    make_group("a b");
    make_group("a b/c\\x2dd");
    write_file("a b/cpu.max", "70000 100000\n");
    write_file("a b/c\\x2dd/cpu.max", "60000 100000\n");
    CHECK_NUMBER(limit("0::/x\\x2dy/c\\x2dd\n", "30 24 0:26 /x\\134x2dy @/a\\040b rw - cgroup2 cgroup2 rw\n"), 600);
    CHECK_NUMBER(limit("0::/x y\n", "30 24 0:26 /x\\040y @/a\\040b rw - cgroup2 cgroup2 rw\n"), 700);
    CHECK_NUMBER(limit("0::/x\n", "30 24 0:26 /x @/a\\04 rw - cgroup2 cgroup2 rw\n"), 0);
    /* Many hierarchies with long names come first. */
    while (n < sizeof many - 200)
        n += (size_t)snprintf(many + n, sizeof many - n, "5:memory:/%0150d\n", 7);
    snprintf(many + n, sizeof many - n, "0::/a b\n");
    CHECK_NUMBER(limit(many, "30 24 0:26 / @ rw - cgroup2 cgroup2 rw\n"), 300);
    write_file("cpu.max", "90000 100000\n");
    CHECK_NUMBER(limit(many, "30 24 0:26 / @ rw - cgroup2 cgroup2 rw\n"), 700);
}

/* A group that the process is not in, which somebody has mounted as well, counts for nothing. */
static void test_other_mounts(void)
{
    static const char other[] = "31 24 0:26 /other @/a\\040b rw - cgroup2 cgroup2 rw\n";
    char both[300];

    CHECK_NUMBER(limit("0::/\n", other), 700); /* where nothing else is known, it may be the same one's other name */
    snprintf(both, sizeof both, "%s%s", other, V2);
    CHECK_NUMBER(limit("0::/\n", both), 900);
    snprintf(both, sizeof both, "%s%s", V2, other);
    CHECK_NUMBER(limit("0::/\n", both), 900);
    snprintf(both, sizeof both, "30 24 0:26 / @/old rw - cgroup2 cgroup2 rw\n%s", other);
    CHECK_NUMBER(limit("0::/\n", both), 0);
    /* Of each version by itself: that of the processors is another one than that in which the group is to be seen. */
    snprintf(both, sizeof both,
             "30 24 0:26 / @/pod/app rw - cgroup2 cgroup2 rw\n"
             "32 31 0:29 /y @/old rw - cgroup cgroup rw,cpu,cpuacct\n");
    CHECK_NUMBER(limit("3:cpu,cpuacct:/\n0::/none\n", both), 200);
}

int main(void)
{
    char command[300];

    if (!mkdtemp(directory))
        return 99;
    test_version_2();
    test_containers();
    test_version_1();
    test_what_cannot_be_read();
    test_names();
    test_other_mounts();
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    if (system(command))
        return 99;
    return check_result();
}
