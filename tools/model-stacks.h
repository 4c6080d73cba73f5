/* SPDX-License-Identifier: MIT */
/*
 * model-stacks.h - the part of the model that comes from stacks: where threads waited, held the GIL and let go of it.
 *
 * Stacks are samples; the weights of each view have been scaled to the exact total of the same state.
 */
#ifndef GILSCOPE_MODEL_STACKS_H
#define GILSCOPE_MODEL_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_process;

enum model_view {
    MODEL_WAIT,     /* waiting for the GIL: blocked, and for the wake-up */
    MODEL_CHARGED,  /* others' waiting while the thread held the GIL */
    MODEL_HELD,     /* holding it */
    MODEL_RELEASED, /* without it and not asking for it */
    MODEL_VIEWS
};

/* Who wrote the code of a function. */
enum model_role {
    MODEL_ROLE_PYTHON,
    MODEL_ROLE_EXTENSION,   /* a shared object that is none of the next */
    MODEL_ROLE_PLUMBING,    /* calls others' code: ctypes, libffi */
    MODEL_ROLE_SYSTEM,      /* the C library and what comes with it */
    MODEL_ROLE_INTERPRETER, /* CPython itself */
    MODEL_ROLE_UNKNOWN,     /* code in no file, such as a just-in-time compiler's; a mark of the collector's */
};

struct model_function {
    const char *name;     /* never empty; a native one without symbol is "[libfoo.so+0x1234]" */
    const char *file;     /* source file; for native ones the object's path; may be empty */
    const char *basename; /* the end of file */
    uint32_t first_line;  /* 0 = not known */
    enum model_role role;
    bool native;
    bool named; /* native: it has a symbol */
};

struct model_frame { /* a place in a function */
    uint32_t function;
    uint32_t line; /* 0 = not known */
};

struct model_stack {
    uint32_t thread; /* index into the process's threads; == n_threads: a thread that has no record any more */
    uint32_t first_frame, n_frames; /* in frame_ids, root first; there may be none */
    bool unmatched;                 /* native and Python frames did not fit: the Python ones are all there */
    bool cut;                       /* there were more frames, nearer to the root */
    bool no_native;                 /* the Python frames only */
    uint64_t ns[MODEL_VIEWS];       /* scaled */
    uint64_t oncpu_ns[MODEL_VIEWS]; /* of held and released */
    uint32_t samples[MODEL_VIEWS];
    uint64_t longest_hold_ns; /* 0 = not known */
    uint64_t longest_call_ns; /* the longest time that it kept the GIL in one call, at least; 0 = not known */
    uint64_t holds;           /* that ended here, as the preload library's samples have it; 0 = not known */
};

struct model_flow {                    /* one view of a process */
    uint64_t total_ns, total_oncpu_ns; /* exact, and what the weights add up to after scaling */
    uint64_t sampled_ns;               /* what they added up to before */
    double scale;                      /* 0 where there are no samples */
    uint64_t samples;
    uint64_t inside_samples; /* of these, taken from outside while the GIL was held: the others are ends of holds */
    bool inside;             /* most of them */
    size_t n_stacks;
    double error; /* of a share near 1, relative: 1 / sqrt(samples); of a smaller one more */
};

struct model_module {
    const char *path, *basename;
    bool interpreter;
    uint64_t released_ns, released_oncpu_ns, held_ns, charged_ns;
    double charged_share; /* of all charged waiting */
};

/* A function of an extension that is called from Python, and keeps the GIL.  One that lets go of it is listed only if
 * it is known to have kept it for long before. */
struct model_call {
    uint32_t function;
    uint32_t caller; /* frame; == n_frames: not called from Python */
    uint64_t charged_ns, held_ns, held_oncpu_ns, released_ns, longest_hold_ns;
    bool longest_known;       /* otherwise it is the mean of what the samples stood for */
    uint64_t longest_call_ns; /* the longest time that it kept the GIL in one call, at least; 0 = not known */
    uint64_t holds;           /* that ended in it; 0 = not known */
    bool lets_go;             /* having kept it, it lets go of it: longest_hold_ns is longest_call_ns */
    uint64_t samples, charged_samples; /* of the time held, and of what others waited */
    double charged_share; /* of all charged waiting */
    double held_share;    /* of all time held */
};

/* A Python function as the innermost one of stacks. */
struct model_hot {
    uint32_t function;
    uint32_t line;   /* that had the most of it */
    uint32_t native; /* the function of an extension that had the most of it; == n_functions: none had half */
    uint64_t ns;
    double share; /* of the view */
    bool lets_go; /* it is without the GIL for longer than with it, and only the ends of holds are known: they end
                     there, and what had them ran before */
};

struct model_stacks {
    struct model_function *functions;
    size_t n_functions;
    struct model_frame *frames;
    size_t n_frames;
    uint32_t *frame_ids; /* of all stacks */
    size_t n_frame_ids;
    struct model_stack *stacks;
    size_t n_stacks;
    struct model_flow flows[MODEL_VIEWS];
    uint64_t *thread_ns;          /* by thread, n_threads + 1 of them, and view */
    uint64_t n_unmatched, n_cut;  /* stacks */
    struct model_module *modules; /* the interpreter last, else the most charged first, then the most released */
    size_t n_modules;
    struct model_module no_module; /* of which nobody knows whose it was; with modules it is the whole of each view */
    struct model_call *calls;      /* that should release the GIL, the worst first */
    size_t n_calls;
    struct model_hot *hot; /* of the charged view, the most first */
    size_t n_hot;
    struct model_names *names; /* owns the texts */
};

/* "wait", "charged", "held", "released", and what it shows, in a few words. */
const char *model_view_name(enum model_view view);
const char *model_view_title(enum model_view view);

/* What a thread (index into the process's threads) has of a view.  ns */
uint64_t model_stacks_thread_ns(const struct model_process *process, enum model_view view, size_t thread);

#endif
