# SPDX-License-Identifier: MIT
"""Taking stacks never stops the program: with the dynamic loader, forks, ends and other stacks than the system's."""
import ast
import subprocess

import pytest

from helpers import gs, pythons, stacks, truth

PROGRAMS = gs.REPO / "tests" / "frames"
FASTEST = ("--sample-interval", "20us")


@pytest.mark.few_pythons
@pytest.mark.parametrize("kind", ["constructors", "objects", "forks", "everything"])
def test_loader_and_forks(python, where, kind):
    """Libraries whose constructors take the GIL, objects that come and go, forks: all goes on, at the highest rate."""
    recording = gs.run([python.path, PROGRAMS / "loader.py", truth.places(), kind, "1.5", truth.constructor()], where,
                       options=FASTEST, timeout=60)
    counts = ast.literal_eval(recording.stdout.strip().split("\n")[-1])
    assert sum(counts.values()) > 100
    found = max((stacks.Stacks(f) for f in recording.files), key=lambda s: len(s.stacks))
    assert len(found.stacks) > 10
    assert kind != "objects" or any(o.end_generation for o in found.objects)


def test_objects_that_come_and_go(one_python, where):
    """An object is valid for the generations in which it was there, and no two are there at one address at once."""
    recording = gs.run([one_python.path, PROGRAMS / "loader.py", truth.places(), "objects", "1.5",
                        truth.constructor()], where, options=FASTEST, timeout=60)
    found = stacks.read(recording)
    for i, a in enumerate(found.objects):
        assert a.start < a.end and (not a.end_generation or a.end_generation > a.first_generation), a
        for b in found.objects[i + 1:]:
            overlap = a.start < b.end and b.start < a.end
            ends = [o.end_generation or 1 << 32 for o in (a, b)]
            assert not (overlap and a.first_generation < ends[1] and b.first_generation < ends[0]), (a, b)
    paths = {o.path for o in found.objects}
    assert any(p.endswith("places.so") for p in paths) and any("libc.so" in p for p in paths)
    assert all(p.startswith("/") or "vdso" in p for p in paths), paths
    for o in found.objects:
        if o.path.endswith("places.so"):
            notes = subprocess.run(["readelf", "-n", o.path], check=True, stdout=subprocess.PIPE, text=True).stdout
            assert not o.build_id or o.build_id in notes


def test_small_thread_stacks(python, where):
    """Threads with the smallest stacks that Python allows have theirs taken, deep ones, too."""
    code = """
import os, sys, threading, time
threading.stack_size(64 * 1024)
zero = os.open("/dev/zero", os.O_RDONLY)
def deeper(n):
    if n: return deeper(n - 1)
    for _ in range(3000): os.read(zero, 1)
def work():
    for _ in range(3): deeper(12)
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print("done")
"""
    recording = gs.run_code(python, code, where, options=FASTEST)
    assert "done" in recording.stdout
    found = stacks.read(recording)
    assert any(s.frames and s.frames[-1].function.endswith("deeper") for s in found.stacks)


def test_ends(python, where):
    """Daemon threads in all states at the end, threads that end while others sample, exits in the middle of it."""
    code = f"N = {50 if gs.FULL else 20}" + """
import os, sys, threading, time, atexit
zero = os.open("/dev/zero", os.O_RDONLY)
def storm():
    while True: os.read(zero, 1)
def sleep():
    while True: time.sleep(0.0002)
def work():
    while True: sum(range(100))
def short():
    for _ in range(20): os.read(zero, 1)
class Late:
    def __del__(self): time.sleep(0.001)
late = Late()
atexit.register(time.sleep, 0.005)
for f in storm, storm, sleep, work: threading.Thread(target=f, daemon=True).start()
for _ in range(N):
    t = threading.Thread(target=short); t.start(); t.join()
print("done", flush=True)
if sys.argv[1] == "_exit": os._exit(0)
if sys.argv[1] == "exec": os.execv(sys.executable, [sys.executable, "-c", "print('again')"])
"""
    for how in "return", "_exit", "exec":
        for i in range(3):
            recording = gs.run_code(python, code, where, args=(how,), options=FASTEST, name=f"{how}{i}")
            assert "done" in recording.stdout


@pytest.mark.few_pythons
def test_signals_on_top(python, where):
    """Signal handlers that run in the middle of everything, Python's own and faulthandler's, do no harm."""
    code = """
import faulthandler, os, signal, sys, threading, time
zero = os.open("/dev/zero", os.O_RDONLY)
n = 0
def handler(*_):
    global n
    n += 1
    time.sleep(0)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
faulthandler.register(signal.SIGUSR1, file=open(os.devnull, "w"), all_threads=True)
end = time.monotonic() + 1
def storm():
    while time.monotonic() < end:
        for _ in range(100): os.read(zero, 1)
def kill():
    while time.monotonic() < end:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.001)
threads = [threading.Thread(target=f) for f in (storm, storm, kill)]
for t in threads: t.start()
storm()
for t in threads: t.join()
signal.setitimer(signal.ITIMER_REAL, 0)
print("done", n)
"""
    recording = gs.run_code(python, code, where, options=FASTEST)
    assert "done" in recording.stdout


def with_greenlets():
    """The interpreters that have greenlet."""
    return [p for p in pythons.SUPPORTED if subprocess.run(
        [p.path, "-c", "import greenlet"], env=gs.clean_env(), stderr=subprocess.DEVNULL, check=False).returncode == 0]


def test_greenlets(where):
    """Greenlets, which switch stacks within a thread, run on, and their stacks are marked."""
    code = """
import os, sys, threading, time, greenlet
zero = os.open("/dev/zero", os.O_RDONLY)
def deep(n, f): return deep(n - 1, f) if n else f()
def body(k):
    def step():
        for _ in range(40):
            os.read(zero, 1); time.sleep(0.00005)
        main.switch()
    for i in range(40): deep(k + i % 7, step)
main = None
def work():
    global main
    main = greenlet.getcurrent()
    all = [greenlet.greenlet(body) for _ in range(8)]
    for i in range(40):
        for k, g in enumerate(all): g.switch(k * 3)
work()
print("done")
"""
    interpreters = with_greenlets()
    assert interpreters, "no interpreter has greenlet: install python3-greenlet"
    for i, python in enumerate(interpreters):
        recording = gs.run_code(python, code, where, options=FASTEST, name=f"{python.name}-{i}")
        assert "done" in recording.stdout
        found = stacks.read(recording)
        stepping = [s for s in found.stacks if any(f.function.endswith("step") for f in s.frames)]
        assert stepping and any(s.flags & stacks.GREENLET for s in stepping if s.native)
