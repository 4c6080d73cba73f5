# SPDX-License-Identifier: MIT
"""Waiting for threading's locks, and for what is built of them, is measured as lock wait."""
import json

import pytest

from helpers import gs, sums
from helpers.truth import MS, US, waited

# Each case defines wait(i), which blocks for about 20 ms because of the helper thread's free(i).
PRELUDE = """
import json, os, queue, sys, threading, time
N = 15
def runnable_ns(): # for how long this thread has been without a processor that it wanted; no locks are used for this
    file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    text = os.read(file, 100)
    os.close(file)
    return int(text.split()[1])
class Busy:
    def __init__(self): self.ns = self.n = self.runnable_ns = 0
    def __enter__(self):
        self.runnable = runnable_ns()
        self.t = time.monotonic_ns()
    def __exit__(self, *_):
        self.ns += time.monotonic_ns() - self.t
        self.runnable_ns += runnable_ns() - self.runnable
        self.n += 1
busy = Busy()
"""
END = """
ready = threading.Event()
tids = {}
def waiter():
    tids["waiter"] = threading.get_native_id()
    for i in range(N):
        # Sleeps rather than waits for its turn, so that it waits for nothing but what is measured.
        while not free_is_ready[i]: time.sleep(0.001)
        with busy:
            waits[i] = True
            wait(i)
        waited[i] = True
def freer():
    tids["freer"] = threading.get_native_id()
    for i in range(N):
        prepare(i)
        free_is_ready[i] = True
        while not waits[i]: time.sleep(0.001) # on a busy machine the other thread may be late
        time.sleep(0.02)
        free(i)
        while not waited[i]: time.sleep(0.001)
free_is_ready, waits, waited = [False] * N, [False] * N, [False] * N
threads = [threading.Thread(target=f) for f in (waiter, freer)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(dict(tids, ns=busy.ns, n=busy.n, runnable_ns=busy.runnable_ns)))
"""
NOTHING = "def prepare(i): pass\n"
CASES = {
    "Lock": """
lock = threading.Lock()
def prepare(i): lock.acquire()
def wait(i):
    lock.acquire(); lock.release()
def free(i): lock.release()
""",
    "Lock with timeout": """
lock = threading.Lock()
def prepare(i): lock.acquire()
def wait(i):
    assert lock.acquire(timeout=10)
    lock.release()
def free(i): lock.release()
""",
    "Lock that times out": """
lock = threading.Lock()
def prepare(i): lock.acquire()
def wait(i): assert not lock.acquire(timeout=0.01)
def free(i):
    while not waited[i]: time.sleep(0.001)
    lock.release()
""",
    "RLock": """
lock = threading.RLock()
def prepare(i): lock.acquire()
def wait(i):
    with lock: pass
def free(i): lock.release()
""",
    "RLock with timeout": """
lock = threading.RLock()
def prepare(i): lock.acquire(); lock.acquire()
def wait(i):
    assert lock.acquire(timeout=10)
    lock.release()
def free(i): lock.release(); lock.release()
""",
    "Condition": NOTHING + """
condition = threading.Condition()
def wait(i):
    with condition: condition.wait()
def free(i):
    with condition: condition.notify()
""",
    "Condition with timeout": NOTHING + """
condition = threading.Condition()
def wait(i):
    with condition: assert not condition.wait(0.01)
def free(i): pass
""",
    "Event": NOTHING + """
events = [threading.Event() for _ in range(N)]
def wait(i): events[i].wait()
def free(i): events[i].set()
""",
    "Event with timeout": NOTHING + """
events = [threading.Event() for _ in range(N)]
def wait(i): assert events[i].wait(10)
def free(i): events[i].set()
""",
    "Semaphore": NOTHING + """
semaphore = threading.Semaphore(0)
def wait(i): semaphore.acquire()
def free(i): semaphore.release()
""",
    "Queue.get": NOTHING + """
q = queue.Queue()
def wait(i): q.get()
def free(i): q.put(i)
""",
    "Queue.get with timeout": NOTHING + """
q = queue.Queue()
def wait(i): q.get(timeout=10)
def free(i): q.put(i)
""",
    "Queue.put": NOTHING + """
q = queue.Queue(1)
q.put(0)
def wait(i): q.put(i)
def free(i): q.get()
""",
    "SimpleQueue.get": NOTHING + """
q = queue.SimpleQueue()
def wait(i): q.get()
def free(i): q.put(i)
""",
    "Thread.join": """
sleepers = []
def sleep(i):
    while not waits[i]: time.sleep(0.001)
    time.sleep(0.02)
def prepare(i):
    sleepers.append(threading.Thread(target=sleep, args=(i,)))
    sleepers[i].start()
def wait(i): sleepers[i].join()
def free(i): pass
""",
    "_thread.lock": """
import _thread
lock = _thread.allocate_lock()
def prepare(i): lock.acquire()
def wait(i):
    lock.acquire(); lock.release()
def free(i): lock.release()
""",
}


# What the others are made of: how CPython waits for a lock depends on its version.
EVERYWHERE = ["Lock", "Lock with timeout", "RLock", "SimpleQueue.get"]


@pytest.mark.parametrize("case", [pytest.param(name, marks=() if name in EVERYWHERE else pytest.mark.few_pythons)
                                  for name in CASES])
def test_lock_wait_agrees(python, case, where):
    """lock_wait_ns is what the waiting thread measured itself, less the wait for the GIL at the end of it."""
    recording = gs.run_code(python, PRELUDE + CASES[case] + END, where)
    fact = json.loads(recording.stdout)
    process = recording.process
    assert not sums.check(process), "\n".join(sums.check(process))
    t = gs.thread(process, tid=fact["waiter"])
    # What else is inside the measured time: some Python code, in which the thread may lose its processor and keep the
    # GIL, and the wait for the GIL afterwards.  A virtual machine's processor that has slept gets going slowly: some 0.2 ms
    # at a time for which threads have neither a processor nor wait for one.
    allowed = max(fact["ns"] // 100, 100 * US) + 100 * US * fact["n"]
    held_offcpu_ns = min(t["held_offcpu_ns"], fact["runnable_ns"] + 200 * US * fact["n"])
    assert fact["ns"] - waited(t) - held_offcpu_ns - allowed <= t["lock_wait_ns"] <= fact["ns"] + allowed, (t, fact)
    assert t["lock_wait"]["count"] >= fact["n"]
    assert t["lock_wait"]["max_ns"] >= 8 * MS
    assert t["lock_wait_ns"] <= t["released_offcpu_ns"] + 5 * MS


def test_sleep_and_io_are_no_lock_waits(python, where):
    """Sleeping, reading and waiting for the GIL are not counted as lock waits."""
    recording = gs.run_code(python, """
import json, os, threading, time
r, w = os.pipe()
tids = {}
def reader():
    tids["reader"] = threading.get_native_id()
    for _ in range(10): os.read(r, 1)
def writer():
    tids["writer"] = threading.get_native_id()
    for _ in range(10):
        time.sleep(0.01)
        os.write(w, b"x")
def spinner():
    tids["spinner"] = threading.get_native_id()
    end = time.monotonic() + 0.1
    while time.monotonic() < end: pass
threads = [threading.Thread(target=f) for f in (reader, writer, spinner, spinner)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps(tids))
""", where)
    for tid in json.loads(recording.stdout).values():
        t = gs.thread(recording.process, tid=tid)
        assert t["lock_wait_ns"] < 2 * MS, t


def test_uncontended_locks_cost_no_lock_wait(python, where):
    """A lock that is free is no wait."""
    recording = gs.run_code(python, """
import threading
lock, rlock, condition = threading.Lock(), threading.RLock(), threading.Condition()
for _ in range(20000):
    with lock: pass
    with rlock: pass
    with condition: condition.notify_all()
""", where)
    (t,) = recording.process["threads"]
    assert t["lock_wait_ns"] < 100 * US and t["lock_wait"]["count"] < 20, t


def test_multiprocessing_locks(python, where):
    """A lock between processes is a lock too."""
    recording = gs.run_code(python, """
import json, multiprocessing, os, time
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    lock = context.Lock()
    lock.acquire()
    child = os.fork()
    if child == 0:
        time.sleep(0.2)
        lock.release()
        os._exit(0)
    start = time.monotonic_ns()
    lock.acquire()
    ns = time.monotonic_ns() - start
    os.waitpid(child, 0)
    print(json.dumps({"pid": os.getpid(), "ns": ns}))
""", where)
    fact = json.loads(recording.stdout)
    t = gs.thread(recording.by_pid(fact["pid"]), tid=fact["pid"])
    assert abs(t["lock_wait_ns"] - fact["ns"]) < 5 * MS, (t["lock_wait_ns"], fact)
