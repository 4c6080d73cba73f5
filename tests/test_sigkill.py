# SPDX-License-Identifier: MIT
"""SIGKILL at random moments of a threaded program's start, run and exit: what was recorded can be read and is possible.

GILSCOPE_KILLS says how many times (40; `./runtests --full`: 500), GILSCOPE_SEED which moments.
"""
import json
import os
import random
import signal
import subprocess
import time

import pytest

from helpers import faults, gs, pythons, sums

KILLS = int(os.environ.get("GILSCOPE_KILLS") or 40)
# Threads that hold the GIL, let it go, wait for locks, come and go, and are there still when the program ends.
PROGRAM = """
import atexit, sys, threading, time
lock, end = threading.Lock(), time.monotonic() + 0.12
def work(n):
    while time.monotonic() < end + (n == 3):
        with lock:
            sum(range(2000))
        if n % 2:
            time.sleep(0.0005)
def brief():
    while time.monotonic() < end:
        t = threading.Thread(target=sum, args=(range(500),))
        t.start()
        t.join()
threads = [threading.Thread(target=work, args=(n,), daemon=n == 3) for n in range(4)] + [threading.Thread(target=brief)]
atexit.register(sum, range(100000))
for t in threads: t.start()
for t in threads:
    if not t.daemon: t.join()
"""
COUNTS = ("acquisitions", "contended", "lost_wakeups", "drop_requests", "forced_switches")


def seed():
    return int(os.environ.get("GILSCOPE_SEED") or random.SystemRandom().randrange(1 << 32))


def start(python, where, n):
    recording = where / f"{n}.gilscope"
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={recording}"})
    return recording, subprocess.Popen([python.path, "-c", PROGRAM], env=env, stderr=subprocess.PIPE)


def read(recording):
    """The only process of a recording; None if there is none yet.  Anything else is an error."""
    if not recording.is_dir() or not list(recording.glob("*.gil")):
        return None
    done = gs.gilscope("report", "-f", "json", recording)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    processes = json.loads(done.stdout)["processes"]
    assert len(processes) == 1
    return processes[0]


def numbers(value):
    """All numbers in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def impossible(process, lived_ns):
    """Sentences on what cannot be.  lived_ns: how long the process was seen from outside."""
    wrong = [w for w in sums.check(process, open_intervals=True) if "charged" not in w]
    # Holders and waiters account for the same time; the last wait may be with one side only.
    charged, blocked = (sum(t[key] for t in process["threads"]) for key in ("charged_ns", "wait_blocked_ns"))
    longest = max([t["wait"]["max_ns"] for t in process["threads"]], default=0)
    if abs(charged - blocked) > sums.CHARGE_NS + sums.CHARGE_SHARE * blocked + longest:
        wrong.append(f"charged {charged}, blocked {blocked}")
    if any(n < 0 for n in numbers(process)):
        wrong.append("a negative number")
    if process["complete"]:
        wrong.append("it is called complete")
    if process["wall_ns"] > lived_ns:
        wrong.append(f"{process['wall_ns']} ns in a process that lived for {lived_ns}")
    for gil in process["gils"]:
        if gil["held_ns"] + gil["free_ns"] > lived_ns:
            wrong.append(f"GIL held for {gil['held_ns']} ns, free for {gil['free_ns']} ns")
    losses = {k: v for k, v in process["losses"].items() if k in ("truncated", "damaged_bytes", "clock")}
    if losses:
        wrong.append(f"losses {losses}")
    return wrong


def shrunk(before, after, alive):
    """Sentences on what is less in a later report on the same process.  Once it is dead, its end is the last thing that
    it wrote, which may have been before the earlier report."""
    wrong = [f"GIL's {key}: {a[key]}, later {b[key]}" for a, b in zip(before["gils"], after["gils"])
             for key in COUNTS if b[key] < a[key]]
    if len(after["gils"]) < len(before["gils"]):
        wrong.append("a GIL is gone")
    if alive and after["wall_ns"] < before["wall_ns"]:
        wrong.append(f"wall: {before['wall_ns']}, later {after['wall_ns']}")
    return wrong


def kill_once(python, where, n, choose):
    """Runs the program and kills it; (what came of it, sentences on what is wrong)."""
    began, live, wrong = time.monotonic_ns(), [], []
    recording, process = start(python, where, n)
    if n % 4 == 3: # looked at while it runs
        time.sleep(choose.uniform(0.02, 0.15))
        live = [read(recording), read(recording)]
    else:
        time.sleep(choose.uniform(0, 0.22))
    process.kill()
    status = process.wait()
    lived_ns = time.monotonic_ns() - began
    stderr = process.stderr.read().decode()
    process.stderr.close()
    after = read(recording)
    if status != -signal.SIGKILL: # it was faster
        return "ended", ([f"exit status {status}: {stderr}"] if status or stderr else [])
    if after is None:
        return "killed before there was a GIL", wrong
    wrong += impossible(after, lived_ns)
    if all(live) and live:
        wrong += shrunk(live[0], live[1], True) + shrunk(live[1], after, False)
    return "killed" if after["threads"] else "killed without a thread", wrong


def test_a_killed_programs_recording(where):
    """However a program was killed: its file can be read, is not complete, and has no impossible number in it."""
    number = seed()
    choose, seen, wrong = random.Random(number), {}, []
    for n in range(KILLS):
        python = pythons.SUPPORTED[n % len(pythons.SUPPORTED)]
        try:
            what, found = kill_once(python, where, n, choose)
        except AssertionError as error:
            what, found = "not readable", [str(error)]
        seen[what] = seen.get(what, 0) + 1
        wrong += [f"{n} ({python.name}): {sentence}" for sentence in found]
    print(f"seed {number}: {seen}")
    assert seen.get("killed", 0) > KILLS // 4, f"seed {number}: too few were killed while they ran: {seen}"
    assert not wrong, f"GILSCOPE_SEED={number}, {seen}:\n" + "\n".join(wrong[:20])


def test_killed_in_a_take_or_a_release(python, where):
    """Killed in the middle of a take, of the release behind it and so on, a program has not lost what was counted: not
    a hold that is the first of its kind, either, for which there is no place in the histogram yet."""
    versions = where / "versions"
    versions.write_text("GLIBC_2.3.2 { pthread_cond_signal; };\n")
    library = faults.compile_c(faults.FAULTS / "kill-at.c", where, "-shared", "-fPIC",
                               f"-Wl,--version-script={versions}")
    counts = []
    for n in range(1, 31):
        recording = where / f"{n}.gilscope"
        env = gs.clean_env({"LD_PRELOAD": f"{gs.preload()}:{library}", "GILSCOPE": f"output={recording}", "KILL_AT": n})
        done = subprocess.run([python.path, "-c", "import time\nwhile True: time.sleep(0)"], env=env,
                              stderr=subprocess.PIPE, check=False, timeout=20)
        assert done.returncode == -signal.SIGKILL, done
        counts.append(read(recording)["gils"][0]["acquisitions"])
    assert counts == [(n + 1) // 2 for n in range(1, 31)] # killed in a take, in its release, in the next take ...


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_program_that_dies_of_itself(number, where, one_python):
    """A crash leaves a recording as a kill does."""
    code = PROGRAM.replace("for t in threads: t.start()", "for t in threads: t.start()\ntime.sleep(0.05)\nimport os, resource\n"
                           f"resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.kill(os.getpid(), {int(number)})")
    began = time.monotonic_ns()
    recording = gs.run_code(one_python, code, where, expect=128 + number)
    assert impossible(recording.process, time.monotonic_ns() - began) == []
