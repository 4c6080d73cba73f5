# SPDX-License-Identifier: MIT
"""A process preloaded with `paused` counts nothing until it is resumed, and its times stay right across pauses."""
import fcntl
import json
import os
import subprocess
import time

import pytest

from helpers import gs, pythons, truth
from helpers.pauses import Live, counted, less
from helpers.truth import MS, US, io, spin

# No daemon threads: those that are left at the end make CPython 3.9 and 3.10 crash now and then, in take_gil, without the
# library, too.
LOOP = """
import os, sys, threading, time
over = False
def spin():
    while not over:
        for i in range(1000): pass
def sleep():
    while not over: time.sleep(0.001)
for f in (spin, spin, sleep):
    threading.Thread(target=f, name=f.__name__).start()
print(os.getpid(), flush=True)
sys.stdin.readline()
over = True
"""


@pytest.fixture
def looping(python, where):
    script = where / "loop.py"
    script.write_text(LOOP)
    with Live([python.path, str(script)], where) as live:
        yield live


@pytest.mark.few_pythons
def test_paused_process_counts_nothing(looping):
    """Before the first resume nothing is counted."""
    time.sleep(0.3)
    process = looping.report()
    assert not any(counted(process).values()), counted(process)
    assert all(t["wall_ns"] == 0 for t in process["threads"]), process["threads"]
    looping.end()
    assert not any(counted(looping.report()).values())


@pytest.mark.measures
@pytest.mark.few_pythons
def test_resume_and_pause(looping):
    """Times grow while measuring and stand still while paused; states add up to the measured time."""
    time.sleep(0.1)
    measured_min = measured_max = 0
    last = counted(looping.report())
    for _ in range(3):
        resumed = looping.control("resume")
        time.sleep(0.4)
        paused = looping.control("pause")
        measured_min += paused[0] - resumed[1]
        measured_max += paused[1] - resumed[0]
        time.sleep(0.1)
        process = looping.report()
        now = counted(process)
        grown = [("gil", 0, key) for key in ("held_ns", "wait_ns", "acquisitions", "contended", "drop_requests")]
        assert all(now[key] > last[key] for key in grown), (last, now)
        assert not less(last, now)
        assert process["gils"][0]["held_ns"] <= measured_max * 1.005
        # Two busy loops: the GIL is never free for long.
        assert process["gils"][0]["held_ns"] >= measured_min * 0.8
        for t in process["threads"]:
            if not t["main"]:
                assert measured_min * 0.95 <= t["wall_ns"] <= measured_max * 1.005, (t, measured_min, measured_max)
        time.sleep(0.3)
        assert counted(looping.report()) == now
        last = now
    looping.end()


@pytest.mark.few_pythons
def test_pause_and_resume_say_what_they_did(looping):
    """A second resume changes nothing and says so; an unknown process is one clear line."""
    first, second = gs.gilscope("resume", looping.pid), gs.gilscope("resume", looping.pid)
    assert first.returncode == second.returncode == 0
    assert "already" in second.stdout and "already" not in first.stdout
    bad = gs.gilscope("resume", os.getpid())
    assert bad.returncode != 0 and bad.stderr.startswith("gilscope: ") and bad.stderr.count("\n") == 1


def resumed_window(python, where):
    """What disagrees with the extension in a window that is resumed before the threads begin and paused after they end."""
    where.mkdir()
    mix = [spin(1 * MS), io(100 * US, 1 * MS), spin(5 * US, 5 * US)]
    spec, out, script = where / "spec.json", where / "truth.json", where / "program.py"
    spec.write_text(json.dumps({"threads": mix, "duration_ns": 500 * MS, "max_log": 0, "kind": "native",
                                "pinned": False}))
    # The same work twice: the first time paused.
    script.write_text(f"""
import os, runpy, sys
print(os.getpid(), flush=True)
for i in range(2):
    sys.argv = ["driver.py", {str(spec)!r}, {str(out)!r}]
    runpy.run_path({str(truth.SOURCE / "driver.py")!r})
    print("done", flush=True)
    sys.stdin.readline()
""")
    with Live([python.path, str(script)], where, preload=[truth.stamps()], PYTHONPATH=truth.build(python)) as live:
        assert live.process.stdout.readline() == "done\n"
        live.control("resume")
        live.process.stdin.write("\n")
        live.process.stdin.flush()
        assert live.process.stdout.readline() == "done\n"
        live.control("pause")
        live.end()
        process = live.report()
    measured = [truth.Measured(r) for r in json.loads(out.read_text())]
    return truth.compare(process, measured)


@pytest.mark.measures
@pytest.mark.few_pythons
def test_truth_of_a_resumed_window(python, where):
    """Resumed before the threads begin and paused after they end, figures agree with the extension's.  The machine may
    get in the way: one of three attempts must."""
    for attempt in "first", "second", "third":
        wrong = resumed_window(python, where / attempt)
        if not wrong:
            return
    assert not wrong, "\n".join(wrong)


HELD_ACROSS = """
import ctypes, os, sys, threading, time
sys.setswitchinterval(60)                       # who waits wakes up only when it gets the GIL
libc = ctypes.PyDLL(None)                       # calls keep the GIL
byte = ctypes.create_string_buffer(1)
print(os.getpid(), flush=True)
def wait(ready):
    for n in range(sys.maxsize):
        if n == 20: ready.set()
        if done: return
        time.sleep(0.001)
done, ready = False, threading.Event()
threading.Thread(target=wait, args=(ready,), name="waiter").start()
ready.wait()
for line in iter(lambda: os.read(0, 1), b"q"):
    if line == b"s": time.sleep(0.05); os.write(1, b"slept\\n")
    if line == b"h":
        libc.write(1, b"holding\\n", 8)
        libc.read(0, byte, 1)                   # until somebody says so
done = True
time.sleep(0.02)
print("over", flush=True)
os.read(0, 1)
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("before", (False, True), ids=("new", "measured before"))
def test_wait_that_begins_in_a_pause(python, where, before):
    """A thread that has had the GIL in a pause, and waits for it at the pause's end, has waited from the resume on."""
    script = where / "program.py"
    script.write_text(HELD_ACROSS)
    with Live([python.path, str(script)], where) as live:

        def tell(word):
            live.process.stdin.write(word)
            live.process.stdin.flush()

        if before:
            live.control("resume")
        tell("s")
        live.hear("slept")
        if before:
            live.control("pause")
            tell("s")
            live.hear("slept")
        tell("h")
        live.hear("holding")
        time.sleep(0.1) # the other thread comes to its wait
        first = live.report()
        resumed = live.control("resume")
        time.sleep(0.3)
        let_go = time.monotonic_ns()
        tell("x")
        tell("q")
        live.hear("over")
        live.control("pause")
        live.end()
        last = live.report()

    def waited(process):
        return sum(t["wait_blocked_ns"] for t in process["threads"] if not t["main"])

    held = let_go - resumed[1]
    assert waited(last) - waited(first) >= held / 2, (waited(first), waited(last), held)
    main = next(t for t in last["threads"] if t["main"])
    assert main["charged_ns"] >= held / 2


def test_recording_cut_short_under_the_command(where):
    """A recording that is cut short while a command is at it: one line, and exit status 1."""
    python = pythons.SUPPORTED[-1]
    script = where / "program.py"
    script.write_text("import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.readline()\n")
    for word in "resume", "pause":
        place = where / word
        place.mkdir()
        with Live([python.path, str(script)], place, paused=word == "resume") as live:
            (file,) = live.dir.glob("*.gil")
            with file.open("r+b") as recording:
                fcntl.flock(recording, fcntl.LOCK_EX) # the command has opened and checked the file, and waits for this
                command = subprocess.Popen([str(gs.BIN), word, str(live.pid)], env=gs.clean_env(), text=True,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while f"-> FLOCK  ADVISORY  WRITE {command.pid} " not in open("/proc/locks").read():
                    assert command.poll() is None
                    time.sleep(0.005)
                os.truncate(file, 0)
                fcntl.flock(recording, fcntl.LOCK_UN)
            out, err = command.communicate(timeout=30)
            assert (command.returncode, out) == (1, "")
            assert err.startswith("gilscope: ") and err.count("\n") == 1 and "cut short" in err
            assert live.process.poll() is None
