/* SPDX-License-Identifier: MIT */
/*
 * children.c - reads /proc for processes with given parents, and for such as are known to descend from them.
 */
#include "children.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "procstat.h"

#define TRIES 50 /* turns of 0.1 s */

static int parent_of(int pid)
{
    int parent = -1;

    procstat_state(pid, pid, &parent);
    return parent;
}

static struct child *find(struct children *c, int pid)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->known[i].pid == pid)
            return &c->known[i];
    return NULL;
}

/* Who has ended is forgotten: another one may get its id, and a server may start one for each piece of work. */
static void forget_ended(struct children *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->known[i].there)
            c->known[n++] = c->known[i];
    c->n = n;
}

static bool is_among(const int *pids, int n, int pid)
{
    for (int i = 0; i < n; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

int children_new(struct children *c, const struct children_of *of, int *pids, int max)
{
    DIR *proc = opendir("/proc");
    const struct dirent *entry = NULL;
    int n = 0;

    for (size_t i = 0; i < c->n; i++)
        c->known[i].there = false;
    while (proc && n < max && (entry = readdir(proc))) {
        int pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (!pid)
            continue;
        struct child *known = find(c, pid);
        if (known)
            known->there = true;
        if (known && known->tries <= 0)
            continue;
        if (!known) { /* else its parent may have ended meanwhile, and it has another one */
            if (!is_among(of->born, of->n_born, pid) && !is_among(of->parents, of->n_parents, parent_of(pid)))
                continue;
            c->known = mem_grow(c->known, c->n, &c->capacity, sizeof *c->known);
            known = &c->known[c->n++];
            *known = (struct child){pid, TRIES, true};
        }
        known->tries = -known->tries;
        pids[n++] = pid;
    }
    if (proc && !entry) /* all have been seen */
        forget_ended(c);
    if (proc)
        closedir(proc);
    return n;
}

void children_again(struct children *c, int pid)
{
    struct child *known = find(c, pid);

    if (known && known->tries < 0)
        known->tries = -known->tries - 1;
}

void children_free(struct children *c)
{
    free(c->known);
    memset(c, 0, sizeof *c);
}
