/* SPDX-License-Identifier: MIT */
/*
 * cpython-callee.c - the native function that a thread's innermost Python frame is calling.
 *
 * While a built-in function runs, it and its arguments lie on the frame's stack (Python/ceval.c, Python/bytecodes.c):
 *   to 3.10     function, arguments             (CALL_METHOD: method, self, arguments; or NULL, function, arguments)
 *   3.11, 3.12  NULL, function, arguments       or  method, self, arguments
 *   3.13        function, NULL or self, arguments
 *   3.14+       the same, as references with a tag in the two lowest bits
 * Up to 3.13 how deep the stack is at this moment is kept in a register only.  What lies above it are remains; but a
 * call that has ended has put its result where its first entry was.  So the topmost entry that can be the one being
 * called is it.  From 3.14 on the frame has it while something is called (_PyFrame_SetStackPointer in
 * generated_cases.c.h), and the instruction says how many arguments there are.
 */
#include "cpython-callee.h"

#include <string.h>

#include "cpython-frames.h"

#define STACK_MAX 64
#define CYTHON "_cython_" /* of its types' names; its version follows */
#define CYTHON_OLD "cython_function_or_method"
#define OF_CTYPES "_FuncPtr" /* a class of its own for each library: Lib/ctypes/__init__.py, CDLL */
#define VECTORCALL_MOST 4096 /* bytes of an object, in front of the pointer to what calls it */
#define NAME_BYTES 27        /* of a type that are looked at */
#define METHODS_MAX 128      /* of a type and those that it is derived from, that are looked at */

enum { VALUE_STACK = 64 };                   /* PyFrameObject.f_valuestack, to 3.10 */
enum { M_ML = 16, D_METHOD = 40, METH = 8 }; /* PyCFunctionObject, PyMethodDescrObject, PyMethodDef */
enum { B_PTR = 16 };                         /* CDataObject: what the object stands for, here a pointer */
/* PyTypeObject (Include/cpython/object.h) */
enum { TP_BASICSIZE = 32, TP_VECTORCALL_OFFSET = 56, TP_CALL = 128, TP_FLAGS = 168 };
enum { TP_METHODS = 232, TP_BASE = 256, TP_DICT = 264, HAVE_VECTORCALL = 1 << 11 };
enum { METHOD_DEF_BYTES = 32 };

/* What ctypes keeps of a type: StgDictObject, StgInfo from 3.13 on, whose flags have moved in 3.14 (ctypes.h). */
enum { STG_DICT_FLAGS = 160, STG_INFO_FLAGS = 128, STG_INFO_FLAGS_14 = 136 };
enum { FUNCFLAG_PYTHONAPI = 0x4, TYPEFLAG_ISPOINTER = 0x100, OTHER_FLAGS = 0x101f /* DICTFLAG_FINAL, all FUNCFLAGs */ };

static const char ANY_OBJECT[] = "any object, for function_of()";

/* Opcodes that call, as they are in memory, specialised or not: opcode.h, pycore_opcode.h, opcode_ids.h. */
static bool is_call(uint8_t minor, unsigned op)
{
    static const uint8_t to_10[] = {131, 141, 142, 161, 0};
    static const uint8_t in_11[] = {22, 64, 66, 67, 72, 73, 76, 77, 78, 79, 80, 81, 113, 142, 166, 171, 0};
    static const uint8_t in_12[] = {29, 34, 38, 39, 40, 41, 42, 43, 44, 45, 46, 142, 171, 241, 244, 0};
    static const uint8_t in_13[] = {53,  54,  57,  166, 167, 168, 169, 170, 171,
                                    172, 173, 174, 175, 176, 244, 245, 246, 0};
    static const uint8_t in_14[] = {4,   52,  55,  144, 145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 155,
                                    156, 157, 158, 159, 160, 161, 162, 163, 164, 165, 250, 251, 252, 0};
    static const uint8_t in_15[] = {4,   50,  53,  145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 155, 156, 157,
                                    158, 159, 160, 161, 162, 163, 164, 165, 166, 167, 168, 249, 250, 251, 0};
    static const uint8_t *const by_minor[] = {[11] = in_11, in_12, in_13, in_14, in_15};
    const uint8_t *ops = minor <= 10 ? to_10 : minor < sizeof by_minor / sizeof *by_minor ? by_minor[minor] : NULL;
    for (; ops && *ops; ops++)
        if (*ops == op)
            return true;
    return false;
}

/* How many entries of the stack lie above the function, arguments left out: 3.14 and later. */
static unsigned above(uint8_t minor, unsigned op)
{
    static const struct {
        uint8_t ex[5]; /* CALL_FUNCTION_EX: NULL, tuple, and dict or NULL */
        uint8_t kw[6]; /* CALL_KW: NULL or self, and the names of keywords */
    } ops[] = {{{4, 252, 0}, {55, 151, 152, 153, 251, 0}}, {{4, 151, 152, 251, 0}, {53, 154, 155, 156, 250, 0}}};
    unsigned n = 1;

    for (const uint8_t *ex = ops[minor - 14].ex; *ex; ex++)
        n += *ex == op ? 2 : 0;
    for (const uint8_t *kw = ops[minor - 14].kw; *kw; kw++)
        n += *kw == op ? 1 : 0;
    return n;
}

/* The opcode at which the frame is; 0 = none.  *arg: its argument's lowest byte. */
static unsigned opcode_of(struct cpython_reader *r, const struct cpython_frame *f, unsigned *arg)
{
    const struct cpython_layout *l = r->l;
    unsigned char unit[2] = {0, 0};
    uint64_t code = l->code_bytes ? f->code + l->code_bytes
                                  : cpython_pointer(r, f->code + 48) + CPYTHON_BYTES_DATA; /* co_code, to 3.10 */
    if (f->at < 0 || cpython_fetch(r, code + (uint64_t)f->at, unit, sizeof unit) != 0)
        return 0;
    *arg = unit[1];
    return unit[0];
}

/* Types that are called, by their names (to the end, but for one that has Cython's version behind it), and the pointers
 * that lead from an object to its C function. */
static const struct {
    const char *name;
    size_t n; /* bytes of it to compare */
    uint8_t at, then;
} callables[] = {
    {"builtin_function_or_method", 27, M_ML, METH},
    {"builtin_method", 15, M_ML, METH},
    {"method_descriptor", 18, D_METHOD, METH},
    {CYTHON, sizeof CYTHON - 1, M_ML, METH}, /* begins with a PyCFunctionObject: Cython/Utility/CythonFunction.c */
    {CYTHON_OLD, sizeof CYTHON_OLD, M_ML, METH},
    /* Functions of libraries that ctypes has loaded (Modules/_ctypes/ctypes.h).  Those of CFUNCTYPE() are left out:
     * they are arguments most of the time, callbacks. */
    {OF_CTYPES, sizeof OF_CTYPES, B_PTR, 0},
};

/* Does ctypes keep the GIL in calls of functions of this type?  Those of PyDLL() only: of others, such as CDLL(), only
 * what ctypes itself does in front of the call and behind it is done with the GIL. */
static bool ctypes_keeps_gil(struct cpython_reader *r, uint64_t type)
{
    uint64_t base = cpython_pointer(r, type + TP_DICT), at = base + STG_DICT_FLAGS;
    uint32_t flags = 0;

    if (r->l->minor >= 13) { /* behind the part that all types have: PyObject_GetTypeData() */
        uint64_t c_type = cpython_pointer(r, cpython_pointer(r, type + CPYTHON_OB_TYPE) + TP_BASE);
        base = cpython_pointer(r, cpython_pointer(r, c_type + TP_BASE) + TP_BASICSIZE);
        at = type + ((base + 15) & ~(uint64_t)15) + (r->l->minor == 13 ? STG_INFO_FLAGS : STG_INFO_FLAGS_14);
    }
    if (!base || cpython_fetch(r, at, &flags, sizeof flags) != 0)
        return false;
    return (flags & ~(uint32_t)OTHER_FLAGS) == TYPEFLAG_ISPOINTER && (flags & FUNCFLAG_PYTHONAPI);
}

/* What calls an object of this type, whatever it is. */
static uint64_t caller_of(struct cpython_reader *r, uint64_t object, uint64_t type)
{
    int64_t at = (int64_t)cpython_pointer(r, type + TP_VECTORCALL_OFFSET);

    if ((cpython_pointer(r, type + TP_FLAGS) & HAVE_VECTORCALL) && at > 0 && at < VECTORCALL_MOST)
        return cpython_pointer(r, object + (uint64_t)at);
    return cpython_pointer(r, type + TP_CALL);
}

/* The C function that is run when the object is called; 0 if it is none of these, or is not of the only type asked for.
 * If none is asked for, those that run without the GIL are left out. */
static uint64_t function_of(struct cpython_reader *r, uint64_t object, const char *only)
{
    char name[NAME_BYTES];
    uint64_t type = cpython_pointer(r, object + CPYTHON_OB_TYPE), at = cpython_pointer(r, type + CPYTHON_TP_NAME);

    if (!at || cpython_fetch(r, at, name, sizeof name) != 0)
        return 0;
    if (only == ANY_OBJECT)
        return caller_of(r, object, type);
    for (size_t i = 0; i < sizeof callables / sizeof *callables; i++)
        if (!memcmp(name, callables[i].name, callables[i].n) && (!only || !strcmp(only, callables[i].name))) {
            if (!only && !strcmp(callables[i].name, OF_CTYPES) && !ctypes_keeps_gil(r, type))
                return 0;
            uint64_t from = cpython_pointer(r, object + callables[i].at);
            return from ? cpython_pointer(r, from + callables[i].then) : 0;
        }
    return 0;
}

/* Is the function one of the methods of the object's type, or of one that it is derived from? */
static bool has_method(struct cpython_reader *r, uint64_t object, uint64_t function)
{
    uint64_t type = object && !(object & 7) ? cpython_pointer(r, object + CPYTHON_OB_TYPE) : 0;
    unsigned n = 0;

    for (; type && n < METHODS_MAX; type = cpython_pointer(r, type + TP_BASE), n++)
        for (uint64_t def = cpython_pointer(r, type + TP_METHODS); def && n < METHODS_MAX; def += METHOD_DEF_BYTES) {
            uint64_t found = cpython_pointer(r, def + METH);
            if (found == function)
                return true;
            if (!found)
                break;
            n++;
        }
    return false;
}

/* Is it a method that is called with self as its first argument, so that no NULL stands beside it? */
static bool is_method(struct cpython_reader *r, uint64_t object, uint64_t function, uint64_t self)
{
    char name[sizeof CYTHON_OLD];
    uint64_t at = cpython_pointer(r, cpython_pointer(r, object + CPYTHON_OB_TYPE) + CPYTHON_TP_NAME);
    bool is_new;

    if (cpython_is_a(r, object, "method_descriptor"))
        return true;
    if (cpython_fetch(r, at, name, sizeof name) != 0)
        return false;
    is_new = !memcmp(name, CYTHON, sizeof CYTHON - 1);
    if (!is_new && memcmp(name, CYTHON_OLD, sizeof CYTHON_OLD) != 0)
        return false;
    /* Up to 3.12 a function of Cython's that lies there may as well be one that has been called before.  A method of an
     * extension type has its result in its place then, and what follows it is an object that has it: the type's table
     * names it, too (Cython/Compiler/TypeSlots.py, MethodTableSlot). */
    return (is_new && r->l->minor == 13) || has_method(r, self, function);
}

/* 3.14 and later: by the depth of the stack, of at most size entries. */
static uint64_t at_depth(struct cpython_reader *r, const struct cpython_frame *f, uint64_t base, uint32_t size,
                         unsigned op, unsigned arg, const char *only)
{
    uint64_t top = cpython_pointer(r, f->frame + r->l->frame_stack), n_above = above(r->l->minor, op);

    n_above += n_above < 3 ? arg : 0;
    if (top < base || (top & 7) || (top - base) / 8 > size || (top - base) / 8 < n_above + 1)
        return 0;
    return function_of(r, cpython_pointer(r, top - (n_above + 1) * 8) & ~(uint64_t)3, only);
}

static uint64_t callee(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f, const char *only)
{
    const struct cpython_layout *l = r->l;
    struct cpython_walk w;
    uint64_t stack[STACK_MAX + 2], base;
    uint32_t size = 0, locals = 0;
    unsigned op, arg = 0;
    cpython_walk_begin(&w, r, tstate, 0);
    if (!cpython_walk_next(&w, f) || !is_call(l->minor, op = opcode_of(r, f, &arg)))
        return 0;
    uint64_t size_at = l->minor <= 10 ? 32 : l->minor == 11 ? 68 : 64, locals_at = l->minor == 11 ? 76 : 72;
    if (cpython_fetch(r, f->code + size_at, &size, sizeof size) != 0 ||
        (l->minor > 10 && cpython_fetch(r, f->code + locals_at, &locals, sizeof locals) != 0) || locals > 10000)
        return 0;
    base = l->minor <= 10 ? cpython_pointer(r, f->frame + VALUE_STACK) : f->frame + l->frame_locals + locals * 8u;
    if (l->minor >= 14)
        return at_depth(r, f, base, size, op, arg, only);
    if (size > STACK_MAX)
        size = STACK_MAX;
    stack[0] = stack[size + 1] = 1; /* in front of the first and behind the last: no NULL */
    if (cpython_fetch(r, base, stack + 1, size * sizeof *stack) != 0)
        return 0;
    for (uint32_t i = size; i > 0; i--) {
        if (!stack[i] || (stack[i] & 7))
            continue;
        uint64_t function = function_of(r, stack[i], only);
        /* In these versions NULL stands beside a function that is called.  Without it, it has been called before, and
         * its result is there; or it is an argument. */
        bool alone = l->minor <= 10 || stack[l->minor == 13 ? i + 1 : i - 1] == 0;
        if (function && (alone || (only != ANY_OBJECT && is_method(r, stack[i], function, stack[i + 1]))))
            return function;
    }
    return 0;
}

uint64_t cpython_callee(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f)
{
    return callee(r, tstate, f, NULL);
}

uint64_t cpython_callee_object(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f, uint64_t *type_call)
{
    if (r->l->minor < 11) /* an argument cannot be told from what is called */
        return 0;
    uint64_t code = callee(r, tstate, f, ANY_OBJECT), type = cpython_pointer(r, f->code + CPYTHON_OB_TYPE);
    type = cpython_pointer(r, type + CPYTHON_OB_TYPE); /* of a code object's type, which is type itself */
    *type_call = cpython_pointer(r, type + TP_CALL);
    return code;
}

uint64_t cpython_callee_of_ctypes(struct cpython_reader *r, uint64_t tstate, struct cpython_frame *f)
{
    return callee(r, tstate, f, OF_CTYPES);
}
