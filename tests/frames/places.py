# SPDX-License-Identifier: MIT
"""Threads that are known to spend their time in known places: places.py LIBRARY KIND SECONDS OUT.json.

Each counts by its own clock what it spends where; OUT.json says so.  Runs on every CPython from 3.8 on."""
import ctypes
import json
import sys
import threading
import time

LIB = ctypes.PyDLL(sys.argv[1])  # calls keep the GIL
KIND, SECONDS, OUT = sys.argv[2], float(sys.argv[3]), sys.argv[4]
clock = time.perf_counter_ns
truth = {}
holds, waits = [], []


def add(name, ns):
    truth[name] = truth.get(name, 0) + ns


def f_holds():
    t = clock()
    LIB.keeps(600)
    holds.append((t, clock(), "f_charged"))
    LIB.lets_go(100)


def g_holds():
    t = clock()
    LIB.keeps(1400)
    holds.append((t, clock(), "g_charged"))
    LIB.lets_go(100)


def holder(end):
    while clock() < end:
        f_holds()
        g_holds()
    for start, stop, name in holds:
        add(name[0] + "_holds", stop - start)


def overlaps():
    """What of the waits lies in the holds."""
    i = 0
    for start, stop, name in holds:
        while i < len(waits) and waits[i][1] <= start:
            i += 1
        for j in range(i, len(waits)):
            if waits[j][0] >= stop:
                break
            add(name, min(stop, waits[j][1]) - max(start, waits[j][0]))


def waited():
    ns = LIB.lets_go_and_waits(30)
    t = clock()
    waits.append((t - ns, t))
    return ns


def f_waits():
    return sum(waited() for _ in range(3))


def g_waits():
    return sum(waited() for _ in range(7))


def waiter(end):
    while clock() < end:
        add("f_waits", f_waits())
        add("g_waits", g_waits())


def f_releases():
    LIB.lets_go(600)


def g_releases():
    LIB.sleeps(1400)


def releaser(end):
    t = clock()
    while t < end:
        f_releases()
        u = clock()
        g_releases()
        v = clock()
        add("f_releases", u - t)
        add("g_releases", v - u)
        t = v


def f_runs():
    """Pure Python, until it is asked for the GIL."""
    for _ in range(300000):
        pass


def g_runs():
    for _ in range(700000):
        pass


def runner(end):
    sys.setswitchinterval(0.0005)
    t = clock()
    while t < end:
        f_runs()
        u = clock()
        g_runs()
        v = clock()
        add("f_runs", u - t)
        add("g_runs", v - u)
        t = v


def extension(end):
    """Two functions of an extension, one of which keeps the GIL."""
    while clock() < end:
        LIB.keeps_and_lets_go(1400, 200)
        LIB.lets_go(600)
    for name in "lets_go", "keeps_and_lets_go":
        add(name, ctypes.c_int64.in_dll(LIB, name + "_ns").value)


def long_calls(end):
    """One call of 30 ms into an extension that keeps the GIL, and 30 ms of Python."""
    while clock() < end:
        LIB.keeps(30000)
        t = clock() + 30000000
        while clock() < t:
            pass


MIXES = {
    "contended": (holder, waiter),
    "released": (releaser,),
    "python": (runner, runner),
    "extension": (extension, waiter),
    "long": (long_calls, waiter),
}
for name in "keeps", "lets_go", "sleeps":
    getattr(LIB, name).argtypes = [ctypes.c_int64]
    getattr(LIB, name).restype = None
LIB.lets_go_and_waits.argtypes = [ctypes.c_int64]
LIB.lets_go_and_waits.restype = ctypes.c_int64
LIB.keeps_and_lets_go.argtypes = [ctypes.c_int64, ctypes.c_int64]
end = clock() + int(SECONDS * 1e9)
threads = [threading.Thread(target=one, args=(end,), name=f"t{i}") for i, one in enumerate(MIXES[KIND])]
for one in threads:
    one.start()
for one in threads:
    one.join()
overlaps()
with open(OUT, "w") as file:
    json.dump(truth, file)
