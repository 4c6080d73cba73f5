# SPDX-License-Identifier: MIT
"""However often measuring is paused and resumed, and whatever threads do meanwhile: each wait is charged in full to those
who were in its way, a thread's states are its time, and no more is counted than was measured."""
import json
import random
import time

import pytest

from helpers import gs, pythons, truth
from helpers.pauses import MS, US, Live, counted, disagreements, less
from helpers.truth import io, spin

DRIVER = "import os, runpy, sys; print(os.getpid(), flush=True); sys.argv[0] = {0!r}; runpy.run_path({0!r})"
MIXES = {
    "hand-offs": [spin(2 * US, 1 * US), spin(5 * US, 3 * US), spin(10 * US, 1 * US), spin(1 * US, 10 * US)],
    "two": [spin(5 * US, 1 * US)] * 2,
    "sixteen": [spin(3 * US, 5 * US)] * 16,
    "forced": [spin(7 * MS, 10 * US), spin(7 * MS, 10 * US), io(5 * US, 200 * US)],
    "long holds": [spin(60 * MS, 1 * MS)] * 3,
}


def random_pauses(python, mix, where, longest_s, paused):
    """A mix of threads that is paused and resumed at random moments; (report, least and most measured time, ns)."""
    choose = random.Random(len(mix))
    spec, out = where / "spec.json", where / "truth.json"
    spec.write_text(json.dumps({"threads": mix, "duration_ns": 700 * MS, "max_log": 0, "kind": "native", "pinned": False}))
    with Live([python.path, "-c", DRIVER.format(str(truth.SOURCE / "driver.py")), str(spec), str(out)], where,
              paused=paused, PYTHONPATH=truth.build(python)) as live:
        began = time.monotonic_ns()
        word = "resume" if paused else "pause"
        while live.process.poll() is None:
            before = time.monotonic_ns()
            done = gs.gilscope(word, live.pid)
            if done.returncode: # it has just ended
                break
            live.windows.append((word, before, time.monotonic_ns()))
            word = "pause" if word == "resume" else "resume"
            time.sleep(choose.uniform(0, longest_s))
        assert live.process.wait(60) == 0
        process = live.report()
    assert len(live.windows) > 4
    return process, live.windows, began


@pytest.mark.few_pythons
@pytest.mark.parametrize("mix", MIXES)
def test_random_pauses(python, mix, where):
    """Sums are exact, and the measured time is that between the commands."""
    for longest_s, paused in ((0.002, True), (0.03, False)):
        place = where / str(longest_s)
        place.mkdir()
        process, toggles, _ = random_pauses(python, MIXES[mix], place, longest_s, paused)
        wrong = disagreements(process)
        assert not wrong, "\n".join(wrong)
        assert not {"control", "unexplained", "clock"} & set(process["losses"]), process["losses"]
        if paused and toggles[-1][0] == "pause": # else the last window has no end that is known here
            resumes, pauses = toggles[0::2], toggles[1::2]
            least = sum(p[1] - r[2] for r, p in zip(resumes, pauses))
            most = sum(p[2] - r[1] for r, p in zip(resumes, pauses))
            assert least * 0.999 <= process["wall_ns"] <= most * 1.001, (least, process["wall_ns"], most)


HOLD = """
import ctypes, os, sys, threading, time
libc = ctypes.PyDLL(None)                       # calls keep the GIL
byte = ctypes.create_string_buffer(1)
print(os.getpid(), flush=True)
def hold():
    libc.write(1, b"holding\\n", 8)
    libc.read(0, byte, 1)                       # until somebody says so
def wait(ready):
    ready.set()
    while not done: time.sleep(0.001)
done = False
# Ready without locks at the hold's begin: they only sleep, and then want the GIL.
for i in range(2):
    ready = threading.Event()
    threading.Thread(target=wait, args=(ready,), name=f"waiter-{i}", daemon=True).start()
    ready.wait()
for line in iter(lambda: os.read(0, 1), b""):
    if line == b"h": hold()
    elif line == b"s": os.write(1, b"slept\\n")
    elif line == b"q": break
done = True
time.sleep(0.02)
print("over", flush=True)
os.read(0, 1)
"""
# What happens, in order: R(esume), P(ause), h(old begins), l(et go), w(ait a while), c(heck the report).
SCENES = {
    "hold around a window": "hwRwPwl",
    "window around a hold": "RwhwlwP",
    "hold across a resume": "hwRwlwP",
    "hold across a pause": "RwhwPwl",
    "two windows in one hold": "hwRwPwRwPwl",
    "hold across a pause and a resume": "RwhwPwRwlwP",
    "a hold in a pause": "RwPhwlRwP",
    "holds in each": "RwhwPwlwhwRwlwhwPwRwlwP",
}


@pytest.mark.few_pythons
@pytest.mark.parametrize("scene", SCENES)
def test_what_is_charged_lies_in_the_windows(python, scene, where):
    """A thread holds the GIL for as long as it is told; two others wait. Held, waited and charged is what lies in the
    measured time."""
    script = where / "program.py"
    script.write_text(HOLD)
    windows, holds, since, hold = [], [], None, None
    with Live([python.path, str(script)], where) as live:
        for step in SCENES[scene]:
            if step == "R":
                since = live.control("resume")
            elif step == "P":
                windows.append((since, live.control("pause")))
            elif step == "h":
                before = time.monotonic_ns()
                live.process.stdin.write("h")
                live.process.stdin.flush()
                live.hear("holding")
                hold = before, time.monotonic_ns()
            elif step == "l":
                before = time.monotonic_ns()
                live.process.stdin.write("x")
                live.process.stdin.flush()
                # Until the main thread has been there again, it may hold the GIL yet.
                live.process.stdin.write("s")
                live.process.stdin.flush()
                live.hear("slept")
                holds.append((hold, (before, time.monotonic_ns())))
            elif step == "w":
                time.sleep(0.06)
        live.process.stdin.write("q")
        live.process.stdin.flush()
        live.hear("over")
        live.end()
        process = live.report()

    def overlap(first, last):
        """Of holds and windows, with the inner or the outer edges of what is known of each."""
        return sum(max(0, min(h[1][last], w[1][last]) - max(h[0][first], w[0][first])) for h in holds for w in windows)

    least, most = overlap(1, 0), overlap(0, 1)
    wrong = disagreements(process)
    assert not wrong, "\n".join(wrong)
    main = next(t for t in process["threads"] if t["main"])
    held = main["held_oncpu_ns"] + main["held_offcpu_ns"]
    measured = sum(w[1][1] - w[0][0] for w in windows)
    short = 30 * MS # what the threads do besides: they wake up each millisecond
    assert least <= held <= most + short, (least, held, most)
    waiters = [t for t in process["threads"] if not t["main"]]
    if least:
        assert len(waiters) == 2
    blocked = sum(t["wait_blocked_ns"] for t in waiters)
    # They may have slept for a millisecond and more, and come late on a busy machine, when the hold began.
    assert blocked <= 2 * (most + short) and main["charged_ns"] <= 2 * (most + short)
    assert blocked >= 2 * least * 0.5, (blocked, least)
    for t in process["threads"]:
        assert t["wall_ns"] <= measured * 1.001


@pytest.mark.few_pythons
def test_counts_stand_still_in_pauses(python, where):
    """What has been counted is never less in a later report, and the same in all of one pause, also of a thread that has
    ended long since."""
    script = where / "program.py"
    script.write_text("""
import os, sys, threading, time
print(os.getpid(), flush=True)
def spin(until):
    while time.monotonic() < until:
        for i in range(1000): pass
def sleep():
    while True: time.sleep(0.001)
while os.read(0, 1) == b"g":
    until = time.monotonic() + 0.25
    threads = [threading.Thread(target=spin, args=(until,)) for _ in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    os.write(1, b"done\\n")
os.read(0, 1)
""")
    with Live([python.path, str(script)], where) as live:
        last = counted(live.report())
        for n in range(6):
            live.control("resume")
            live.process.stdin.write("g")
            live.process.stdin.flush()
            live.hear("done")
            live.control("pause")
            # Whoever was about to write something down when it lost its processor has to be done.
            time.sleep(0.2)
            first = counted(live.report())
            assert not less(last, first)
            second = counted(live.report())
            assert first == second
            last = second
        live.process.stdin.write("q")
        live.end()
        assert not less(last, counted(live.report()))


THREADS = """
import os, sys, threading, time
print(os.getpid(), flush=True)
def python(n=300): sum(range(n))
def short():
    some = [threading.Thread(target=python) for _ in range(8)]
    for t in some: t.start()
    for t in some: t.join()
def fork():
    pid = os.fork()
    if pid == 0:
        for _ in range(50): python(); time.sleep(0)
        os._exit(7)
    assert os.waitpid(pid, 0)[1] == 7 << 8
def sleeping(): time.sleep(0.0003); python(30)
{interpreters}
end = time.monotonic() + 1.2
def until_the_end(f):
    while time.monotonic() < end: f()
together = [threading.Thread(target=until_the_end, args=(f,)) for f in ({work})]
for t in together: t.start()
for t in together: t.join()
"""
INTERPRETERS = """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
code = "import time\\nfor i in range(60): sum(range(300)); time.sleep(0.0002)"
def one():
    try: number = interpreters.create("isolated")
    except TypeError: number = interpreters.create(isolated=True)
    (interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string)(number, code)
    interpreters.destroy(number)
"""
WITH_OWN_GILS = [p for p in pythons.SUPPORTED if (3, 12) <= p.version[:2] <= (3, 13)] # by the private module


def toggled(python, code, where, paused):
    """Runs a program that is paused and resumed at random; the reports of its processes."""
    choose = random.Random(1)
    script = where / "program.py"
    script.write_text(code)
    with Live([python.path, str(script)], where, paused=paused) as live:
        word, n = "resume" if paused else "pause", 0
        while live.process.poll() is None and gs.gilscope(word, live.pid).returncode == 0:
            word, n = "pause" if word == "resume" else "resume", n + 1
            time.sleep(choose.uniform(0, 0.015))
        assert live.process.wait(60) == 0 and n > 4
    return gs.report(live.dir)["processes"]


@pytest.mark.few_pythons
@pytest.mark.parametrize("paused", (True, False), ids=("paused", "measured"))
def test_threads_that_begin_and_end_in_pauses(python, where, paused):
    """Threads that begin and end, and forks, at any time."""
    code = THREADS.format(interpreters="", work="short, short, fork, sleeping, python")
    processes = toggled(python, code, where, paused)
    assert len(processes) > 1
    for process in processes:
        wrong = disagreements(process)
        assert not wrong, "\n".join(wrong)
        assert not {"control", "unexplained", "clock"} & set(process["losses"]), process["losses"]


@pytest.mark.skipif(not WITH_OWN_GILS, reason="no CPython 3.12 or 3.13 here")
@pytest.mark.parametrize("paused", (True, False), ids=("paused", "measured"))
@pytest.mark.parametrize("own_gils", WITH_OWN_GILS, ids=[p.name for p in WITH_OWN_GILS])
def test_several_gils(own_gils, where, paused):
    """Interpreters with GILs of their own that begin and end at any time."""
    code = THREADS.format(interpreters=INTERPRETERS, work="one, one, one, python, sleeping")
    for process in toggled(own_gils, code, where, paused):
        wrong = disagreements(process)
        assert not wrong, "\n".join(wrong)
