# SPDX-License-Identifier: MIT
"""A process ends as it would without the library, whatever the library still has to write down."""
import subprocess
from pathlib import Path

from helpers import gs

DAEMONS = """
import threading, time
def work():
    while True:
        sum(range(1000))
for _ in range(8): threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
"""
RUNS = 5


def test_daemon_threads_that_wait_at_the_end(python, where):
    """CPython 3.9 and 3.10 let a daemon thread that has waited for the GIL for an interval write to memory that
    Py_FinalizeEx() has freed: the time that the library takes for the end must not give it the opportunity."""
    slow = where / "slow_end.so"
    gs.compile_c(Path(__file__).parent / "faults" / "slow_end.c", slow, "-shared", "-fPIC", "-ldl")
    ends = []
    for i in range(RUNS):
        recording = where / f"{i}.gilscope"
        env = gs.clean_env({"LD_PRELOAD": f"{gs.preload()}:{slow}", "GILSCOPE": f"output={recording}"})
        done = subprocess.run([python.path, "-c", DAEMONS], env=env, timeout=60, check=False, stderr=subprocess.PIPE, text=True)
        ends.append((done.returncode, done.stderr))
        (process,) = gs.report(recording)["processes"]
        assert process["complete"] and len(process["threads"]) == 9
    assert ends == [(0, "")] * RUNS


JOINED = """
import ctypes, sys, threading, time
joins, libc = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(None)
longest = 0
def burn():
    global longest
    while True:
        before = turns
        begin = time.thread_time()
        while turns == before:
            sum(range(1000))
        longest = max(longest, time.thread_time() - begin)
def take_turns():
    global turns, longest
    while not ends:
        time.sleep(0.001)
    time.sleep(0.1)
    turns, longest = 1, 0
    for turns in range(2, 22):
        time.sleep(0.001)
    print(longest < 0.5, flush=True)
    joins.is_over()
ends, turns = False, 0
for work in burn, take_turns: threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
ends = True
libc.exit(0)
"""


def test_threads_that_work_on_at_the_end(python, where):
    """Without Py_FinalizeEx(), Python's threads go on until the process is gone, and its destructors may wait for them: who
    waits for the GIL then gets it as soon as ever, and not when the holder has used a second."""
    library = where / "joins_at_end.so"
    gs.compile_c(Path(__file__).parent / "faults" / "joins_at_end.c", library, "-shared", "-fPIC")
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={where / 'end.gilscope'}"})
    done = subprocess.run([python.path, "-c", JOINED, library], env=env, timeout=60, check=False, stdout=subprocess.PIPE,
                          text=True)
    assert (done.returncode, done.stdout) == (0, "True\n")
