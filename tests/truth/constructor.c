/* SPDX-License-Identifier: MIT */
/*
 * constructor.c - a library that takes the GIL while the dynamic loader runs its constructor, and its destructor, with
 * the loader's lock held.
 */
extern int PyGILState_Ensure(void);
extern void PyGILState_Release(int);

static void take(void)
{
    int state = PyGILState_Ensure();
    PyGILState_Release(state);
}

__attribute__((constructor)) static void loaded(void)
{
    take();
}

__attribute__((destructor)) static void unloaded(void)
{
    take();
}
