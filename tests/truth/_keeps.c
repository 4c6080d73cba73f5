/* SPDX-License-Identifier: MIT */
/*
 * _keeps.c - an extension module whose functions keep the GIL for a known time and then let go of it, for
 * tests/test_calls.py.  By the limited API, so that one library serves all interpreters.
 */
#define Py_LIMITED_API 0x03080000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <time.h>

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void compute(double ms)
{
    for (long long end = now_ns() + (long long)(ms * 1e6); now_ns() < end;)
        ;
}

/* Computes with the GIL, then sleeps without it: (ms, ms). */
static PyObject *run(PyObject *args)
{
    double held_ms, released_ms;
    if (!PyArg_ParseTuple(args, "dd", &held_ms, &released_ms))
        return NULL;
    compute(held_ms);
    Py_BEGIN_ALLOW_THREADS struct timespec t = {(time_t)(released_ms / 1e3), (long)(released_ms * 1e6) % 1000000000};
    nanosleep(&t, NULL);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

/* Two names, so that each has a symbol of its own. */
__attribute__((noinline, noclone)) PyObject *computes_then_sleeps(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *result = run(args);
    __asm__ volatile("" ::: "memory"); /* no tail call */
    return result;
}

__attribute__((noinline, noclone)) PyObject *sleeps_soon(PyObject *self, PyObject *args)
{
    (void)self;
    PyObject *result = run(args);
    __asm__ volatile("" : "+r"(result)::"memory", "cc");
    return result;
}

/* Calls an object of the type Kernel: computes with the GIL for so many ms. */
__attribute__((noinline, noclone)) PyObject *calls_kernel(PyObject *self, PyObject *args, PyObject *names)
{
    double ms;
    (void)self, (void)names;
    if (!PyArg_ParseTuple(args, "d", &ms))
        return NULL;
    compute(ms);
    Py_RETURN_NONE;
}

static PyType_Slot kernel_slots[] = {{Py_tp_call, calls_kernel}, {0, NULL}};
static PyType_Spec kernel = {"_keeps.Kernel", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                             kernel_slots};

static PyMethodDef methods[] = {{"computes_then_sleeps", computes_then_sleeps, METH_VARARGS, NULL},
                                {"sleeps_soon", sleeps_soon, METH_VARARGS, NULL},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_keeps", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__keeps(void)
{
    PyObject *made = PyModule_Create(&module);
    if (made)
        PyModule_AddObject(made, "Kernel", PyType_FromSpec(&kernel));
    return made;
}
