# SPDX-License-Identifier: MIT
"""What is known of processes that were killed, stopped or left by os._exit under `gilscope run`, and of what was cut."""
import os
import signal
import subprocess
import time

import pytest

from helpers import gs
from helpers.attach import READY, Attached, Target

PRELUDE = """
import ctypes, os, signal, sys, threading, time
def computes():
    n = 0
    while True: n += 1
def start(*functions):
    for f in functions: threading.Thread(target=f, daemon=True).start()
"""
SLEEPS = PRELUDE + """
keeps = ctypes.PyDLL(None)  # its functions are called with the GIL
def sleeps():
    while True: keeps.usleep(200000)
"""
STATUS = {"os._exit(3)": 3, "os.abort()": 128 + signal.SIGABRT, "os.kill(os.getpid(), 9)": 128 + signal.SIGKILL}


def says(process, text):
    return [line for line in process["verdict"]["evidence"] + process["verdict"]["advice"] if text in line]


def text_of(directory):
    """The text report, in one line."""
    return " ".join(gs.gilscope("report", directory).stdout.split())


def spawn(where, *command, name="rec", options=()):
    return subprocess.Popen([gs.BIN, "run", "-q", *options, "-o", where / name, "--", *map(str, command)], env=gs.clean_env(),
                            stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True)


def script(where, code, name="program.py"):
    path = where / name
    path.write_text(code)
    return path


@pytest.mark.parametrize("options", [(), ("--no-stacks",)], ids=["stacks", "no-stacks"])
@pytest.mark.parametrize("end", list(STATUS))
def test_a_killed_thread_that_slept_with_the_gil(one_python, end, options, where):
    """It is told to, as after an orderly end: what it was off the processor was no want of one."""
    recording = gs.run_code(one_python, SLEEPS + f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
                            f"start(sleeps, computes)\ntime.sleep(3)\n{end}", where, options=options, expect=STATUS[end])
    process = recording.process
    assert says(process, "while it was off the processor") and says(process, "calls while it sleeps"), process["verdict"]
    sleeper = max(process["threads"], key=lambda t: t["held_offcpu_ns"])
    assert sleeper["held_oncpu_ns"] < 0.1 * sleeper["held_offcpu_ns"], sleeper
    assert "not known" not in process.get("note", ""), process


def test_killed_for_want_of_a_processor(one_python, where):
    """Threads that had to share a processor with another process are cpu-starved, also where both are killed."""
    recording = gs.run_code(one_python, PRELUDE + """
pid = os.fork()
if not pid:
    computes()
start(computes)
time.sleep(3)
os.kill(pid, 9); os.kill(os.getpid(), 9)
""", where, cpus=1, expect=128 + signal.SIGKILL)
    for process in recording.processes:
        assert process["verdict"]["class"] == "cpu-starved" or says(process, "had no processor"), process["verdict"]


@pytest.mark.parametrize("reaped", ["at once", "late"])
def test_a_killed_grandchild_lasts_until_it_was_killed(one_python, reaped, where):
    """What it slept after its last event counts; how it ended is told where its parent has left time to see it."""
    recording = gs.run_code(one_python, PRELUDE + f"""
pid = os.fork()
if not pid:
    time.sleep(0.1); time.sleep(60)
time.sleep(2.5); begin = time.monotonic(); os.kill(pid, 9)
{"os.wait()" if reaped == "at once" else "time.sleep(0.5); os.wait()"}
""", where)
    (child,) = [p for p in recording.processes if not p["complete"]]
    assert 2.2e9 < child["wall_ns"] < recording.by_pid(child["ppid"])["wall_ns"] - (0.3e9 if reaped == "late" else 0)
    assert "end_seen" not in child and "note" not in child
    if reaped == "late":
        assert child["end_signal"] == signal.SIGKILL


def test_how_a_program_ended_is_told(one_python, where):
    """By name of the signal or by status, in text, HTML and JSON."""
    for i, (end, status) in enumerate(STATUS.items()):
        recording = gs.run_code(one_python, f"import os\n{end}", where, name=f"r{i}", expect=status)
        said = f"killed by {signal.Signals(status - 128).name}" if status > 128 else f"left by os._exit, status {status}"
        assert said in text_of(recording.dir)
        assert said in gs.gilscope("report", "-f", "html", recording.dir).stdout
        assert recording.process["end_signal" if status > 128 else "end_status"] == status % 128


def test_what_a_program_becomes_is_not_its_end(one_python, where):
    """A grandchild that goes on as a program that is no Python ends there, and is not told to have been killed."""
    recording = gs.run_code(one_python, PRELUDE + """
pid = os.fork()
if not pid:
    time.sleep(0.5)
    os.execvp("sleep", ["sleep", "2"])
os.waitpid(pid, 0)
""", where)
    (child,) = [p for p in recording.processes if not p["complete"]]
    assert child["wall_ns"] < 1.8e9
    assert gs.gilscope("report", "-f", "html", recording.dir).stdout.count("went on as another program (exec)") == 1


STOPPED = PRELUDE + """
end = time.monotonic() + 3.5
def some():
    while time.monotonic() < end: pass
threads = [threading.Thread(target=some) for _ in range(2)]
for t in threads: t.start()
print(os.getpid(), flush=True)
for t in threads: t.join()
"""


def measured_stop(one_python, where, stop, *before):
    """Runs the program, and stop(launcher, pid, signal) after a while with SIGSTOP and SIGCONT."""
    program = script(where, STOPPED)
    launcher = spawn(where, *before, one_python.path, program)
    pid = int(launcher.stdout.readline())
    time.sleep(0.5)
    stop(launcher, pid, signal.SIGSTOP)
    time.sleep(1.5)
    stop(launcher, pid, signal.SIGCONT)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 0
    (process,) = gs.report(where / "rec")["processes"]
    return process


@pytest.mark.parametrize("before", [(), ("sh", "-c", '"$@"; true', "sh")], ids=["child", "grandchild"])
@pytest.mark.parametrize("whole", [False, True], ids=["program", "group"])
def test_stopped(one_python, where, whole, before):
    """For how long a program was stopped, alone or with gilscope (Ctrl-Z), is told, and no holder blamed for it."""
    process = measured_stop(one_python, where,
                            lambda launcher, pid, number: os.killpg(launcher.pid, number) if whole else os.kill(pid, number), *before)
    assert 1e9 < process["stopped_ns"] < process["wall_ns"]
    assert says(process, "The process was stopped") and says(process, "Measure again while it runs")
    assert not says(process, "calls while it sleeps") and not says(process, "kept the GIL"), process["verdict"]


def test_gilscope_alone_stopped(one_python, where):
    """The program ran on, and is not told to have been stopped."""
    process = measured_stop(one_python, where, lambda launcher, pid, number: os.kill(launcher.pid, number))
    assert "stopped_ns" not in process


def test_gilscope_killed_with_its_program(one_python, where):
    """As by `timeout -s KILL` or a container's end: what was seen until then is there; the report says what is not."""
    launcher = spawn(where, one_python.path, script(where, SLEEPS + "start(sleeps, computes)\ntime.sleep(0.1); "
                                                   "print(1, flush=True); time.sleep(60)"))
    launcher.stdout.readline()
    time.sleep(3)
    os.killpg(launcher.pid, signal.SIGKILL)
    launcher.communicate(timeout=60)
    (process,) = gs.report(where / "rec")["processes"]
    assert process["end_seen"] is False and "Nobody saw the end" in process["note"] and process["wall_ns"] > 2e9
    assert "Nobody saw the end" in text_of(where / "rec") and "killed, or left by os._exit" in text_of(where / "rec")
    assert says(process, "calls while it sleeps"), process


@pytest.mark.parametrize("end", ["orderly", "killed"])
def test_gilscope_killed_alone(one_python, where, end):
    """The program runs on and is measured to its end; where it is killed later, the report says that nobody saw it."""
    launcher = spawn(where, one_python.path, script(where, PRELUDE + "start(computes)\nprint(os.getpid(), flush=True)\n"
                                                   "time.sleep(2.5)"))
    pid = int(launcher.stdout.readline())
    time.sleep(0.5)
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    time.sleep(0.7)
    if end == "killed":
        os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < limit:
        time.sleep(0.05)
    (process,) = gs.report(where / "rec")["processes"]
    assert process["complete"] is (end == "orderly") and process["wall_ns"] > (2.4e9 if end == "orderly" else 0.3e9)
    assert ("Nobody saw the end" in process.get("note", "")) is (end == "killed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["gilscope", "group"])
def test_signals_that_end_it(one_python, where, number, group):
    """A supervisor's SIGTERM or SIGINT ends the program; status and report are the program's."""
    launcher = spawn(where, one_python.path, script(where, PRELUDE + "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
                                                   "start(computes)\nprint(1, flush=True)\ntime.sleep(60)"))
    launcher.stdout.readline()
    (os.killpg if group else os.kill)(launcher.pid, number)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + number
    (process,) = gs.report(where / "rec")["processes"]
    assert process["end_signal"] == number and f"killed by {number.name}" in text_of(where / "rec")


def test_a_recording_that_was_cut_short(one_python, where):
    """It is not told to have been killed, and its program's time ends where it was cut."""
    recording = gs.run_code(one_python, PRELUDE + f"""
import glob
time.sleep(0.3)
os.truncate(glob.glob({str(where / "rec.gilscope")!r} + "/*.gil")[0], 40960)
def some(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
t = threading.Thread(target=some, args=(0.5,)); t.start(); t.join()
time.sleep(2)
os._exit(0)
""", where)
    process = recording.process
    said = text_of(recording.dir)
    assert " · cut short" in said and " · killed" not in said, said
    assert "was cut short, or its disk was full" in process["note"] and process["wall_ns"] < 1.9e9, process["wall_ns"]


def test_attach_that_was_cut_short(one_python, where):
    """Where gilscope attach is killed, it is not the program that was."""
    with Target([one_python.path, "-c", READY + PRELUDE + "start(computes)\ntime.sleep(60)"]) as target:
        attached = Attached(target.pid, where, method="sample")
        target.go()
        time.sleep(1)
        attached.process.kill()
        attached.process.communicate()
    said = text_of(attached.dir)
    assert "cut short" in said and "killed, or left" not in said and "gilscope attach was killed" in said, said
