/* SPDX-License-Identifier: MIT */
/*
 * _giltruth.c - a Python extension that times its own holds, releases and takes of the GIL.
 *
 * Every thread runs cycles of [GIL held, busy or asleep][PyEval_SaveThread][released, busy or asleep]
 * [PyEval_RestoreThread] and stamps each of the four borders with CLOCK_MONOTONIC.  What gilscope says of the same
 * thread is compared with these sums.  To keep a thread's birth and death out of the comparison, threads are born one
 * at a time, gather at a barrier without the GIL, and leave one at a time, so that those parts are uncontended.
 *
 * With stamps.so preloaded it also knows when, within these two calls, the GIL changed hands; see stamps.c.
 *
 * Use: setup(specs, duration_ns, max_log, pinned); then either native(), which makes the threads in C (PyGILState_Ensure: all of the
 * thread's life is timed), or one Python thread per spec that calls worker(i), each followed by ready(i + 1); then
 * finish() -> [dict, ...].  A spec is (hold_ns, hold_sleeps, release_ns, release_sleeps, read_cpu_clock).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stamps.h"

#define MAX_THREADS 64
#define LEAVE_GAP_NS 3000000 /* between two threads' ends: long enough for Python's part of it */

struct cycle { /* CLOCK_MONOTONIC, ns */
    int64_t want, taken, leave, left; /* before and after PyEval_RestoreThread, before and after PyEval_SaveThread */
    int64_t got, gone;                /* the very instants; taken and leave where they are not known */
};

struct worker {
    int64_t hold_ns, release_ns;
    int hold_sleeps, release_sleeps, read_cpu;
    long tid;
    int64_t n, want_sum, hold_sum, save_sum, released_sum; /* sums over the cycles, ns */
    int64_t exact_want_sum, exact_hold_sum;                /* the same by the very instants */
    int64_t free_sum, n_free;                              /* takes that nobody else delayed */
    int64_t slow_sum;                                      /* others during which nobody had the GIL */
    int64_t forced_sum, n_forced;                          /* in pthread_cond_wait, within PyEval_SaveThread */
    int64_t held_cpu, released_cpu;                        /* CLOCK_THREAD_CPUTIME_ID, ns */
    int64_t born, died;                                    /* first and last stamp */
    struct cycle *log;
    int64_t n_log, max_log;
    pthread_t thread;
};

static struct worker workers[MAX_THREADS];
static int n_workers;
static int64_t duration_ns, deadline;
static int pinned; /* each thread runs on a processor of its own, as far as they go */

/* A take that nobody else delayed is no wait: the call alone takes 1 us where the caches are cold, after a sleep.  That
 * is a take while no other thread wanted or had the GIL, or one of at most FREE_NS while no other thread had it.  Longer
 * ones while nobody had the GIL may be waits for its mutex, or may have lost the processor where that cannot be told. */
#define FREE_NS 5000
static int n_near, n_holding;  /* threads that want or have the GIL; that have it, or are just giving it up */
static int64_t n_came, n_took; /* how often one came to want it; how often one took it */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int n_ready, n_done, n_left, open_gate, turn; /* under lock */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static const struct giltruth_stamps no_stamps;
static const struct giltruth_stamps *(*find_stamps)(void); /* NULL: not preloaded */

/* What the calling thread's stamps are. */
static const struct giltruth_stamps *my_stamps(void)
{
    return find_stamps ? find_stamps() : &no_stamps;
}

/* The last instant of a change of hands that lies in a call, or what is known without it. */
static int64_t instant(int64_t begin, int64_t end, int64_t otherwise)
{
    int64_t t = my_stamps()->signal_ns;
    return t >= begin && t <= end ? t : otherwise;
}

/* Passes the time until then, on a processor or off it. */
static void pass_until(int64_t then, int asleep)
{
    if (!asleep) {
        while (now_ns() < then)
            ;
        return;
    }
    struct timespec t = { then / 1000000000, then % 1000000000 };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* Adds a finished cycle to the sums and, while there is room, to the log. */
static void count(struct worker *w, const struct cycle *c)
{
    w->n++;
    w->want_sum += c->taken - c->want;
    w->hold_sum += c->leave - c->taken;
    w->save_sum += c->left - c->leave;
    w->exact_want_sum += c->got - c->want;
    w->exact_hold_sum += c->gone - c->got;
    if (w->n_log < w->max_log)
        w->log[w->n_log] = *c;
    w->n_log++;
}

/* All below are called without the GIL, but for cycles()'s inside. */
static void wait_for(const int *counter, int value)
{
    pthread_mutex_lock(&lock);
    while (*counter < value)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void raise_to(int *counter, int value)
{
    pthread_mutex_lock(&lock);
    *counter = value;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void raise_by_one(int *counter)
{
    pthread_mutex_lock(&lock);
    ++*counter;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static PyThreadState *cycles(struct worker *w, PyThreadState *state)
{
    int64_t left = now_ns();
    while (left < deadline) {
        struct cycle c;
        int64_t cpu[4] = { 0 };

        int64_t came = __atomic_add_fetch(&n_came, 1, __ATOMIC_SEQ_CST);
        int alone = __atomic_add_fetch(&n_near, 1, __ATOMIC_SEQ_CST) == 1;
        int64_t took = __atomic_load_n(&n_took, __ATOMIC_SEQ_CST);
        int nobody = __atomic_load_n(&n_holding, __ATOMIC_SEQ_CST) == 0;
        c.want = now_ns();
        PyEval_RestoreThread(state);
        c.taken = now_ns();
        c.got = instant(c.want, c.taken, c.taken);
        __atomic_add_fetch(&n_holding, 1, __ATOMIC_SEQ_CST);
        nobody &= __atomic_add_fetch(&n_took, 1, __ATOMIC_SEQ_CST) == took + 1;
        alone &= __atomic_load_n(&n_came, __ATOMIC_SEQ_CST) == came;
        if (alone || (nobody && c.got - c.want <= FREE_NS)) {
            w->free_sum += c.got - c.want;
            w->n_free++;
        } else if (nobody) {
            w->slow_sum += c.got - c.want;
        }
        if (w->read_cpu)
            cpu[0] = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        pass_until(c.taken + w->hold_ns, w->hold_sleeps);
        if (w->read_cpu)
            cpu[1] = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        struct giltruth_stamps before = *my_stamps();
        c.leave = now_ns();
        state = PyEval_SaveThread();
        c.left = left = now_ns();
        __atomic_sub_fetch(&n_holding, 1, __ATOMIC_SEQ_CST);
        __atomic_sub_fetch(&n_near, 1, __ATOMIC_SEQ_CST);
        c.gone = instant(c.leave, c.left, c.leave);
        w->forced_sum += my_stamps()->cond_wait_ns - before.cond_wait_ns;
        w->n_forced += my_stamps()->n_cond_waits - before.n_cond_waits;
        if (w->read_cpu)
            cpu[2] = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        count(w, &c);
        if (w->release_ns)
            pass_until(left + w->release_ns, w->release_sleeps);
        if (w->read_cpu) {
            cpu[3] = clock_ns(CLOCK_THREAD_CPUTIME_ID);
            w->held_cpu += cpu[1] - cpu[0];
            w->released_cpu += cpu[3] - cpu[2];
        }
        int64_t end = now_ns();
        w->released_sum += end - left;
        left = end;
    }
    return state;
}

/* Keeps the calling thread to the i-th of the processors that it may use. */
static void pin(int i)
{
    cpu_set_t may, one;
    if (sched_getaffinity(0, sizeof may, &may))
        return;
    i %= CPU_COUNT(&may);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &may) && i-- == 0)
            CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

/* A thread's life between its first release and its last take. */
static PyThreadState *live(struct worker *w, PyThreadState *state)
{
    int i = (int)(w - workers);
    if (pinned)
        pin(i);
    raise_by_one(&n_ready);
    wait_for(&open_gate, 1);
    state = cycles(w, state);
    raise_by_one(&n_done);
    wait_for(&turn, i + 1);
    return state;
}

static void *native_thread(void *arg)
{
    struct worker *w = arg;
    struct cycle first, last;

    w->tid = syscall(SYS_gettid);
    w->born = first.want = now_ns();
    PyGILState_STATE gil = PyGILState_Ensure();
    first.taken = first.leave = now_ns();
    first.got = instant(first.want, first.taken, first.taken);
    PyThreadState *state = PyEval_SaveThread();
    first.left = now_ns();
    first.gone = instant(first.leave, first.left, first.leave);
    count(w, &first);

    state = live(w, state);

    last.want = now_ns();
    PyEval_RestoreThread(state);
    last.taken = now_ns();
    last.got = instant(last.want, last.taken, last.taken);
    /* What is left of the hold is the clearing of the thread state. */
    PyGILState_Release(gil);
    last.left = w->died = now_ns();
    last.leave = last.gone = instant(last.taken, last.left, last.left);
    count(w, &last);
    raise_by_one(&n_left);
    return NULL;
}

static PyObject *py_setup(PyObject *self, PyObject *args)
{
    PyObject *specs;
    long long duration;
    long long max_log;

    (void)self;
    if (!PyArg_ParseTuple(args, "O!LLp", &PyList_Type, &specs, &duration, &max_log, &pinned))
        return NULL;
    if (PyList_GET_SIZE(specs) > MAX_THREADS) {
        PyErr_SetString(PyExc_ValueError, "too many threads");
        return NULL;
    }
    n_workers = 0;
    n_ready = n_done = n_left = open_gate = turn = n_near = n_holding = 0;
    duration_ns = duration;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(specs); i++) {
        struct worker *w = &workers[i];
        free(w->log);
        memset(w, 0, sizeof *w);
        long long hold, release;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(specs, i), "LiLii", &hold, &w->hold_sleeps, &release,
                              &w->release_sleeps, &w->read_cpu))
            return NULL;
        w->hold_ns = hold;
        w->release_ns = release;
        w->max_log = max_log;
        if (max_log) {
            w->log = malloc((size_t)max_log * sizeof *w->log);
            if (!w->log)
                return PyErr_NoMemory();
            memset(w->log, 1, (size_t)max_log * sizeof *w->log); /* no page faults later */
        }
        n_workers++;
    }
    Py_RETURN_NONE;
}

static PyObject *py_native(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    PyThreadState *state = PyEval_SaveThread();
    int error = 0;
    for (int i = 0; i < n_workers && !error; i++) {
        error = pthread_create(&workers[i].thread, NULL, native_thread, &workers[i]);
        if (!error)
            wait_for(&n_ready, i + 1);
    }
    PyEval_RestoreThread(state);
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *py_worker(PyObject *self, PyObject *args)
{
    int i;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &i))
        return NULL;
    if (i < 0 || i >= n_workers) {
        PyErr_SetString(PyExc_IndexError, "no such worker");
        return NULL;
    }
    struct worker *w = &workers[i];
    struct cycle first, last;
    w->tid = syscall(SYS_gettid);
    w->born = first.want = first.taken = first.leave = first.got = now_ns();
    PyThreadState *state = PyEval_SaveThread();
    first.left = now_ns();
    first.gone = instant(first.leave, first.left, first.leave);
    count(w, &first);
    state = live(w, state);
    last.want = now_ns();
    PyEval_RestoreThread(state);
    last.taken = last.leave = last.left = last.gone = w->died = now_ns();
    last.got = instant(last.want, last.taken, last.taken);
    count(w, &last);
    raise_by_one(&n_left);
    Py_RETURN_NONE;
}

static PyObject *py_ready(PyObject *self, PyObject *args)
{
    int n;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &n))
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    wait_for(&n_ready, n);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *result(const struct worker *w)
{
    int64_t logged = w->n_log < w->max_log ? w->n_log : w->max_log;
    return Py_BuildValue("{s:l,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:i,s:y#}",
                         "tid", w->tid, "cycles", (long long)w->n, "wait_ns", (long long)w->want_sum,
                         "hold_ns", (long long)w->hold_sum, "save_ns", (long long)w->save_sum,
                         "released_ns", (long long)w->released_sum,
                         "exact_wait_ns", (long long)w->exact_want_sum, "exact_hold_ns", (long long)w->exact_hold_sum,
                         "free_ns", (long long)w->free_sum, "free", (long long)w->n_free,
                         "slow_ns", (long long)w->slow_sum,
                         "forced_ns", (long long)w->forced_sum, "forced", (long long)w->n_forced,
                         "held_cpu_ns", (long long)w->held_cpu, "released_cpu_ns", (long long)w->released_cpu,
                         "born_ns", (long long)w->born, "died_ns", (long long)w->died,
                         "unlogged", (long long)(w->n_log - logged), "stamped", find_stamps != NULL,
                         "log", (const char *)w->log, (Py_ssize_t)(logged * (int64_t)sizeof *w->log));
}

static PyObject *py_finish(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    PyThreadState *state = PyEval_SaveThread();
    deadline = now_ns() + duration_ns;
    raise_to(&open_gate, 1);
    wait_for(&n_done, n_workers);
    for (int i = 0; i < n_workers; i++) {
        pass_until(now_ns() + LEAVE_GAP_NS, 1);
        raise_to(&turn, i + 1);
        wait_for(&n_left, i + 1);
        if (workers[i].thread)
            pthread_join(workers[i].thread, NULL);
    }
    pass_until(now_ns() + LEAVE_GAP_NS, 1);
    PyEval_RestoreThread(state);

    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < n_workers; i++) {
        PyObject *one = result(&workers[i]);
        if (!one || PyList_Append(list, one) < 0) {
            Py_XDECREF(one);
            Py_CLEAR(list);
            break;
        }
        Py_DECREF(one);
    }
    return list;
}

static PyMethodDef methods[] = {
    { "setup", py_setup, METH_VARARGS, "setup([(hold_ns, sleeps, release_ns, sleeps, cpu)], duration_ns, max_log, pinned)" },
    { "native", py_native, METH_NOARGS, "Makes a C thread per spec." },
    { "worker", py_worker, METH_VARARGS, "worker(i): the calling Python thread is spec i." },
    { "ready", py_ready, METH_VARARGS, "ready(n): waits, without the GIL, until n workers are at the barrier." },
    { "finish", py_finish, METH_NOARGS, "Opens the barrier; returns what the workers measured." },
    { NULL, NULL, 0, NULL },
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_giltruth",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__giltruth(void)
{
    *(void **)&find_stamps = dlsym(RTLD_DEFAULT, "giltruth_stamps");
    return PyModule_Create(&module);
}
