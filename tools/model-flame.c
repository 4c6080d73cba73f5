/* SPDX-License-Identifier: MIT */
/*
 * model-flame.c - the stacks of a process as a tree.
 *
 * The stacks are sorted, so that the tree's nodes open and close one after the other and only those that stay are kept.
 * A first walk counts how many nodes are how heavy, a second one keeps the heavy ones.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-flame-build.h"

#define BUCKETS_PER_OCTAVE 4
#define OCTAVES 40 /* lighter than 2^-40 of the whole is nothing */
#define BUCKETS (BUCKETS_PER_OCTAVE * OCTAVES)

struct chain {
    uint32_t first, last;
};
static const struct chain no_chain = {FLAME_NONE, FLAME_NONE};

struct level { /* an open node */
    uint32_t key;
    struct flame_weight total, rest;
    struct chain own, own_rest; /* entries: its own, and those of branches too small */
    uint32_t children;          /* chain of nodes that stay */
};

struct walk {
    const struct model_stacks *stacks;
    enum model_view view;
    bool by_thread;
    const uint32_t *order; /* stacks, sorted */
    size_t n_order;
    struct level *levels; /* levels[0] is the root */
    size_t n_levels, levels_capacity;
    double least;             /* share of the root */
    uint64_t counts[BUCKETS]; /* first walk: nodes by share */
    struct flame *flame;      /* second walk; NULL in the first */
    struct flame_entry *entries;
    size_t n_entries, entries_capacity;
};

/* --- the order of stacks */
static size_t path_length(const struct walk *walk, const struct model_stack *stack)
{
    return stack->n_frames + walk->by_thread;
}

static uint32_t path_at(const struct walk *walk, const struct model_stack *stack, size_t i)
{
    if (walk->by_thread && i == 0)
        return stack->thread;
    i -= walk->by_thread;
    return walk->stacks->frames[walk->stacks->frame_ids[stack->first_frame + i]].function;
}

static int by_path(const void *a, const void *b, void *context)
{
    const struct walk *walk = context;
    const struct model_stack *x = &walk->stacks->stacks[*(const uint32_t *)a],
                             *y = &walk->stacks->stacks[*(const uint32_t *)b];
    size_t n_x = path_length(walk, x), n_y = path_length(walk, y);

    for (size_t i = 0; i < n_x && i < n_y; i++) {
        uint32_t key_x = path_at(walk, x, i), key_y = path_at(walk, y, i);
        if (key_x != key_y)
            return key_x < key_y ? -1 : 1;
    }
    return (n_x > n_y) - (n_x < n_y);
}

static bool is_shown(const struct walk *walk, const struct model_stack *stack)
{
    if (walk->view != MODEL_VIEWS)
        return stack->ns[walk->view];
    return stack->ns[MODEL_WAIT] || stack->ns[MODEL_CHARGED] || stack->ns[MODEL_HELD] || stack->ns[MODEL_RELEASED];
}

/* --- nodes */
static double share_of(const struct walk *walk, const struct flame_weight *weight)
{
    double most = 0;

    for (enum model_view view = 0; view < MODEL_VIEWS; view++) {
        uint64_t all = walk->stacks->flows[view].total_ns;
        double share = all ? (double)weight->ns[view] / (double)all : 0;
        if ((walk->view == MODEL_VIEWS || walk->view == view) && share > most)
            most = share;
    }
    return most;
}

static size_t bucket_of(double share)
{
    double octaves = share > 0 ? -log2(share) : OCTAVES;
    double bucket = octaves < 0 ? 0 : octaves * BUCKETS_PER_OCTAVE;

    return bucket < BUCKETS - 1 ? (size_t)bucket : BUCKETS - 1;
}

static uint32_t new_node(struct walk *walk, uint32_t key, const struct flame_weight *total, uint32_t depth)
{
    struct flame *flame = walk->flame;

    flame->nodes = mem_grow(flame->nodes, flame->n_nodes, &flame->nodes_capacity, sizeof *flame->nodes);
    flame->nodes[flame->n_nodes] = (struct flame_node){.function = key,
                                                       .is_thread = walk->by_thread && depth == 1 && key < FLAME_ROOT,
                                                       .parent = FLAME_NONE,
                                                       .first_child = FLAME_NONE,
                                                       .next = FLAME_NONE,
                                                       .depth = depth,
                                                       .total = *total};
    if (depth > flame->depth)
        flame->depth = depth;
    return (uint32_t)flame->n_nodes++;
}

static struct chain joined(struct walk *walk, struct chain a, struct chain b)
{
    if (a.first == FLAME_NONE)
        return b;
    if (b.first == FLAME_NONE)
        return a;
    walk->entries[a.last].next = b.first;
    return (struct chain){a.first, b.last};
}

/* Puts a node before the others of its level. */
static void put_child(struct walk *walk, struct level *parent, uint32_t node)
{
    walk->flame->nodes[node].next = parent->children;
    parent->children = node;
}

static uint32_t keep(struct walk *walk, const struct level *level, uint32_t depth)
{
    struct flame *flame = walk->flame;
    uint32_t node = new_node(walk, level->key, &level->total, depth), child;

    flame->nodes[node].first_child = level->children;
    for (child = level->children; child != FLAME_NONE; child = flame->nodes[child].next)
        flame->nodes[child].parent = node;
    flame_give(flame, node, walk->entries, level->own.first);
    return node;
}

/* What was too small becomes one child. */
static void keep_rest(struct walk *walk, struct level *level, uint32_t depth)
{
    uint32_t rest;

    if (level->own_rest.first == FLAME_NONE)
        return;
    rest = new_node(walk, FLAME_REST, &level->rest, depth + 1);
    flame_give(walk->flame, rest, walk->entries, level->own_rest.first);
    put_child(walk, level, rest);
}

/* Closes the innermost open node. */
static void close_level(struct walk *walk)
{
    uint32_t depth = (uint32_t)walk->n_levels - 1;
    struct level *level = &walk->levels[depth], *parent = depth ? level - 1 : NULL;
    double share = share_of(walk, &level->total);

    walk->n_levels--;
    if (parent)
        flame_add(&parent->total, &level->total);
    if (!walk->flame) {
        walk->counts[bucket_of(share)]++;
    } else if (!parent || share >= walk->least) {
        keep_rest(walk, level, depth);
        uint32_t node = keep(walk, level, depth);
        if (parent)
            put_child(walk, parent, node);
    } else { /* and so is all that it has called */
        flame_add(&parent->rest, &level->total);
        parent->own_rest = joined(walk, parent->own_rest, joined(walk, level->own, level->own_rest));
        walk->flame->n_small++;
    }
}

static void open_level(struct walk *walk, uint32_t key)
{
    walk->levels = mem_grow(walk->levels, walk->n_levels, &walk->levels_capacity, sizeof *walk->levels);
    walk->levels[walk->n_levels++] =
        (struct level){.key = key, .own = no_chain, .own_rest = no_chain, .children = FLAME_NONE};
}

static void add_stack(struct walk *walk, const struct model_stack *stack)
{
    size_t n = path_length(walk, stack), same = 0;
    struct flame_weight weight = {.ns = {0}};
    uint32_t entry = (uint32_t)walk->n_entries;
    struct level *level;

    while (same < n && same + 1 < walk->n_levels && walk->levels[same + 1].key == path_at(walk, stack, same))
        same++;
    while (walk->n_levels > same + 1)
        close_level(walk);
    for (; same < n; same++)
        open_level(walk, path_at(walk, stack, same));
    for (int view = 0; view < MODEL_VIEWS; view++) {
        weight.ns[view] = stack->ns[view];
        weight.oncpu_ns[view] = stack->oncpu_ns[view];
        weight.samples[view] = stack->samples[view];
    }
    level = &walk->levels[walk->n_levels - 1];
    flame_add(&level->total, &weight);
    if (!walk->flame)
        return;
    walk->entries = mem_grow(walk->entries, walk->n_entries, &walk->entries_capacity, sizeof *walk->entries);
    walk->entries[walk->n_entries++] = (struct flame_entry){stack->thread, FLAME_NONE, weight};
    level->own = joined(walk, level->own, (struct chain){entry, entry});
}

static void walk_stacks(struct walk *walk)
{
    walk->n_levels = 0;
    open_level(walk, FLAME_ROOT);
    for (size_t i = 0; i < walk->n_order; i++)
        add_stack(walk, &walk->stacks->stacks[walk->order[i]]);
    while (walk->n_levels)
        close_level(walk);
}

static double least_share(const struct walk *walk, size_t max_nodes)
{
    uint64_t n = 0;

    for (size_t i = 0; i < BUCKETS; i++)
        if ((n += walk->counts[i]) > max_nodes)
            return exp2(-(double)i / BUCKETS_PER_OCTAVE);
    return 0;
}

void flame_build(struct flame *flame, const struct model_process *process, enum model_view view, bool by_thread,
                 size_t max_nodes)
{
    const struct model_stacks *stacks = &process->stacks;
    uint32_t *order = mem_zeroed(stacks->n_stacks, sizeof *order);
    struct walk walk = {.stacks = stacks, .view = view, .by_thread = by_thread, .order = order};

    memset(flame, 0, sizeof *flame);
    for (size_t i = 0; i < stacks->n_stacks; i++)
        if (is_shown(&walk, &stacks->stacks[i]))
            order[walk.n_order++] = (uint32_t)i;
    if (walk.n_order)
        qsort_r(order, walk.n_order, sizeof *order, by_path, &walk);
    walk_stacks(&walk);
    walk.least = least_share(&walk, max_nodes);
    walk.flame = flame;
    walk_stacks(&walk);
    free(order);
    free(walk.levels);
    free(walk.entries);
    flame_arrange(flame, view == MODEL_VIEWS ? MODEL_CHARGED : view);
}

void flame_free(struct flame *flame)
{
    free(flame->nodes);
    free(flame->selfs);
    memset(flame, 0, sizeof *flame);
}
