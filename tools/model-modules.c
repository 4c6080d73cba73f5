/* SPDX-License-Identifier: MIT */
/*
 * model-modules.c - which extension held the GIL, made others wait, or worked without it; which Python code did.
 *
 * A stack counts for what Python code called last: the outermost frame of an extension behind the innermost Python
 * frame.  That extension is the one that can release the GIL around whatever it calls in turn.  ctypes and libffi are
 * no such extensions: they call the one that counts.
 */
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-build.h"
#include "model-names.h"

#define LONG_HOLD_NS 1000000     /* a call that keeps the GIL this long should not */
#define BLOCKED_HOLD_NS 20000000 /* nor even if it does nothing meanwhile */
#define CALLS_MAX 50
#define CHARGED_SHARE_MIN 0.01
#define HELD_SHARE_MIN 0.02
#define HELD_TIME_MIN 0.01   /* of the process's time: others could not have run for more, had it been released */
#define SHORT_SHARE_MIN 0.05 /* of calls that are not known to be long: many short ones may be worth it, too */
#define SHORT_SAMPLES_MIN 5  /* fewer may have met anything */

#define NO_CALL UINT32_MAX

/* --- modules */
static struct model_module *module_of(struct model_stacks *stacks, size_t *capacity, const char *path,
                                      const char *basename, bool interpreter)
{
    struct model_module *module;

    for (size_t i = 0; i < stacks->n_modules; i++) /* there are few */
        if (stacks->modules[i].interpreter == interpreter && (interpreter || stacks->modules[i].path == path))
            return &stacks->modules[i];
    stacks->modules = mem_grow(stacks->modules, stacks->n_modules, capacity, sizeof *stacks->modules);
    module = &stacks->modules[stacks->n_modules++];
    *module = (struct model_module){.path = path, .basename = basename, .interpreter = interpreter};
    return module;
}

static int by_importance(const void *a, const void *b)
{
    const struct model_module *x = a, *y = b;

    if (x->interpreter != y->interpreter)
        return x->interpreter - y->interpreter;
    if (x->charged_ns != y->charged_ns)
        return x->charged_ns < y->charged_ns ? 1 : -1;
    if (x->released_ns != y->released_ns)
        return x->released_ns < y->released_ns ? 1 : -1;
    return strcmp(x->path, y->path);
}

/* held: what the stack was held, and made others wait, is the module's doing. */
static void add_to_module(struct model_stacks *stacks, size_t *capacity, const struct model_stack *stack,
                          const struct model_doing *doing, bool held)
{
    const struct model_function *function =
        doing->extension < stacks->n_frames ? &stacks->functions[stacks->frames[doing->extension].function] : NULL;
    struct model_module *module = &stacks->no_module, *holder;

    if (doing->native)
        module =
            module_of(stacks, capacity, function ? function->file : "", function ? function->basename : "", !function);
    module->released_ns += stack->ns[MODEL_RELEASED];
    module->released_oncpu_ns += stack->oncpu_ns[MODEL_RELEASED];
    holder = held ? module : &stacks->no_module;
    holder->held_ns += stack->ns[MODEL_HELD];
    holder->charged_ns += stack->ns[MODEL_CHARGED];
}

/* --- calls */
struct call_key {
    const struct model_stacks *stacks;
    uint32_t function, caller;
};

/* Without a symbol each address would be a function of its own: then it is the object's. */
static bool same_target(const struct model_stacks *stacks, uint32_t a, uint32_t b)
{
    const struct model_function *x = &stacks->functions[a], *y = &stacks->functions[b];

    return a == b || (!x->named && !y->named && x->file == y->file);
}

static bool same_call(const void *context, uint32_t id)
{
    const struct call_key *key = context;
    const struct model_call *call = &key->stacks->calls[id];

    return call->caller == key->caller && same_target(key->stacks, call->function, key->function);
}

/* An inline function of Python.h, of which a build without optimisation leaves a copy in each extension.  Where nothing
 * else of the extension is in the stack, nobody knows what called it; and nobody can let go of the GIL around it. */
static bool is_of_python_h(const struct model_function *function)
{
    static const char *const prefixes[] = {"Py_", "_Py_", "PyType_HasFeature", "PyObject_TypeCheck"};

    for (size_t i = 0; function->named && i < sizeof prefixes / sizeof *prefixes; i++)
        if (!strncmp(function->name, prefixes[i], strlen(prefixes[i])))
            return true;
    return false;
}

/* The number of the call, or NO_CALL. */
static uint32_t add_to_call(struct model_stacks *stacks, size_t *capacity, struct intern *table,
                            const struct model_stack *stack, const struct model_doing *doing)
{
    struct call_key key = {stacks, 0, doing->python};
    const char *file;
    struct model_call *call;
    uint32_t id;

    if (doing->extension == stacks->n_frames)
        return NO_CALL;
    key.function = stacks->frames[doing->extension].function;
    if (is_of_python_h(&stacks->functions[key.function]))
        return NO_CALL;
    file = stacks->functions[key.function].file;
    uint64_t parts[] = {(uintptr_t)file, key.caller};
    id = intern(table, intern_hash(0, parts, sizeof parts), same_call, &key, (uint32_t)stacks->n_calls);
    if (id == stacks->n_calls) {
        stacks->calls = mem_grow(stacks->calls, stacks->n_calls, capacity, sizeof *stacks->calls);
        stacks->calls[stacks->n_calls++] = (struct model_call){.function = key.function, .caller = key.caller};
    }
    call = &stacks->calls[id];
    call->charged_ns += stack->ns[MODEL_CHARGED];
    call->held_ns += stack->ns[MODEL_HELD];
    call->held_oncpu_ns += stack->oncpu_ns[MODEL_HELD];
    call->released_ns += stack->ns[MODEL_RELEASED];
    call->samples += stack->samples[MODEL_HELD];
    call->charged_samples += stack->samples[MODEL_CHARGED];
    if (stack->longest_hold_ns > call->longest_hold_ns)
        call->longest_hold_ns = stack->longest_hold_ns;
    if (stack->longest_call_ns > call->longest_call_ns)
        call->longest_call_ns = stack->longest_call_ns;
    call->holds += stack->holds;
    return id;
}

/* The preload library alone knows where holds ended, and no more. */
static bool ends_only(const struct model_process *process)
{
    return !strcmp(process->source, "preload") && !process->stacks.flows[MODEL_HELD].inside;
}

/* The preload library knows where a hold ended.  A call that goes on without the GIL has let it go there, and the hold
 * was most likely spent on what ran before.  Who looked from outside has seen the call itself. */
static bool lets_go(const struct model_process *process, const struct model_call *call)
{
    return (double)call->released_ns > (ends_only(process) ? BUILD_LETS_GO_SHARE : 1) * (double)call->held_ns;
}

/* It is known to have kept the GIL itself, and not because the thread lost its processor meanwhile: its holds are long
 * on average, and it runs for so long in them, or they are so long that no want of processors explains them. */
static bool keeps_it_first(const struct model_call *call)
{
    return call->longest_call_ns >= LONG_HOLD_NS && call->holds &&
           (call->held_oncpu_ns / call->holds >= LONG_HOLD_NS || call->held_ns / call->holds >= BLOCKED_HOLD_NS);
}

/* Modules of CPython that work on Python objects only: they have no Py_BEGIN_ALLOW_THREADS in 3.8 to 3.13, nor could
 * they have one.  Many builds have them in the interpreter itself, whose functions are not listed either. */
static bool is_of_objects(const struct model_function *function)
{
    static const char *const names[] = {"_asyncio.",    "_bisect.", "_csv.",    "_datetime.", "_elementtree.",
                                        "_heapq.",      "_json.",   "_lsprof.", "_pickle.",   "_random.",
                                        "_statistics.", "_struct.", "array.",   "pyexpat.",   "_zoneinfo."};

    /* Others' that turn bytes into Python objects or the reverse, for whose users that is no advice.  (orjson's README:
     * "The global interpreter lock (GIL) is held for the duration of the call.") */
    static const char *const others[] = {"/orjson/orjson.", "/msgpack/_cmsgpack.", "/msgspec/_core.",
                                         "/pydantic_core/_pydantic_core.", "/simplejson/_speedups."};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(function->basename, names[i], strlen(names[i])))
            return strstr(function->file, "/lib-dynload/");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strstr(function->file, others[i]))
            return true;
    return false;
}

/* Nobody can have it let go of the GIL: it makes Python objects and nothing else.  What import calls is a module's
 * initialisation. */
static bool needs_it(const struct model_stacks *stacks, const struct model_call *call)
{
    static const char import[] = "<frozen importlib.";

    if (call->caller < stacks->n_frames &&
        !strncmp(stacks->functions[stacks->frames[call->caller].function].file, import, strlen(import)))
        return true;
    return is_of_objects(&stacks->functions[call->function]);
}

/* It keeps the GIL for long, and is more than the end of a hold that other code has had: for so long at once that
 * others feel it each time, or for a part of the time that others could have used.  Or others have waited for it, or it
 * has the GIL, for so large a part of the time that it may be worth it even if it is short; that takes more than the
 * odd sample.  A look or a sample stands for the distance to the next one: that says nothing of how long the call was.
 */
static bool matters(const struct model_process *process, const struct model_call *call)
{
    if (call->longest_call_ns >= BLOCKED_HOLD_NS && call->charged_ns)
        return true;
    if (call->longest_call_ns >= LONG_HOLD_NS || (call->longest_known && call->longest_hold_ns >= LONG_HOLD_NS))
        return (process->waiting_matters && call->charged_share >= CHARGED_SHARE_MIN) ||
               (call->held_share >= HELD_SHARE_MIN &&
                (double)call->held_ns >= HELD_TIME_MIN * (double)process->wall_ns);
    if (process->waiting_matters && call->charged_samples >= SHORT_SAMPLES_MIN &&
        call->charged_share >= SHORT_SHARE_MIN)
        return true;
    return !call->longest_known && call->samples >= SHORT_SAMPLES_MIN && call->held_share >= SHORT_SHARE_MIN;
}

static int by_harm(const void *a, const void *b)
{
    const struct model_call *x = a, *y = b;

    if (x->charged_ns != y->charged_ns)
        return x->charged_ns < y->charged_ns ? 1 : -1;
    return (x->longest_hold_ns < y->longest_hold_ns) - (x->longest_hold_ns > y->longest_hold_ns);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

/* Keeps those that keep the GIL for long, or that others have waited for, and do not release it before. */
static void finish_calls(struct model_process *process)
{
    struct model_stacks *stacks = &process->stacks;
    size_t n = 0;

    for (size_t i = 0; i < stacks->n_calls; i++) {
        struct model_call call = stacks->calls[i];
        call.longest_known = call.longest_hold_ns || call.longest_call_ns >= LONG_HOLD_NS;
        if (!call.longest_hold_ns) /* none ended in it, but some were seen inside of it */
            call.longest_hold_ns = call.longest_call_ns;
        if (!call.longest_known && call.samples && call.longest_hold_ns < call.held_ns / call.samples)
            call.longest_hold_ns = call.held_ns / call.samples; /* two looks at one call: it may be much longer */
        call.charged_share = share(call.charged_ns, stacks->flows[MODEL_CHARGED].total_ns);
        call.held_share = share(call.held_ns, stacks->flows[MODEL_HELD].total_ns);
        call.lets_go = lets_go(process, &call);
        if (call.lets_go && !keeps_it_first(&call))
            continue;
        if (call.lets_go) { /* of its own: the hold may have begun long before the call */
            call.longest_hold_ns = call.longest_call_ns;
            call.longest_known = true;
        }
        if (matters(process, &call) && !needs_it(stacks, &call))
            stacks->calls[n++] = call;
    }
    if (n)
        qsort(stacks->calls, n, sizeof *stacks->calls, by_harm);
    stacks->n_calls = n < CALLS_MAX ? n : CALLS_MAX;
}

/* A module of which only waits were seen has nothing to show; nor has one whose samples looks from outside replaced. */
static void drop_empty_modules(struct model_stacks *stacks)
{
    size_t n = 0;

    for (size_t i = 0; i < stacks->n_modules; i++)
        if (stacks->modules[i].charged_ns || stacks->modules[i].held_ns || stacks->modules[i].released_ns)
            stacks->modules[n++] = stacks->modules[i];
    stacks->n_modules = n;
}

void build_modules(struct build *build)
{
    struct model_stacks *stacks = &build->process->stacks;
    size_t modules_capacity = 0, calls_capacity = 0;
    struct intern table = {.n = 0};
    uint32_t *calls = mem_zeroed(stacks->n_stacks + 1, sizeof *calls);

    for (size_t i = 0; i < stacks->n_stacks; i++) {
        struct model_doing what = build_doing(stacks, &stacks->stacks[i]);
        calls[i] = add_to_call(stacks, &calls_capacity, &table, &stacks->stacks[i], &what);
    }
    for (size_t i = 0; i < stacks->n_stacks; i++) {
        struct model_doing what = build_doing(stacks, &stacks->stacks[i]);
        bool held =
            calls[i] == NO_CALL || !ends_only(build->process) || !lets_go(build->process, &stacks->calls[calls[i]]);
        add_to_module(stacks, &modules_capacity, &stacks->stacks[i], &what, held);
    }
    free(calls);
    intern_free(&table);
    drop_empty_modules(stacks);
    uint64_t charged_ns = stacks->flows[MODEL_CHARGED].total_ns;
    for (size_t i = 0; i < stacks->n_modules; i++)
        stacks->modules[i].charged_share = share(stacks->modules[i].charged_ns, charged_ns);
    stacks->no_module.charged_share = share(stacks->no_module.charged_ns, charged_ns);
    if (stacks->n_modules)
        qsort(stacks->modules, stacks->n_modules, sizeof *stacks->modules, by_importance);
    finish_calls(build->process);
}
