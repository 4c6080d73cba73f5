/* SPDX-License-Identifier: MIT */
/*
 * model-native.c - native addresses: which object, which function, and which part they play in a stack.
 */
#include "model-native.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "model-names.h"
#include "symbols.h"

#define OVERLAPS_MAX 512 /* objects that were at one address one after the other */

struct object {
    const struct rec_object *raw;
    const char *path, *basename;
    struct symbols *symbols; /* NULL = not opened yet */
    enum model_role role;
    bool shim;
};

struct known { /* an address that was looked up before */
    uint64_t address;
    size_t object;
    struct native_frame frame;
};

struct native {
    struct model_stacks *stacks;
    struct object *objects; /* by start */
    size_t n_objects, objects_capacity;
    struct known *known;
    size_t n_known, known_capacity;
    struct intern known_table;
};

static bool begins(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

static bool begins_with_one_of(const char *text, const char *const *prefixes)
{
    for (; *prefixes; prefixes++)
        if (begins(text, *prefixes))
            return true;
    return false;
}

/* --- objects */
static enum model_role role_by_name(const char *basename)
{
    static const char *const interpreter[] = {"libpython", "python", "pypy", NULL};
    static const char *const system[] = {"libc.",     "libc-",  "libpthread", "libm.",      "libm-",
                                         "libdl",     "librt",  "libutil",    "ld-",        "libgcc_s",
                                         "libstdc++", "libc++", "[vdso]",     "linux-vdso", NULL};
    static const char *const plumbing[] = {"_ctypes.", "libffi.", "_cffi_backend.", "_greenlet.", NULL};

    if (begins_with_one_of(basename, interpreter))
        return MODEL_ROLE_INTERPRETER;
    if (begins_with_one_of(basename, system))
        return MODEL_ROLE_SYSTEM;
    return begins_with_one_of(basename, plumbing) ? MODEL_ROLE_PLUMBING : MODEL_ROLE_EXTENSION;
}

static int by_start(const void *a, const void *b)
{
    const struct object *x = a, *y = b;

    return (x->raw->start > y->raw->start) - (x->raw->start < y->raw->start);
}

static void set_path(struct object *object, struct model_stacks *stacks, const char *path, size_t n)
{
    object->path = names_text(stacks, path, n);
    object->basename = names_text(stacks, names_base(object->path), strlen(names_base(object->path)));
    object->role = role_by_name(object->basename);
    object->shim = begins(object->basename, "libgilscope-preload.so");
}

static void read_objects(struct native *native, const struct reader_file *file)
{
    struct reader_record record = {.offset = 0};

    while (reader_next(file, &record)) {
        const struct rec_object *raw = reader_object(file, &record);
        struct object object = {.raw = raw};
        const char *bytes = "";
        size_t n = 0;
        if (!raw)
            continue;
        reader_string(file, raw->path, &bytes, &n);
        set_path(&object, native->stacks, bytes, n);
        native->objects =
            mem_grow(native->objects, native->n_objects, &native->objects_capacity, sizeof *native->objects);
        native->objects[native->n_objects++] = object;
    }
    if (native->n_objects)
        qsort(native->objects, native->n_objects, sizeof *native->objects, by_start);
}

/* "libtorch.so.1.13" and "libtorch.so.1.13.0", the link and the file, are the same up to here. */
static size_t stem(const char *basename)
{
    const char *so = strstr(basename, ".so");

    return so ? (size_t)(so - basename) : strlen(basename);
}

/* The library is loaded by the name of a link, often, while who looks from outside sees the file's. */
static void take_name(struct object *object, const struct native *loaded)
{
    for (size_t i = 0; i < loaded->n_objects && loaded->objects[i].raw->start < object->raw->end; i++) {
        const struct object *as = &loaded->objects[i];
        if (as->raw->bias == object->raw->bias && as->raw->end > object->raw->start && as->path != object->path &&
            stem(as->basename) == stem(object->basename) &&
            !strncmp(as->basename, object->basename, stem(as->basename))) {
            object->path = as->path;
            object->basename = as->basename;
            return;
        }
    }
}

struct native *native_open(const struct reader_file *file, const struct reader_file *loaded_by,
                           struct model_stacks *stacks)
{
    struct native *native = mem_zeroed(1, sizeof *native);

    native->stacks = stacks;
    read_objects(native, file);
    if (loaded_by != file) {
        struct native loaded = {.stacks = stacks};
        read_objects(&loaded, loaded_by);
        for (size_t i = 0; i < native->n_objects; i++)
            take_name(&native->objects[i], &loaded);
        free(loaded.objects);
    }
    return native;
}

void native_close(struct native *native)
{
    for (size_t i = 0; i < native->n_objects; i++)
        symbols_close(native->objects[i].symbols);
    intern_free(&native->known_table);
    free(native->objects);
    free(native->known);
    free(native);
}

static bool was_there(const struct rec_object *raw, uint32_t generation)
{
    return raw->first_generation <= generation && (!raw->end_generation || generation < raw->end_generation);
}

/* The object at an address, n_objects if there was none. */
static size_t find_object(const struct native *native, uint64_t address, uint32_t generation)
{
    size_t low = 0, high = native->n_objects;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (native->objects[middle].raw->start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i > 0 && low - i < OVERLAPS_MAX; i--) {
        const struct rec_object *raw = native->objects[i - 1].raw;
        if (address < raw->end && was_there(raw, generation))
            return i - 1;
    }
    return native->n_objects;
}

static void open_symbols(struct object *object)
{
    if (object->symbols)
        return;
    object->symbols = symbols_open(object->path, object->raw->build_id, object->raw->build_id_bytes);
    if (symbols_has_interpreter(object->symbols))
        object->role = MODEL_ROLE_INTERPRETER;
}

/* --- what a function of the interpreter is */
static enum native_kind interpreter_kind(const char *symbol)
{
    static const char *const eval[] = {"_PyEval_EvalFrameDefault", "PyEval_EvalFrameEx", "_TAIL_CALL_", NULL};
    static const char *const gil[] = {"take_gil",
                                      "drop_gil",
                                      "create_gil",
                                      "PyEval_RestoreThread",
                                      "PyEval_SaveThread",
                                      "PyEval_AcquireThread",
                                      "PyEval_ReleaseThread",
                                      "PyEval_AcquireLock",
                                      "PyEval_ReleaseLock",
                                      "_PyEval_AcquireLock",
                                      "_PyEval_ReleaseLock",
                                      "_PyEval_SetSwitchInterval",
                                      "PyGILState_",
                                      "_PyThreadState_Attach",
                                      "_PyThreadState_Detach",
                                      "_PyThreadState_Swap",
                                      "PyThreadState_Swap",
                                      "_Py_HandlePending",
                                      "_Py_Finalize",
                                      "eval_frame_handle_pending",
                                      "tstate_delete_common",
                                      "detach_thread",
                                      NULL};
    /* How the interpreter gets from one frame to the next. */
    static const char *const plumbing[] = {"_Py",
                                           "Py",
                                           "_py",
                                           "py",
                                           "cfunction_",
                                           "method_",
                                           "vectorcall",
                                           "call_",
                                           "function_",
                                           "do_call",
                                           "do_raise",
                                           "slot_",
                                           "type_call",
                                           "type_new",
                                           "type___call__",
                                           "object_",
                                           "gen_",
                                           "coro_",
                                           "async_gen",
                                           "context_run",
                                           "partial_",
                                           "wrap_",
                                           "wrapper",
                                           "builtin_exec",
                                           "builtin_eval",
                                           "builtin___build_class__",
                                           "builtin___import__",
                                           "run_",
                                           "thread_run",
                                           "t_bootstrap",
                                           "bootstrap",
                                           "main",
                                           "_start",
                                           "thread_Py",
                                           "import_",
                                           "exec_code",
                                           "property_",
                                           "classmethod",
                                           "bounded_",
                                           "invoke_",
                                           "trampoline",
                                           "descr_",
                                           "getset_",
                                           "member_",
                                           "tp_",
                                           "subtype_",
                                           "gil_",
                                           "unicode_",
                                           "dict_",
                                           "frame_",
                                           "tuple",
                                           "free_",
                                           "clear_",
                                           "insertdict",
                                           NULL};

    if (!symbol)
        return NATIVE_INTERP;
    if (begins_with_one_of(symbol, eval))
        return NATIVE_EVAL;
    if (begins_with_one_of(symbol, gil))
        return NATIVE_GIL;
    return begins_with_one_of(symbol, plumbing) ? NATIVE_INTERP : NATIVE_BUILTIN;
}

static enum native_kind system_kind(const char *symbol)
{
    static const char *const sync[] = {"pthread_cond_",
                                       "__pthread_cond_",
                                       "___pthread_cond_",
                                       "pthread_mutex_",
                                       "__pthread_mutex_",
                                       "___pthread_mutex_",
                                       "__futex_",
                                       "__lll_lock",
                                       "__GI___pthread",
                                       "futex_",
                                       "lll_",
                                       NULL};

    return symbol && begins_with_one_of(symbol, sync) ? NATIVE_SYNC : NATIVE_SYSTEM;
}

static enum native_kind kind_of(const struct object *object, const char *symbol)
{
    if (object->shim)
        return NATIVE_SHIM;
    if (object->role == MODEL_ROLE_INTERPRETER)
        return interpreter_kind(symbol);
    return object->role == MODEL_ROLE_SYSTEM ? system_kind(symbol) : NATIVE_CODE;
}

/* --- addresses */
static uint32_t frame_of(struct native *native, const struct object *object, const char *symbol, uint64_t offset)
{
    struct model_function function = {.file = object->path,
                                      .basename = object->basename,
                                      .role = object->role,
                                      .native = true,
                                      .named = symbol != NULL};
    char *readable = symbol ? symbols_demangle(symbol) : NULL;
    char *name = symbol ? NULL : mem_print("[%s+0x%" PRIx64 "]", object->basename, offset);
    const char *shown = readable ? readable : name ? name : symbol;

    function.name = names_text(native->stacks, shown, strlen(shown));
    free(readable);
    free(name);
    return names_frame(native->stacks, names_function(native->stacks, &function), 0);
}

static struct native_frame look_up(struct native *native, uint64_t address, size_t i_object)
{
    struct model_function unknown = {.role = MODEL_ROLE_UNKNOWN, .native = true};
    struct object *object;
    const char *symbol;

    if (i_object == native->n_objects) {
        unknown.name = names_text(native->stacks, "[code without a file]", SIZE_MAX);
        unknown.file = unknown.basename = names_text(native->stacks, "", 0);
        return (struct native_frame){NATIVE_CODE,
                                     names_frame(native->stacks, names_function(native->stacks, &unknown), 0)};
    }
    object = &native->objects[i_object];
    if (object->shim)
        return (struct native_frame){NATIVE_SHIM, 0};
    open_symbols(object);
    /* A call may be the last instruction of its function: what comes back is then the next one's begin. */
    symbol = symbols_find(object->symbols, address - object->raw->bias - 1);
    return (struct native_frame){kind_of(object, symbol),
                                 frame_of(native, object, symbol, address - object->raw->bias)};
}

struct address_key {
    const struct native *native;
    uint64_t address;
    size_t object;
};

static bool same_address(const void *context, uint32_t id)
{
    const struct address_key *key = context;
    const struct known *known = &key->native->known[id];

    return known->address == key->address && known->object == key->object;
}

struct native_frame native_resolve(struct native *native, uint64_t address, uint32_t generation)
{
    struct address_key key = {native, address, find_object(native, address, generation)};
    uint64_t parts[] = {address, key.object};
    uint32_t id = intern(&native->known_table, intern_hash(0, parts, sizeof parts), same_address, &key,
                         (uint32_t)native->n_known);

    if (id < native->n_known)
        return native->known[id].frame;
    native->known = mem_grow(native->known, native->n_known, &native->known_capacity, sizeof *native->known);
    native->known[native->n_known++] = (struct known){address, key.object, look_up(native, address, key.object)};
    return native->known[id].frame;
}
