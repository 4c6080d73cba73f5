# SPDX-License-Identifier: MIT
"""Threads have the names that the program gave them."""
import json

import pytest

from helpers import gs

PRELUDE = """
import _thread, json, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
named = {}
def note():
    named[threading.get_native_id()] = threading.current_thread().name
def job():
    note()
    for _ in range(5):
        time.sleep(0.005)
def quick():
    note()
def go(*threads):
    for t in threads: t.start()
    for t in threads: t.join()
"""
END = """
print(json.dumps({"pid": os.getpid(), "named": named}))
"""


def run(python, where, code):
    """Runs the code; returns (what the program noted, {tid: thread in the report})."""
    recording = gs.run_code(python, PRELUDE + code + END, where, env={"PYTHONIOENCODING": "utf-8"})
    fact = json.loads(recording.stdout.splitlines()[-1])
    return fact, {t["tid"]: t for t in recording.process["threads"]}


def check(python, where, code, count):
    """Every thread that noted its own name has that name in the report."""
    fact, threads = run(python, where, code)
    assert len(fact["named"]) == count, fact
    reported = {tid: threads[int(tid)]["name"] for tid in fact["named"]}
    assert reported == fact["named"]
    assert threads[fact["pid"]]["name"] == "MainThread" and threads[fact["pid"]]["main"]


def test_given_names(python, where):
    """threading.Thread(name=...) and thread.name = ... before start."""
    check(python, where, """
late = threading.Thread(target=job)
late.name = "named-before-start"
go(threading.Thread(target=job, name="loader"), threading.Thread(target=job, name="a name with spaces"), late)
""", 3)


def test_default_names(python, where):
    """Thread-1 or, from Python 3.10 on, Thread-1 (job)."""
    check(python, where, "go(*[threading.Thread(target=job) for _ in range(3)])", 3)


def test_pool_names(python, where):
    """ThreadPoolExecutor's prefix and number."""
    check(python, where, """
with ThreadPoolExecutor(3, thread_name_prefix="embed") as pool:
    for f in [pool.submit(job) for _ in range(6)]: f.result()
""", 3)


def test_subclasses(python, where):
    """Classes derived from Thread, with attributes of their own, before and after Thread.__init__."""
    check(python, where, """
class Plain(threading.Thread):
    def run(self): job()
class Fancy(threading.Thread):
    def __init__(self, n):
        self.before = n
        self.other = "not the name"
        super().__init__(name=f"fancy-{n}")
        self.after = [n] * 40
        for i in range(40): setattr(self, f"attribute_{i}", str(i))
    def run(self): job()
class Slotted(threading.Thread):
    __slots__ = ("extra",)
    def run(self): job()
class Renamed(threading.Thread):
    def __init__(self):
        super().__init__()
        self.name = "from-init"
    def run(self): job()
go(Plain(), Plain(name="plain"), Fancy(1), Fancy(2), Slotted(name="slotted"), Renamed(), threading.Timer(0.001, job))
""", 7)


@pytest.mark.parametrize("name", ["Größe", "данные", "加载器", "🐍-worker", "mixed é 加 🐍"])
def test_names_beyond_ascii(python, where, name):
    """Every width that CPython stores text in."""
    check(python, where, f"go(threading.Thread(target=job, name={name!r}))", 1)


def test_long_names_are_cut_between_characters(python, where):
    """Names of more than 63 bytes are cut, at 60 or later, and not within a character."""
    name = "加" * 40
    fact, threads = run(python, where, f"go(threading.Thread(target=job, name={name!r}))")
    (tid,) = fact["named"]
    assert threads[int(tid)]["name"] in ("加" * 20, "加" * 21)


def test_hostile_names(python, where):
    """Escape sequences and line ends survive in JSON, and do not reach a terminal."""
    name = "\x1b[31mred\x1b]0;title\x07\n\r\tend\x9b1m"
    code = PRELUDE + f"go(threading.Thread(target=job, name={name!r}))" + END
    recording = gs.run_code(python, code, where, env={"PYTHONIOENCODING": "utf-8"})
    assert name in [t["name"] for t in recording.process["threads"]]
    for width in 40, 80, 200:
        text = gs.gilscope("report", recording.dir, env=gs.clean_env({"COLUMNS": width, "LC_ALL": "C.UTF-8"}))
        assert text.returncode == 0
        assert not any(c in text.stdout for c in "\x1b\x07\r\t\x9b"), text.stdout
        assert "red" in text.stdout


def test_surrogates_in_names(python, where):
    """A name that is no valid text does not make the report invalid."""
    fact, threads = run(python, where, "go(threading.Thread(target=job, name='a\\udc80b\\ud800'))")
    (tid,) = fact["named"]
    name = threads[int(tid)]["name"]
    assert name.startswith("a") and name.encode("utf-8")


def test_renamed_while_running(python, where):
    """A thread that is renamed while it runs has its first or its last name."""
    fact, threads = run(python, where, """
def renaming():
    for _ in range(3): time.sleep(0.005)
    threading.current_thread().name = "second"
    job()
go(threading.Thread(target=renaming, name="first"))
""")
    (tid,) = fact["named"]
    assert threads[int(tid)]["name"] in ("first", "second")


def test_start_new_thread(python, where):
    """A thread without an object has its function's name."""
    _, threads = run(python, where, """
done = _thread.allocate_lock()
done.acquire()
def my_function():
    for _ in range(5): time.sleep(0.005)
    done.release()
_thread.start_new_thread(my_function, ())
done.acquire()
time.sleep(0.02)
""")
    (other,) = [t for t in threads.values() if not t["main"]]
    assert "my_function" in other["name"]


def test_short_threads(python, where):
    """Threads that end before they ever let go of the GIL have their names too."""
    check(python, where, """
for i in range(20): go(threading.Thread(target=quick, name=f"quick-{i}"))
go(*[threading.Thread(target=quick, name=f"burst-{i}") for i in range(20)])
""", 40)


def test_dummy_threads_of_native_code(python, where):
    """Threads that Python did not make, and that never asked for a Thread object, are reported under some name."""
    from helpers import truth
    recording, measured = truth.run_mix(python, [truth.io(truth.US, truth.MS)] * 2, where, ms=50)
    for m in measured:
        assert gs.thread(recording.process, tid=m.tid)["name"]
