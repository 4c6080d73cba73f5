# SPDX-License-Identifier: MIT
"""Threads that never take the GIL, such as those of OpenMP and BLAS: their CPU time is told, and the verdict knows it."""
import os
import signal
import time
from pathlib import Path

import pytest

from helpers import gs, truth
from helpers.attach import Attached, Target, need_bpf
from helpers.pauses import Live

MS = 1000 * 1000
SHARE, FLOOR = 0.05, 40 * MS  # the process's clock is read with each thread's, but not at the same instant

BURNS = """
import ctypes, os, sys, threading, time
burn = ctypes.CDLL(sys.argv[1])
burn.burn_stop.restype = ctypes.c_int64
"""


def burn():
    return truth.compile_shared(gs.WORK / "truth" / "burn.so", gs.REPO / "tests" / "frames" / "burn.c")


def near(told_ns, true_ns):
    return abs(told_ns - true_ns) <= max(SHARE * true_ns, FLOOR)


def used_ns(pid):
    """CPU time of a process by /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 * MS // os.sysconf("SC_CLK_TCK")


def run(python, where, code, **kwargs):
    return gs.run_code(python, BURNS + code, where, args=[burn()], **kwargs)


@pytest.mark.few_pythons
def test_native_threads_are_told(python, where):
    """Two of them compute while Python's only thread sleeps: that is no idle process."""
    recording = run(python, where, "burn.burn_start(2); time.sleep(1.5); print(burn.burn_stop())")
    p, used_ns = recording.process, int(recording.stdout)
    assert near(p["native_cpu_ns"], used_ns), (p["native_cpu_ns"], used_ns)
    assert p["verdict"]["class"] == "gil-releasing", p["verdict"]
    assert any(line.startswith("Native threads") for line in p["verdict"]["evidence"]), p["verdict"]


def test_one_beside_a_python_thread(one_python, where):
    """What Python's own threads use, in whatever state, is not the native threads'."""
    recording = run(one_python, where, """
burn.burn_start(1)
def spin():
    end = time.monotonic() + 1.5
    while time.monotonic() < end: pass
threads = [threading.Thread(target=spin) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
print(burn.burn_stop())
""")
    p, used_ns = recording.process, int(recording.stdout)
    assert near(p["native_cpu_ns"], used_ns), (p["native_cpu_ns"], used_ns)


@pytest.mark.few_pythons
@pytest.mark.parametrize("code", [
    """
def spin():
    end = time.monotonic() + 1
    while time.monotonic() < end: pass
threads = [threading.Thread(target=spin) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
""", """
zero = open("/dev/zero", "rb", buffering=0)
def reads():
    for _ in range(200000): zero.read(1)
threads = [threading.Thread(target=reads) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
""", """
import zlib
data = os.urandom(1 << 20)
def compress():
    for _ in range(6): zlib.compress(data)
threads = [threading.Thread(target=compress) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""], ids=["spin", "reads", "compress"])
def test_none_are_told_where_there_are_none(python, where, code):
    """Waiting for the GIL uses CPU time, too: it is Python's threads'."""
    recording = run(python, where, code + "print(int(time.process_time() * 1e9))")
    p, all_ns = recording.process, int(recording.stdout)
    assert p["native_cpu_ns"] <= max(0.03 * all_ns, 15 * MS), (p["native_cpu_ns"], all_ns)
    assert not any("Native" in line for line in p["verdict"]["evidence"]), p["verdict"]


def test_short_threads_are_not_native_ones(one_python, where):
    """Python's threads have used some before their first take, which is theirs, too."""
    recording = run(one_python, where, """
for _ in range(3000):
    t = threading.Thread(target=lambda: sum(range(2000)))
    t.start(); t.join()
print(int(time.process_time() * 1e9))
""")
    p, all_ns = recording.process, int(recording.stdout)
    assert p["native_cpu_ns"] <= 0.25 * all_ns, (p["native_cpu_ns"], all_ns)


def test_children_begin_anew(one_python, where):
    """A forked child has not used what its parent has."""
    recording = run(one_python, where, """
burn.burn_start(2); time.sleep(1)
used = burn.burn_stop()
pid = os.fork()
if pid == 0:
    time.sleep(0.2)
    os._exit(0)
os.waitpid(pid, 0)
print(used, pid)
""")
    used_ns, pid = map(int, recording.stdout.split())
    child = recording.by_pid(pid)
    parent, = (p for p in recording.processes if p["pid"] != pid)
    assert near(parent["native_cpu_ns"], used_ns), (parent["native_cpu_ns"], used_ns)
    assert child.get("native_cpu_ns", 0) <= 20 * MS


LIVES = BURNS + """
def turns():
    while True: time.sleep(0.005)
threading.Thread(target=turns, daemon=True).start()
burn.burn_start(1)
print(*sys.argv[2:], os.getpid(), flush=True)
sys.stdin.readline()
"""


def test_live_and_killed(one_python, where):
    """While the process runs, and of one that was killed, as far as it had been read."""
    program = where / "program.py"
    program.write_text(LIVES)
    with Live([one_python.path, program, burn()], where, paused=False) as live:
        first_ns = used_ns(live.pid)
        time.sleep(1)
        least_ns = used_ns(live.pid) - first_ns
        p, = gs.report(live.dir)["processes"]
        most_ns = used_ns(live.pid)
        assert 0.8 * least_ns <= p["native_cpu_ns"] <= most_ns, (p["native_cpu_ns"], least_ns, most_ns)
        os.kill(live.pid, signal.SIGKILL)
    q, = gs.report(live.dir)["processes"]
    assert q["native_cpu_ns"] >= p["native_cpu_ns"] - 250 * MS, (p["native_cpu_ns"], q["native_cpu_ns"])


def test_not_in_pauses(one_python, where):
    """What is used while measuring is paused is not told."""
    program = where / "program.py"
    program.write_text(LIVES)
    with Live([one_python.path, program, burn()], where) as live:
        live.control("resume")
        time.sleep(1)
        live.control("pause")
        before, = gs.report(live.dir)["processes"]
        first_ns = used_ns(live.pid)
        time.sleep(1)
        paused_ns = used_ns(live.pid) - first_ns
        live.control("resume")
        time.sleep(0.1)
        after, = gs.report(live.dir)["processes"]
    more_ns = after["native_cpu_ns"] - before["native_cpu_ns"]
    assert more_ns < max(0.5 * paused_ns, 50 * MS), (more_ns, paused_ns)
    assert before["native_cpu_ns"] > 0.2 * first_ns, (before["native_cpu_ns"], first_ns)


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_attached(one_python, where, method):
    """A collector outside sees them as well."""
    need_bpf(method)
    program = where / "program.py"
    program.write_text(LIVES)
    with Target([one_python.path, program, burn(), "ready"]) as target:
        attached = Attached(target.pid, where, method=method)
        first_ns = used_ns(target.pid)
        time.sleep(1)
        all_ns = used_ns(target.pid) - first_ns
        p, = attached.end()
    assert 0.7 * all_ns <= p["native_cpu_ns"] <= 1.3 * all_ns + 600 * MS, (p["native_cpu_ns"], all_ns)
    assert any(line.startswith("Native threads") for line in p["verdict"]["evidence"]), p["verdict"]


SHORT = """
import threading, time
def work():
    begin = time.thread_time()
    while time.thread_time() - begin < 0.001: sum(range(100))
    time.sleep(0.02)
alive = []
for _ in range(1500):
    alive.append(threading.Thread(target=work))
    alive[-1].start()
    if len(alive) > 20: alive.pop(0).join()
for thread in alive: thread.join()
print(time.process_time())
"""


def test_ended_threads_use_what_they_used_once(one_python, where):
    """What ended threads used of the processors, in one record, is not counted twice."""
    done = gs.run_code(one_python, SHORT, where)
    p = done.process
    all_ns = float(done.stdout) * 1e9
    told_ns = p["native_cpu_ns"] + sum(t["held_oncpu_ns"] + t["released_oncpu_ns"] for t in p["threads"])
    assert any(t["name"] == "(ended threads)" for t in p["threads"])
    assert abs(told_ns - all_ns) < 0.1 * all_ns, (told_ns, all_ns)
