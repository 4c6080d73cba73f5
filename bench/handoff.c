/* SPDX-License-Identifier: MIT */
/*
 * handoff.c - two threads that hand the GIL to each other by turns, without a system call: each gives it up, says so in
 * a word, and takes it again when the other has said so.  For bench/handoff.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

static int turn __attribute__((aligned(128)));

static void await(int me)
{
    while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != me) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* take_turns(me, n): me is 0 in one thread and 1 in the other; returns ns for a hand-off. */
static PyObject *take_turns(PyObject *module, PyObject *args)
{
    int me;
    long n;
    PyThreadState *state;

    (void)module;
    if (!PyArg_ParseTuple(args, "il", &me, &n))
        return NULL;
    state = PyEval_SaveThread();
    await(me);
    PyEval_RestoreThread(state);
    double begin = now_ns();
    for (long i = 0; i < n; i++) {
        state = PyEval_SaveThread();
        __atomic_store_n(&turn, !me, __ATOMIC_RELEASE);
        await(me);
        PyEval_RestoreThread(state);
    }
    double ns = (now_ns() - begin) / (double)n / 2;
    state = PyEval_SaveThread();
    __atomic_store_n(&turn, !me, __ATOMIC_RELEASE);
    PyEval_RestoreThread(state);
    return PyFloat_FromDouble(ns);
}

static PyMethodDef methods[] = {{"take_turns", take_turns, METH_VARARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_handoff", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__handoff(void)
{
    return PyModule_Create(&definition);
}
