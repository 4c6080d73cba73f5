#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Threads whose holds end elsewhere than where they are spent: inside.py LIBRARY KIND SECONDS OUT.json.

OUT.json says what the functions f and g of the program took, by its own clock.  Runs on every CPython from 3.8 on."""
import ctypes
import hashlib
import json
import os
import sys
import threading
import time

LIB = ctypes.PyDLL(sys.argv[1])  # calls keep the GIL
KIND, SECONDS, OUT = sys.argv[2], float(sys.argv[3]), sys.argv[4]
LIB.keeps.argtypes, LIB.keeps.restype = [ctypes.c_int64], None
LIB.sleeps_and_tells.argtypes, LIB.sleeps_and_tells.restype = [ctypes.c_int64], ctypes.c_int64
clock = time.perf_counter_ns
BLOCK = bytes(100000)


def f_runs(scale=1):
    for _ in range(9000 * scale):
        pass


def g_runs(scale=1):
    for _ in range(21000 * scale):
        pass


def f_keeps():
    LIB.keeps(600)


def g_keeps():
    LIB.keeps(1400)


def f_short():
    LIB.keeps(6)
    return LIB.sleeps_and_tells(100)


def g_short():
    LIB.keeps(60)
    return LIB.sleeps_and_tells(100)


def short_holds():
    """Holds of some 10 us that end in f, and longer ones in g; a little of each is behind the call that ends the other."""
    end, spent = clock() + int(SECONDS * 1e9), {"f": 0, "g": 0}
    while clock() < end:
        spent["f"] += f_short()
        spent["g"] += g_short()
    return spent


def f_sorts():
    sorted(NUMBERS[:3000])


def g_sorts():
    sorted(NUMBERS[:6500])


NUMBERS = [i * 7919 % 10007 for i in range(10007)]


def work(f, g, ends_hold):
    """f and g in turn, and what ends the hold; says what they took."""
    end, spent_f, spent_g = clock() + int(SECONDS * 1e9), 0, 0
    t = clock()
    while t < end:
        f()
        u = clock()
        g()
        v = clock()
        ends_hold()
        spent_f += u - t
        spent_g += v - u
        t = clock()
    return {"f": spent_f, "g": spent_g}


def in_thread(function, *args):
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)), name="worker")
    thread.start()
    thread.join()
    return found[0]


def sleeps():
    time.sleep(0.0005)


def hashes():
    hashlib.sha256(BLOCK)


def nothing():
    pass


def waited_for_in_g():
    """Another thread wants the GIL as soon as g begins, and has it when it has ended."""
    go, done = threading.Semaphore(0), []

    def wants():
        while not done:
            go.acquire()

    def g():
        go.release()
        LIB.keeps(1400)

    thread = threading.Thread(target=wants, name="waiter")
    thread.start()
    spent = work(f_keeps, g, sleeps)
    done.append(1)
    go.release()
    thread.join()
    return spent


def children():
    """Two forked children, each with a thread."""
    pids = []
    for i in range(2):
        pid = os.fork()
        if not pid:
            with open("%s.%d" % (OUT, os.getpid()), "w") as file:
                json.dump(in_thread(work, f_runs, g_runs, sleeps), file)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return {}


KINDS = {
    "sleeps": lambda: in_thread(work, f_runs, g_runs, sleeps),
    "hashes": lambda: in_thread(work, f_runs, g_runs, hashes),
    "alone": lambda: work(f_runs, g_runs, nothing),
    "extension": lambda: in_thread(work, f_keeps, g_keeps, sleeps),
    "builtin": lambda: in_thread(work, f_sorts, g_sorts, sleeps),
    "short": lambda: in_thread(short_holds),
    "waited": waited_for_in_g,
    "children": children,
}
result = KINDS[KIND]()
with open(OUT, "w") as file:
    json.dump(result, file)
