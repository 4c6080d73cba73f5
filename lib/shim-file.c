/* SPDX-License-Identifier: MIT */
/*
 * shim-file.c - the recording's file: made, mapped, allotted from.
 *
 * A large stretch of address space is mapped once; the file below it grows in steps.  Storage is reserved before it
 * is written through the mapping (a store to an unreserved page of a full disk is SIGBUS), and the descriptor is
 * closed after each use: a program that closes all its descriptors, or counts them, must not meet ours.
 */
#define _GNU_SOURCE
#include "shim-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "shim-clock.h"
#include "shim-life.h"
#include "shim-text.h"
#include "shim.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* linux/mman.h, Linux 5.14 */
#endif

/* Of the file's name until it can be read: a process may be killed at any moment. */
#define UNFINISHED ".new"
#define FIRST_BYTES (64u << 10)
#define MAP_BYTES (64u << 20)
#define MAP_LEAST (1u << 20)
#define LIMIT_SHARE 128 /* of RLIMIT_AS */
#define GROW_TRIES 500  /* of 0.1 ms: extending a file takes as long as the file system likes */

static char file_path[SHIM_PATH_BYTES];
static dev_t file_dev;
static ino_t file_ino;
static uint32_t growing;     /* 1 = a thread is extending the file */
static uint64_t retry_ticks; /* growing failed: not again before then */
static enum { SOUND, REPLACING, REPLACED, IN_THE_WAY } storage;

/* Backs the file with storage from `from` to `to`.  Returns 0 or an errno. */
static int reserve(int fd, uint64_t from, uint64_t to)
{
    /* Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which ends the host. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && to > limit.rlim_cur)
        return EFBIG;
    if (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM)
        return errno;
    /* A file system without fallocate, or a sandbox that denies it: write the zeros. */
    static const char zeros[4096];
    while (from < to) {
        ssize_t n = pwrite(fd, zeros, to - from < sizeof zeros ? to - from : sizeof zeros, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        from += (uint64_t)n;
    }
    return 0;
}

/* A first touch of a page costs tens of microseconds, which must not be spent while gil->mutex is held.  Kernels before
 * 5.14 refuse; then it is. */
static void populate(void *from, uint64_t bytes)
{
    madvise(from, bytes, MADV_POPULATE_WRITE);
}

/* Opens the recording, at no standard stream's number: a program that has closed one may still write to it, and would
 * write into the recording.  While the file is opened, closed ones are taken by something that cannot be written to. */
static int open_above(const char *path, int flags)
{
    int taken[STDERR_FILENO + 1], n = 0;
    for (int i = 0; i <= STDERR_FILENO; i++) {
        int low = fcntl(i, F_GETFD) < 0 ? open("/", O_PATH | O_CLOEXEC) : -1;
        if (low >= 0)
            taken[n++] = low;
    }
    int fd = open(path, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600), saved_errno = errno;
    while (n)
        close(taken[--n]);
    errno = saved_errno;
    if (fd >= 0 && fd <= STDERR_FILENO) { /* one has been closed just now */
        int above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        saved_errno = errno;
        close(fd);
        errno = saved_errno;
        fd = above;
    }
    return fd;
}

/* A link that somebody else has put in our way, such as in /tmp. */
static bool is_foreign_link(const char *directory)
{
    struct stat st;
    return lstat(directory, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid != 0 && st.st_uid != geteuid();
}

static int make_file(const char *directory, int64_t start_realtime_ns)
{
    struct utsname u;
    const char *host = uname(&u) == 0 ? u.nodename : "host";
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return -1;
    if (is_foreign_link(directory)) {
        errno = ELOOP;
        return -1;
    }
    for (unsigned tries = 0; tries < 100; tries++) {
        struct shim_text path;
        shim_text_init(&path, file_path, sizeof file_path);
        shim_text_add(&path, directory);
        shim_text_add(&path, "/");
        for (const char *c = host; *c && c - host < 60; c++) {
            bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                         *c == '.' || *c == '_';
            shim_text_char(&path, plain ? *c : '_');
        }
        shim_text_add(&path, "-");
        shim_text_number(&path, (uint64_t)getpid());
        shim_text_add(&path, "-");
        shim_text_number(&path, (uint64_t)start_realtime_ns + tries);
        shim_text_add(&path, REC_SUFFIX UNFINISHED);
        if (path.cut) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = open_above(file_path, O_CREAT | O_EXCL);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

/* Address space that is limited is the program's: a small part will do. */
static uint64_t most_bytes(void)
{
    struct rlimit limit;
    uint64_t bytes = MAP_BYTES;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        while (bytes > MAP_LEAST && bytes > limit.rlim_cur / LIMIT_SHARE)
            bytes /= 2;
    return bytes;
}

bool shim_file_open(const char *directory, const char **why, int *error)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t start_realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;

    *why = "cannot create a recording in";
    int fd = make_file(directory, start_realtime_ns);
    if (fd < 0) {
        *error = errno;
        return false;
    }
    struct stat st;
    *error = fstat(fd, &st) == 0 ? reserve(fd, 0, FIRST_BYTES) : errno;
    if (*error) {
        *why = "no space for a recording in";
        unlink(file_path);
        close(fd);
        return false;
    }
    void *map = MAP_FAILED;
    uint64_t map_bytes = most_bytes();
    for (; map == MAP_FAILED && map_bytes >= MAP_LEAST; map_bytes /= 2) {
        map = mmap(NULL, map_bytes + SHIM_BEHIND_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (map != MAP_FAILED)
            break;
    }
    *error = map == MAP_FAILED ? errno : 0;
    if (*error) {
        *why = "cannot map a recording in";
        unlink(file_path);
        close(fd);
        return false;
    }
    close(fd);
    madvise(map, map_bytes + SHIM_BEHIND_BYTES,
            MADV_DONTFORK); /* a forked child must not reach its parent's recording */
    populate(map, FIRST_BYTES);
    file_dev = st.st_dev;
    file_ino = st.st_ino;
    growing = 0;
    retry_ticks = 0;

    struct rec_header *h = map;
    h->endian = REC_ENDIAN;
    h->version = REC_VERSION;
    h->version_min = REC_VERSION_RECENT;
    h->header_bytes = REC_HEADER_BYTES;
    h->source = REC_SOURCE_PRELOAD;
    h->reserved_bytes = SHIM.reserved_bytes = FIRST_BYTES;
    h->used_bytes = REC_HEADER_BYTES;
    h->clock = shim_clock_kind;
    h->start_realtime_ns = start_realtime_ns;
    SHIM.map_bytes = map_bytes;
    SHIM.cell_mask = (uint32_t)(map_bytes / REC_CELL_BYTES) - 1;
    SHIM.header = h;
    return true;
}

/* The file again, if it still is ours; -1 if not. */
static int open_again(struct stat *st)
{
    int fd = open_above(file_path, 0);
    if (fd >= 0 && fstat(fd, st) == 0 && st->st_dev == file_dev && st->st_ino == file_ino)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Counts the failure in the file itself, past the mapping, where there still is one. */
static void note_failure(void)
{
    const off_t at = (off_t)(offsetof(struct rec_header, losses) + REC_LOSS_STORAGE * sizeof(uint64_t));
    uint64_t n;
    struct stat st;
    int fd = open_again(&st);
    if (fd < 0)
        return;
    if (st.st_size >= (off_t)REC_HEADER_BYTES && pread(fd, &n, sizeof n, at) == (ssize_t)sizeof n) {
        n++;
        ssize_t ignored = pwrite(fd, &n, sizeof n, at);
        (void)ignored;
    }
    close(fd);
}

/* What the shim reads from now on is zeros: no record, no space, no chain to follow. */
bool shim_file_failed(const void *address)
{
    char *map = (char *)SHIM.header;
    const uint64_t bytes = SHIM.map_bytes + SHIM_BEHIND_BYTES;
    if (!map || (const char *)address < map || (const char *)address >= map + bytes)
        return false;
    unsigned sound = SOUND;
    if (__atomic_compare_exchange_n((unsigned *)&storage, &sound, REPLACING, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        const int flags = MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
        void *now = mmap(map, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, -1, 0);
        if (now == MAP_FAILED) /* RLIMIT_DATA does not count shared memory */
            now = mmap(map, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | flags, -1, 0);
        if (now == MAP_FAILED) {
            __atomic_store_n((unsigned *)&storage, IN_THE_WAY, __ATOMIC_RELEASE);
            return false;
        }
        madvise(map, bytes, MADV_DONTFORK);
        shim_life_storage_failed(file_path);
        __atomic_store_n((unsigned *)&storage, REPLACED, __ATOMIC_RELEASE);
        note_failure();
    }
    /* Another thread that is replacing it: this one comes back here until it has. */
    return __atomic_load_n((unsigned *)&storage, __ATOMIC_ACQUIRE) != IN_THE_WAY;
}

bool shim_file_finish(void)
{
    static char name[SHIM_PATH_BYTES];
    size_t length = strlen(file_path) - strlen(UNFINISHED);

    memcpy(name, file_path, length);
    name[length] = 0;
    if (syscall(SYS_renameat2, AT_FDCWD, file_path, AT_FDCWD, name, RENAME_NOREPLACE) != 0 &&
        (errno == EEXIST || rename(file_path, name) != 0)) {
        int error = errno;
        unlink(file_path);
        errno = error;
        return false;
    }
    file_path[length] = 0;
    return true;
}

/* Extends the reserved part so that it reaches `need`.  The path is opened anew and must still be our file, as long as
 * we have made it. */
static bool grow(struct rec_header *h, uint64_t need)
{
    if (need > SHIM.map_bytes || __atomic_load_n((unsigned *)&storage, __ATOMIC_ACQUIRE) != SOUND ||
        (retry_ticks && shim_ticks() < retry_ticks))
        return false;
    for (int tries = 0; __atomic_exchange_n(&growing, 1, __ATOMIC_ACQUIRE); tries++) {
        struct timespec pause = {0, 100000};
        if (tries == GROW_TRIES)
            return false;
        syscall(SYS_nanosleep, &pause, NULL); /* not the libc's, which is a cancellation point */
    }
    uint64_t have = __atomic_load_n(&SHIM.reserved_bytes, __ATOMIC_ACQUIRE);
    bool ok = have >= need;
    if (!ok) {
        uint64_t want = (have + have / 8 + FIRST_BYTES - 1) / FIRST_BYTES * FIRST_BYTES;
        while (want < need)
            want += FIRST_BYTES;
        if (want > SHIM.map_bytes)
            want = SHIM.map_bytes;
        struct stat st;
        int fd = open_again(&st);
        if (fd >= 0) {
            ok = st.st_size >= (off_t)have && reserve(fd, have, want) == 0;
            close(fd);
        }
        if (ok) {
            populate((char *)h + have, want - have);
            __atomic_store_n(&h->reserved_bytes, want, __ATOMIC_RELEASE);
            __atomic_store_n(&SHIM.reserved_bytes, want, __ATOMIC_RELEASE);
        } else {
            retry_ticks = shim_ticks() + 1000000 * shim_clock_ticks_per_us();
        }
    }
    __atomic_store_n(&growing, 0, __ATOMIC_RELEASE);
    return ok;
}

#define ALIGNED_FROM 1024 /* bytes */

void *shim_file_record(uint32_t bytes)
{
    struct rec_header *h = SHIM.header;
    if (!h)
        return NULL;
    bytes = (bytes + REC_CELL_BYTES - 1) / REC_CELL_BYTES * REC_CELL_BYTES;
    uint64_t at, used = __atomic_load_n(&h->used_bytes, __ATOMIC_ACQUIRE);
    do {
        const uint64_t line = bytes < ALIGNED_FROM ? REC_CELL_BYTES : SHIM_LINE_BYTES;
        at = (used + line - 1) / line * line;
        if (used < REC_HEADER_BYTES || used > SHIM.map_bytes) { /* somebody else has written there */
            shim_file_loss(REC_LOSS_NO_SPACE);
            return NULL;
        }
        while (at + bytes > __atomic_load_n(&SHIM.reserved_bytes, __ATOMIC_ACQUIRE)) {
            int cancel = shim_cancel_later();
            bool grown = grow(h, at + bytes);
            shim_cancel_again(cancel);
            if (!grown) {
                shim_file_loss(REC_LOSS_NO_SPACE);
                return NULL;
            }
        }
    } while (
        !__atomic_compare_exchange_n(&h->used_bytes, &used, at + bytes, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    struct rec_head *head = (struct rec_head *)((char *)h + at);
    head->size = bytes;
    head->mark = REC_HEAD_MARK;
    return head;
}

void shim_file_publish(void *record, enum rec_type type)
{
    __atomic_store_n(&((struct rec_head *)record)->type, (uint16_t)type, __ATOMIC_RELEASE);
}

void shim_file_loss(enum rec_loss cause)
{
    if (SHIM.header)
        __atomic_fetch_add(&SHIM.header->losses[cause], 1, __ATOMIC_RELAXED);
}

void shim_file_forget(void)
{
    memset(&shim_pages, 0, sizeof shim_pages);
    storage = SOUND;
}
