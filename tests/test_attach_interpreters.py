# SPDX-License-Identifier: MIT
"""Attaching to processes with several interpreters, also such that are made only later, and what locks are to whom."""
import pytest

from helpers import gs, sums
from helpers.attach import READY, Attached, Target, need_bpf

MS = 1000 * 1000

# Two threads compute in the main interpreter, two in each of two others that have a GIL of their own.
OWN_GILS = """
import os, sys, threading, time
try:
    import _interpreters as interpreters
    make, run = (lambda: interpreters.create("isolated")), interpreters.run_string
except ImportError:
    import _xxsubinterpreters as interpreters
    make, run = (lambda: interpreters.create(isolated=True)), interpreters.run_string
INSIDE = '''
import threading, time
def compute():
    end = time.monotonic() + %g
    n = 0
    while time.monotonic() < end: n += 1
thread = threading.Thread(target=compute)
thread.start(); compute(); thread.join()
'''
def ready():
    print('ready', os.getpid(), flush=True)
    sys.stdin.readline()
made, go = threading.Barrier(3), threading.Event()
def live():  # 3.12 takes whoever made an interpreter for the thread that runs in it
    interpreter = make()
    made.wait()
    go.wait()
    run(interpreter, INSIDE % 2.5)
threads = [threading.Thread(target=live) for _ in range(2)]
def begin():
    for t in threads: t.start()
    made.wait()
if not LATE: begin()
ready()
if LATE: begin()
exec(INSIDE % 0.0)
go.set()
exec(INSIDE % 2.5)
for t in threads: t.join()
os._exit(0)  # 3.12.1 hangs in its finalization after this
"""


def waited(t):
    return t["wait_blocked_ns"] + t["wait_wakeup_ns"]


def held(t):
    return t["held_oncpu_ns"] + t["held_offcpu_ns"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "later"])
@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_interpreters_with_their_own_gils(python, where, method, late):
    """Each GIL is measured on its own: held and waited for as long as the preload library says, by the same threads."""
    if python.version[:2] < (3, 12):
        pytest.skip("interpreters share the GIL before 3.12")
    need_bpf(method)
    source, inside = where / "program.py", where / "inside.gilscope"
    source.write_text(OWN_GILS.replace("LATE", str(late)))
    with Target([gs.BIN, "run", "-q", "--no-stacks", "-o", inside, "--", python.path, source]) as target:
        attached = Attached(target.pid, where, method=method)
        target.go()
        assert target.end() == 0
        (process,) = attached.end(ask=False)
    (here,) = gs.report(inside)["processes"]
    assert len(process["gils"]) == len(here["gils"]) == 3 and not sums.check(process), sums.check(process)
    ours = [t for t in here["threads"] if waited(t) > 0.1e9]
    assert len(ours) == 6, [(t["name"], waited(t) / MS) for t in here["threads"]]
    # Until a GIL is found, at the next picture within a second, nothing of its threads is known.
    unseen = 1.2e9 if late else 0.15e9
    for t in ours:
        u = gs.thread(process, tid=t["tid"])
        for what, f in (("waited", waited), ("held", held)):
            allowed = 0.01 * t["wall_ns"] + 3 * MS if method == "bpf" else 3 * u["error_ns"]
            assert f(t) - allowed - unseen <= f(u) <= f(t) + allowed, (what, t, u)
    for kind in "held_ns", "wait_ns":
        there, known = (sorted(gil[kind] for gil in p["gils"]) for p in (process, here))
        for a, b in zip(there, known):
            assert 0.25 * b <= a <= 1.1 * b, (kind, there, known)


RESTS = """
try:
    import _interpreters
    interpreter = _interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters
    interpreter = _xxsubinterpreters.create(isolated=True)
""" + READY + "os._exit(0)\n"


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_an_interpreter_that_rests_is_known(python, where, method):
    """One that runs nothing when gilscope attaches has a GIL, which is measured from then on."""
    if python.version[:2] < (3, 12):
        pytest.skip("interpreters share the GIL before 3.12")
    need_bpf(method)
    with Target([python.path, "-c", RESTS]) as target:
        attached = Attached(target.pid, where, method=method)
        (process,) = attached.end()
        target.go()
    assert [(g["interpreter"], g["held_ns"]) for g in process["gils"][1:]] == [(1, 0)], process["gils"]


# A lock that is always taken; a queue, an event, a SimpleQueue and a join, in which threads only wait for each other.
LOCKS = READY + """
import queue, threading, time
end = time.monotonic() + 2
lock, jobs, simple, event = threading.Lock(), queue.Queue(), queue.SimpleQueue(), threading.Event()
def fights():
    while time.monotonic() < end:
        with lock: time.sleep(0.002)
def fed():
    while jobs.get() is not None: pass
def fed_simply():
    while simple.get() is not None: pass
def waits():
    event.wait()
def joins():
    sleeper.join()
def feeds():
    while time.monotonic() < end:
        time.sleep(0.02); jobs.put(1); simple.put(1)
    jobs.put(None); simple.put(None); event.set()
sleeper = threading.Thread(target=time.sleep, args=(1.8,), name="sleeper")
sleeper.start()
all = [threading.Thread(target=f, name=f.__name__) for f in (fights, fights, fights, fed, fed_simply, waits, joins, feeds)]
for t in all: t.start()
for t in all: t.join()
"""


def test_lock_waits_are_told_from_notifications(python, where):
    """BPF measures waits for a lock as the preload library does; waits to be notified do not make a program lock-bound."""
    need_bpf()
    source = where / "program.py"
    source.write_text(LOCKS)
    inside = where / "inside.gilscope"
    with Target([gs.BIN, "run", "-q", "-o", inside, "--", python.path, source]) as target:
        attached = Attached(target.pid, where)
        target.go()
        assert target.end() == 0
        (process,) = attached.end(ask=False)
    (here,) = gs.report(inside)["processes"]
    assert {"lock_wait_ns", "lock_wait"} <= set(process["estimated"])
    for t in here["threads"]:
        u = gs.thread(process, tid=t["tid"])
        assert abs(t["lock_wait_ns"] - u["lock_wait_ns"]) <= max(0.02 * t["lock_wait_ns"], 20 * MS), (t, u)
    # Two of three fight for the lock at any moment; four others wait all the time, and that is not for a lock.
    fights = [t for t in process["threads"] if t["name"] == "fights"]
    contention = sum(t["lock_wait_ns"] for t in fights)
    assert 2e9 < contention < 4.5e9
    line = [e for e in process["verdict"]["evidence"] if "lock" in e]
    assert process["verdict"]["class"] == "lock-bound", process["verdict"]
    assert any("fights" in e for e in line), line


# As trio's threads do: an idle one waits for its lock, which whoever has work for it lets go.
IDLE_WORKERS = """
import threading, time
class Worker:
    def __init__(self):
        self.lock = threading.Lock(); self.lock.acquire()
        threading.Thread(target=self._work, daemon=True).start()
    def _work(self):
        while self.lock.acquire(timeout=10): sum(range(100))
"""
GIVES_WORK = READY + """
sys.path.insert(0, os.environ["PROGRAM"])
from trio._core._thread_cache import Worker
import time
workers, end = [Worker() for _ in range(4)], time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.02)
    for worker in workers: worker.lock.release()
"""


def test_idle_workers_of_trio_wait_for_no_lock(python, where, monkeypatch):
    """A lock that others let go to give work is no lock that others have."""
    need_bpf()
    package = where / "trio" / "_core"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "_thread_cache.py").write_text(IDLE_WORKERS)
    monkeypatch.setenv("PROGRAM", str(where))
    with Target([python.path, "-c", GIVES_WORK]) as target:
        attached = Attached(target.pid, where)
        target.go()
        assert target.end() == 0
        (process,) = attached.end(ask=False)
    assert sum(t["lock_wait_ns"] for t in process["threads"]) > 2e9
    assert process["verdict"]["class"] != "lock-bound", process["verdict"]
    assert not [line for line in process["verdict"]["evidence"] if "for locks in all" in line], process["verdict"]
