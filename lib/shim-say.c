/* SPDX-License-Identifier: MIT */
/* shim-say.c - the one line that the shim may write to standard error. */
#define _GNU_SOURCE
#include "shim-say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim-text.h"

static struct stat at_start; /* st_mode 0 = it was closed */
static uint32_t own, *said = &own;

void shim_say_start(void)
{
    int saved_errno = errno;
    if (fstat(STDERR_FILENO, &at_start) != 0)
        at_start.st_mode = 0;
    errno = saved_errno;
}

void shim_say_share(void)
{
    int saved_errno = errno;
    if (said == &own) {
        void *page = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (page != MAP_FAILED) { /* else a child knows what its parent has said in front of the fork */
            *(uint32_t *)page = own;
            said = page;
        }
    }
    errno = saved_errno;
}

/* A program that closes its standard error may have its data under that number.  What it has put there instead is
 * written to if it is a terminal or the like, or a log: a file that is appended to. */
static bool is_for_people(void)
{
    struct stat now;
    if (!at_start.st_mode || fstat(STDERR_FILENO, &now) != 0)
        return false;
    if (now.st_dev == at_start.st_dev && now.st_ino == at_start.st_ino)
        return true;
    return S_ISCHR(now.st_mode) || (S_ISREG(now.st_mode) && (fcntl(STDERR_FILENO, F_GETFL) & O_APPEND));
}

void shim_say(enum shim_saying saying, const char *what, const char *reason, const char *object, const char *detail)
{
    char line[1024];
    struct shim_text text;
    int saved_errno = errno;
    if (!is_for_people() || (__atomic_fetch_or(said, saying, __ATOMIC_RELAXED) & saying)) {
        errno = saved_errno;
        return;
    }
    shim_text_init(&text, line, sizeof line - 1);
    shim_text_add(&text, "gilscope: ");
    shim_text_add(&text, what);
    shim_text_add(&text, " process ");
    shim_text_number(&text, (uint64_t)getpid());
    shim_text_add(&text, ": ");
    shim_text_add(&text, reason);
    if (object) {
        shim_text_add(&text, " '");
        for (const char *c = object; *c; c++)
            shim_text_char(&text, (unsigned char)*c < 32 || *c == 127 ? '?' : *c);
        shim_text_add(&text, "'");
    }
    if (detail) {
        shim_text_add(&text, ": ");
        shim_text_add(&text, detail);
    }
    line[text.used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, text.used);
    (void)ignored;
    errno = saved_errno;
}

const char *shim_say_error(int error)
{
    switch (error) {
    case EACCES:
        return "Permission denied";
    case EPERM:
        return "Operation not permitted";
    case ENOENT:
        return "No such file or directory";
    case ENOTDIR:
        return "Not a directory";
    case ENOSPC:
        return "No space left on device";
    case EDQUOT:
        return "Disk quota exceeded";
    case EROFS:
        return "Read-only file system";
    case EMFILE:
        return "Too many open files";
    case ENFILE:
        return "Too many open files in system";
    case EFBIG:
        return "File size limit exceeded";
    case ENOMEM:
        return "Cannot allocate memory (address space limit?)";
    case ELOOP:
        return "Is a symbolic link";
    case ENAMETOOLONG:
        return "File name too long";
    case EEXIST:
        return "File exists";
    }
    return "the system call failed";
}
