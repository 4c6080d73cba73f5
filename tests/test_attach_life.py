# SPDX-License-Identifier: MIT
"""Attaching again and again, to a process that lives: nothing is left behind, and the process never notices."""
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import gs, sums
from helpers.attach import READY, Attached, Target, need_bpf

CYCLES = 500 if gs.FULL else 20

# Forks, runs other programs, starts threads and waits for them, hands the GIL around; adds up what all of them found.
LIVELY = READY + """
import hashlib, subprocess, threading, time
right = hashlib.sha256(b"gilscope" * 1000).hexdigest()
def check():
    return hashlib.sha256(b"gilscope" * 1000).hexdigest() == right
stop, rounds, wrong = threading.Event(), {}, []
def work(name, step):
    while not stop.is_set():
        try:
            if not step(): wrong.append(name)
        except BaseException as error: wrong.append(f"{name}: {error!r}")
        rounds[name] = rounds.get(name, 0) + 1
def threads():
    found = []
    some = [threading.Thread(target=lambda: found.append(check() and sum(range(2000)) == 1999000)) for _ in range(4)]
    for t in some: t.start()
    for t in some: t.join()
    return found == [True] * 4
def forks():
    pid = os.fork()
    if not pid: os._exit(7 if check() else 8)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
def execs():
    done = subprocess.run(["/bin/sh", "-c", "echo $((6 * 7))"], stdout=subprocess.PIPE)
    time.sleep(0.01)
    return done.returncode == 0 and done.stdout == b"42\\n"
def waits():
    lock, n = threading.Lock(), [0]
    with lock: time.sleep(0.001)
    for _ in range(2000): n[0] += 1
    return n == [2000]
if not hasattr(os, "waitstatus_to_exitcode"): os.waitstatus_to_exitcode = lambda s: s >> 8 if not s & 127 else -(s & 127)
all = [threading.Thread(target=work, args=(f.__name__, f)) for f in (threads, forks, execs, waits, waits)]
for t in all: t.start()
sys.stdin.readline()
stop.set()
for t in all: t.join()
print(json.dumps([rounds, wrong]) if (json := __import__("json")) else "", flush=True)
os._exit(23)
"""
NAMES = ("on_sched", "on_clock", "on_return", "on_fork", "on_exit", "on_exec", "each_thread", "slots", "gils", "tids", "selves", "targets",
         "target_info", "family", "paces", "pairs", "samples", "scratch", "stacks", "native_stacks", "no_sample", "lock_waits", "free_ids",
         "gilscope")


def bpftool(*args):
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return subprocess.run(["bpftool", "-j", *args], stdout=subprocess.PIPE, text=True, check=True, env=env).stdout


def in_kernel():
    """The BPF programs, maps and links of gilscope that the kernel has, as bpftool lists them, by kind and id."""
    listed = {kind: json.loads(bpftool(kind, "list") or "[]") for kind in ("prog", "map", "link")}
    own = {p["id"] for p in listed["prog"] if p.get("name", "").startswith(NAMES)}
    found = {("prog", i) for i in own}
    found |= {("map", m["id"]) for m in listed["map"] if m.get("name", "").startswith(NAMES)}
    return found | {("link", link["id"]) for link in listed["link"] if link.get("prog_id") in own}


def wait_until_gone(before):
    """What is in the kernel beyond `before`, after it has had its time: it frees after a grace period."""
    end = time.monotonic() + 10
    while in_kernel() - before and time.monotonic() < end:
        time.sleep(0.1)
    return in_kernel() - before


def test_nothing_is_left_behind_and_the_target_is_unharmed(one_python, where):
    """Attached to and left over and over, by time, Ctrl-C and SIGKILL: the process's results are right all the time."""
    need_bpf()
    before = in_kernel()
    with Target([one_python.path, "-c", LIVELY]) as target:
        target.go()
        n_readable = 0
        for i in range(CYCLES):
            place = where / f"r{i % 20}.gilscope"
            for old in place.glob("*"):
                old.unlink()
            process = subprocess.Popen([str(gs.BIN), "attach", "-q", "-o", str(place), "--method", "bpf",
                                        *(["-s"] if i % 3 == 0 else []), *(["-d", "0.05"] if i % 3 == 2 else []),
                                        str(target.pid)], stderr=subprocess.PIPE, text=True, env=gs.clean_env())
            if i % 3 == 0:  # at any moment, from before it is loaded on
                time.sleep(random.random() * 0.8)
                process.kill()
            elif i % 3 == 1:
                while not list(place.glob("*.gil")) and process.poll() is None:
                    time.sleep(0.005)
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == (-9 if i % 3 == 0 else 0), errors
            files = list(place.glob("*.gil"))
            assert files or i % 3 == 0
            if files:
                (own,) = [p for p in gs.report(place)["processes"] if p["pid"] == target.pid]
                assert own["source"] == "bpf" and (own["gils"] or i % 3 == 0)  # killed before its first picture
                n_readable += bool(own["gils"])
        assert n_readable > CYCLES / 2
        target.go()
        rounds, wrong = json.loads(target.process.stdout.readline())
        assert target.end() == 23
    assert not wrong, wrong[:10]
    assert set(rounds) == {"threads", "forks", "execs", "waits"} and min(rounds.values()) > CYCLES / 4, rounds
    left = wait_until_gone(before)
    assert not left, left


def knows_returns():
    """Whether the kernel has the tracepoint at which a thread is back in its program."""
    return b"\0btf_trace_rseq_update\0" in Path("/sys/kernel/btf/vmlinux").read_bytes()


def test_ends_of_waits_are_seen_where_the_kernel_tells_of_them(one_python, where):
    """The program that stamps them is at work while gilscope is attached, if the kernel has what it needs."""
    need_bpf()
    with Target([one_python.path, "-c", READY]) as target:
        attached = Attached(target.pid, where)
        names = {program.get("name") for program in json.loads(bpftool("prog", "list"))}
        target.go()
        attached.end(ask=False)
    assert {"on_sched_switch", "on_sched_waking", "on_clock", "on_fork", "on_exit", "on_exec"} <= names, names
    assert ("on_return" in names) == knows_returns(), names


EXECS = READY + """
import threading, time
def spin(end):
    while time.monotonic() < end: pass
t = threading.Thread(target=spin, args=(time.monotonic() + 0.5,))
t.start(); spin(time.monotonic() + 0.5); t.join()
os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1); raise SystemExit(9)"])
"""


def held(t):
    return t["held_oncpu_ns"] + t["held_offcpu_ns"]


def waited(t):
    return t["wait_blocked_ns"] + t["wait_wakeup_ns"]


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_target_becomes_another_program(one_python, where, method):
    """When the target calls exec, attaching ends with all that was measured until then; the new program runs on."""
    need_bpf(method)
    inside = where / "inside.gilscope"
    with Target([gs.BIN, "run", "-q", "--no-stacks", "-o", inside, "--", one_python.path, "-c", EXECS]) as target:
        attached = Attached(target.pid, where, method=method)
        target.go()
        (process,) = attached.end(ask=False)
        assert target.end() == 9
    assert process["gils"] and not sums.check(process), sums.check(process)
    (before,) = [p for p in gs.report(inside)["processes"] if any(waited(t) > 0.1e9 for t in p["threads"])]
    (t,) = [t for t in before["threads"] if not t["main"]]
    u = gs.thread(process, tid=t["tid"])
    for what, f in (("held", held), ("waited", waited)):
        allowed = 0.01 * t["wall_ns"] + 3e6 if method == "bpf" else 3 * u["error_ns"]
        assert abs(f(t) - f(u)) <= allowed, (what, t, u)
    (main,) = [t for t in before["threads"] if t["main"]]
    assert gs.thread(process, tid=main["tid"])["wall_ns"] < main["wall_ns"] + 0.5e9, "the new program's is not its own"


ENDS_FIRST = READY + """
import ctypes, threading, time
def spin(end):
    while time.monotonic() < end: sum(range(1000))
for name in "ab": threading.Thread(target=spin, args=(time.monotonic() + %g,), name=name).start()
time.sleep(0.3)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_main_thread_ends_first(one_python, where, method):
    """The kernel reads a process's memory through its first thread; when that one has ended, the others are measured on."""
    need_bpf(method)
    (where / "program.py").write_text(ENDS_FIRST % 2)
    inside = where / "inside.gilscope"
    with Target([gs.BIN, "run", "-q", "--no-stacks", "-o", inside, "--", one_python.path, where / "program.py"]) as target:
        attached = Attached(target.pid, where, method=method)
        target.go()
        target.end()
        (process,) = attached.end(ask=False)
    (before,) = gs.report(inside)["processes"]
    assert not sums.check(process), sums.check(process)
    for t in before["threads"]:
        u = gs.thread(process, tid=t["tid"])
        for what, f in (("held", held), ("waited", waited)):
            allowed = 0.01 * t["wall_ns"] + 10e6 if method == "bpf" else 3 * u["error_ns"]
            assert t["main"] or abs(f(t) - f(u)) <= allowed, (what, t, u)


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_main_thread_has_ended(one_python, where, method):
    """A process whose first thread has ended can be attached to."""
    need_bpf(method)
    with Target([one_python.path, "-c", ENDS_FIRST % 4]) as target:
        target.go()
        time.sleep(1)
        (process,) = Attached(target.pid, where, "-d", 1, method=method).end(ask=False)
    assert {"a", "b"} <= {t["name"] for t in process["threads"]}, process["threads"]
    assert process["gils"][0]["held_ns"] > 0.7 * process["wall_ns"] and process["stacks"]


STARTS = "import sys, threading, time; time.sleep(%g)"


@pytest.mark.few_pythons
@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_starting_and_ending_processes(python, where, method):
    """At any moment of a short life attaching either works or says in one line why not; the process ends as ever."""
    need_bpf(method)
    worked = 0
    for i in range(12):
        place = where / f"r{i}.gilscope"
        target = subprocess.Popen([python.path, "-c", STARTS % (0.02 * (i % 6))], env=gs.clean_env())
        time.sleep(0.004 * i)
        done = gs.gilscope("attach", "-q", "-d", "0.3", "--method", method, "-o", place, target.pid)
        assert target.wait(30) == 0
        if done.returncode == 0:
            worked += 1
            assert gs.report(place)["processes"]
        else:
            assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    with Target([python.path, "-c", READY]) as target:
        pass
    done = gs.gilscope("attach", "-q", "-d", "0.3", "--method", method, target.pid, cwd=where)
    assert done.returncode == 1 and "no such process" in done.stderr, done.stderr


SHORT_LIVED = READY + """
import threading, time
end, names = time.monotonic() + 3, {}
def work():
    names[threading.get_native_id()] = threading.current_thread().name
    until = time.monotonic() + 0.004
    while time.monotonic() < until: sum(range(300))
def hog():
    while time.monotonic() < end: sum(range(1000))
threading.Thread(target=hog, name="hog").start()
n = 0
while time.monotonic() < end:
    n += 1
    t = threading.Thread(target=work, name=f"short-{n}")
    t.start()
    t.join()
print(*[f"{tid}={name}" for tid, name in names.items()], flush=True)
"""


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_short_lived_threads_have_no_others_names(one_python, where, method):
    """A thread that has the memory of one that has ended does not give it its name: it has its own, or a number."""
    need_bpf(method)
    with Target([one_python.path, "-c", SHORT_LIVED]) as target:
        attached = Attached(target.pid, where, method=method)
        target.go()
        names = dict(word.split("=") for word in target.process.stdout.readline().split())
        process, = attached.end(ask=False)
    assert not sums.check(process), sums.check(process)  # nor what it made others wait
    told = [(str(t["tid"]), t["name"]) for t in process["threads"] if t["name"].startswith("short-")]
    wrong = [(tid, name, names.get(tid)) for tid, name in told if names.get(tid) != name]
    assert not wrong, wrong
    assert len(process["threads"]) > 5


def test_children_that_are_not_measured_are_told(one_python, where):
    """Under a reloader the child does the work: who attaches to the parent learns of it, and how to measure it."""
    code = ("import os, time\npid = os.fork()\n" + READY.replace("print(", "pid and print(").replace(
        "sys.stdin.readline()", "pid or time.sleep(20); sys.stdin.readline(); os.kill(pid, 9); os.wait()"))
    with Target([one_python.path, "-c", code]) as target:
        said = [gs.gilscope("attach", "--method", "sample", "-q", "-d", "0.2", "-o", where / f"rec{len(options)}",
                            *options, target.pid) for options in ([], ["--children"])]
        target.go()
        target.end()
    assert not any(done.returncode for done in said), said
    assert "has 1 child process that runs CPython, and is not measured: --children measures it, too" in said[0].stderr
    assert "child process" not in said[1].stderr


def test_many_children_are_counted(one_python, where):
    code = ("import os, time\npids = []\nfor _ in range(70):\n pids.append(os.fork())\n"
            " if not pids[-1]: time.sleep(60); os._exit(0)\n" +
            READY.replace("sys.stdin.readline()", "sys.stdin.readline(); [os.kill(pid, 9) for pid in pids]"))
    with Target([one_python.path, "-c", code]) as target:
        done = gs.gilscope("attach", "--method", "sample", "-q", "-d", "0.2", "-o", where / "rec", target.pid)
        target.go()
        target.end()
    assert "has 70 child processes that run CPython, and are not measured" in done.stderr, done


WORKERS = """
import os, signal, sys, time
print("ready", os.getpid(), flush=True)
pids = []
while sys.stdin.readline().strip() != "end":
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    pids = []
    for _ in range(9):
        pids.append(os.fork())
        if not pids[-1]:
            while True: sum(range(2000)); time.sleep(0.001)
for pid in pids: os.kill(pid, signal.SIGKILL)
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_workers_that_are_replaced(python, where, method):
    """A server that replaces its workers has had more of them, some time, than are measured at once: all are measured."""
    need_bpf(method)
    with Target([python.path, "-c", WORKERS]) as target:
        attached = Attached(target.pid, where, "-s", method=method)
        for n_workers in range(9, 82, 9):
            target.go()
            end = time.monotonic() + 30
            while len(attached.files) <= n_workers:
                assert time.monotonic() < end, (n_workers, len(attached.files))
                time.sleep(0.02)
            time.sleep(0.3)  # they are at work, and measured
        target.process.stdin.write("end\n")
        target.process.stdin.flush()
        target.end()
        processes = attached.end(ask=False)
    assert "not measured" not in attached.stderr, attached.stderr
    wrong = [line for p in processes for line in sums.check(p, open_intervals=True)]
    assert not wrong, wrong
    assert len(processes) == 82 and all(len(p["threads"]) <= 1 for p in processes)
    measured = [p for p in processes if any(t["wall_ns"] for t in p["threads"])]
    assert len(measured) > 72, [(p["pid"], p["threads"]) for p in processes]


MANY = """
import os, sys, threading, time
pids = []
for _ in range(10):
    r, w = os.pipe()
    pids.append(os.fork())
    if not pids[-1]:
        for _ in range(120): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        os.write(w, b"x"); time.sleep(60)
    os.read(r, 1)
""" + READY + "for pid in pids: os.kill(pid, 9)"


def test_all_threads_of_many_workers_have_room(one_python, where):
    """Who attaches to a server's master, which has one thread, has room for those of its workers."""
    need_bpf()
    with Target([one_python.path, "-c", MANY]) as target:
        attached = Attached(target.pid, where, "-s")
        processes = attached.end()
        target.go()
        target.end()
    assert len(processes) == 11 and not any(p["losses"].get("threads") for p in processes), [p["losses"] for p in processes]


ORPHANS = """
import os, signal, subprocess, sys, time
print("ready", os.getpid(), flush=True)
sys.stdin.readline()
pids = []
def leaves(before, child):
    r, w = os.pipe()
    worker = os.fork()
    if not worker:
        time.sleep(before)
        if os.fork(): os._exit(0)
        child(w)
        while True: sum(range(2000)); time.sleep(0.001)
    pids.append(int(os.read(r, 20)))
    os.waitpid(worker, 0)
def stays(w): os.write(w, str(os.getpid()).encode())
def forks(w):
    if os.fork(): os._exit(0)
    stays(w)
def becomes_python(w):
    stays(w)
    os.execv("/bin/sh", ["sh", "-c", f"sleep 0.5; exec {sys.executable} -c 'while True: sum(range(2000))'"])
leaves(0, stays)
leaves(0.5, stays)
leaves(0, forks)
leaves(0.5, becomes_python)
print(*pids, flush=True)
sys.stdin.readline()
for pid in pids: os.kill(pid, signal.SIGKILL)
"""


def test_children_whose_parent_has_ended(one_python, where):
    """What a worker started before it ended is measured, however shortly before, and whoever its parent is by then."""
    need_bpf()
    with Target([one_python.path, "-c", ORPHANS]) as target:
        attached = Attached(target.pid, where, "-s")
        target.go()
        pids = {int(word) for word in target.process.stdout.readline().split()}
        time.sleep(2)  # the last one becomes CPython meanwhile, and is noticed
        target.go()
        target.end()
        processes = attached.end(ask=False)
    assert pids <= {p["pid"] for p in processes}, (pids, [p["pid"] for p in processes])
