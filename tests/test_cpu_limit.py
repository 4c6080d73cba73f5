# SPDX-License-Identifier: MIT
"""A limit of the control group: it is told, and where it is what holds a program up, the verdict says so and promises
nothing of the GIL."""
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from helpers import faults, gs
from helpers.attach import Attached, Target, need_bpf
from helpers.makerec import Maker

QUOTA_US, PERIOD_US = 10000, 100000 # little enough to be reached beside other tests, too
COMPUTE = """
import sys, threading, time
end = time.monotonic() + 3
def compute():
    while time.monotonic() < end: sum(range(2000))
threads = [threading.Thread(target=compute) for _ in range(int(sys.argv[1]))]
for t in threads: t.start()
for t in threads: t.join()
"""


def make_group(where):
    """A control group with a limit: its path, or None."""
    for root in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        group = root / f"gilscope-test-{os.getpid()}-{where.name}"
        try:
            group.mkdir()
            if root.name == "cpu":
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
            else:
                (group / "cpu.max").write_text(f"{QUOTA_US} {PERIOD_US}")
            return group
        except OSError:
            subprocess.run(["rmdir", str(group)], check=False, stderr=subprocess.PIPE)
    return None


@pytest.fixture
def group(where):
    faults.needs_root()
    path = make_group(where)
    if path is None:
        pytest.skip("no cpu controller that can be used here")
    yield path
    subprocess.run(["rmdir", str(path)], check=False)


def inside(group, *command):
    """The command, as a member of the group from its start."""
    return ["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec \"$@\"", "sh", *map(str, command)]


def check(process, threads):
    """What a process says that computes in so many threads."""
    assert process["cpu_limit"] == QUOTA_US / PERIOD_US
    assert process["cpus"] == len(os.sched_getaffinity(0))
    verdict = process["verdict"]
    assert verdict["class"] == "cpu-starved", verdict
    assert verdict["speedup_without_gil"] == {"low": 1, "high": 1}, verdict
    assert any("may use 0.1 processors" in line for line in verdict["evidence"]), verdict
    assert process["cpu_limit_periods"] > 20 and process["cpu_limit_reached"] > 15, process
    assert any(line.startswith("In ") and "the limit was reached" in line for line in verdict["evidence"]), verdict
    assert verdict["advice"][0].startswith("Raise the limit of its control group (0.1 processors;"), verdict
    computed = sum(t["held_oncpu_ns"] for t in process["threads"])
    held = sum(t["held_oncpu_ns"] + t["held_offcpu_ns"] for t in process["threads"])
    assert held > 0.6 * process["wall_ns"] > 2 * computed, (computed, held) # threads, of which one has the GIL, stand; starting takes long, too
    assert threads == 1 or process["gils"][0]["contended"] > 10


@pytest.mark.few_pythons
@pytest.mark.parametrize("threads", [1, 4])
def test_limit(python, where, group, threads):
    """Threads that want the GIL wait for processors, not for it: without it they would have no more of them."""
    script = where / "compute.py"
    script.write_text(COMPUTE)
    recording = gs.run(inside(group, python.path, script, threads), where)
    check(recording.process, threads)
    text = gs.gilscope("report", recording.dir).stdout
    assert f" CPU{'s' * (len(os.sched_getaffinity(0)) > 1)} limited to 0.1 " in text, text


def test_killed(one_python, where, group):
    """Neither is what was killed taken to wait for the GIL."""
    script = where / "compute.py"
    script.write_text(COMPUTE.replace("for t in threads: t.join()", "time.sleep(2.5); os.kill(os.getpid(), 9)")
                      .replace("import sys", "import os, sys").replace("+ 3", "+ 9"))
    verdict = gs.run(inside(group, one_python.path, script, 4), where, expect=137).process["verdict"]
    assert verdict["class"] == "cpu-starved", verdict


def test_attached(one_python, where, group):
    """The collectors read it of the process that they are attached to."""
    need_bpf()
    script = where / "compute.py"
    script.write_text("import os\nprint('ready', os.getpid(), flush=True)\ninput()" + COMPUTE)
    for method in ("bpf", "sample"):
        with Target(inside(group, one_python.path, script, 4)) as target:
            attached = Attached(target.pid, where, method=method, name=method)
            target.go()
            target.end()
            (process,) = attached.end(ask=False)
        assert process["cpu_limit"] == QUOTA_US / PERIOD_US
        assert process["cpu_limit_reached"] > 10, process


def test_doctor(group):
    """It says what limit a process has."""
    with subprocess.Popen(inside(group, "sleep", "60")) as process:
        try:
            for _ in range(50): # until it is in the group
                text = gs.gilscope("doctor", str(process.pid)).stdout
                if "limited to" in text:
                    break
                time.sleep(0.1)
        finally:
            process.kill()
    assert re.search(r"^  processors +note +\d+ CPUs? limited to 0.1 by a control group", text, re.M), text


def test_none(one_python, where):
    """Without a limit nothing is said of one."""
    recording = gs.run_code(one_python, "pass", where)
    if "cpu_limit" in recording.process:
        pytest.skip(f"these tests themselves run with a limit: {recording.process['cpu_limit']}")
    assert "limited" not in gs.gilscope("report", recording.dir).stdout


def test_next_to_no_processor(one_python, where):
    """A program that computes and gets next to nothing of its only processor is not idle."""
    script, cpu = where / "compute.py", str(min(os.sched_getaffinity(0)))
    script.write_text(COMPUTE.replace("+ 3", "+ 5"))
    with subprocess.Popen(["taskset", "-c", cpu, "sh", "-c", "while :; do :; done"]) as neighbour:
        try:
            recording = gs.run(["taskset", "-c", cpu, "nice", "-n", "10", one_python.path, script, 1], where)
        finally:
            neighbour.kill()
    verdict = recording.process["verdict"]
    assert verdict["class"] == "cpu-starved", verdict


def of_numbers(where, limit_milli, cpus=4, held=0.5, **values):
    """The process of a made recording, in which one thread waits for what the other one holds."""
    made = Maker(cpus=cpus)
    made.put_header(cpu_limit_milli=limit_milli, **values)
    made.thread("one", held=held)
    made.thread("other", blocked=held)
    return gs.report(made.write(where, name=f"limit-{limit_milli}-{len(list(where.iterdir()))}"))["processes"][0]


def test_one_processor_of_several(where):
    """Where a limit leaves a processor or less, it is told as that, though it is not reached."""
    for limit, words in ((800, "It may use 0.8 processors only, by the limit"), (1000, "one processor only, by the limit"),
                         (2000, None)):
        advice = " ".join(of_numbers(where, limit)["verdict"]["advice"])
        assert (words in advice) if words else "only" not in advice, (limit, advice)
    assert "It may use one processor only: " in " ".join(of_numbers(where, 0, cpus=1)["verdict"]["advice"])


def test_numbers_that_cannot_be(where):
    """Of a damaged recording: periods that end before they began, more of them reached than there were."""
    for start, start_throttled, end, end_throttled in ((9, 9, 5, 5), (0, 9, 5, 5), (0, 0, 5, 2**64 - 1),
                                                       (0, 0, 2**64 - 1, 2**64 - 1)):
        process = of_numbers(where, 1000, cpu_start_periods=start, cpu_start_throttled=start_throttled,
                             cpu_end_periods=end, cpu_end_throttled=end_throttled)
        periods, reached = process.get("cpu_limit_periods", 0), process.get("cpu_limit_reached", 0)
        assert 0 <= reached <= periods < 2**63, process
        assert bool(periods) == (end > start and end_throttled >= start_throttled), process
    assert of_numbers(where, 2**32 - 1)["verdict"]["class"]
