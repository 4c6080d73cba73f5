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
