# SPDX-License-Identifier: MIT
"""Each labelled program gets the verdict that its label says, with numbers that back it.

tests/programs/labels.json: program -> class (or the list of classes that the definitions allow), the reason, and what
else must hold: cpus, the processors that it needs; children, the class of its child processes; lost_wakeups and
held_offcpu, what the report must have seen.
"""
import json
import os
import resource
import time
from pathlib import Path

import pytest

from helpers import gs, pythons

PROGRAMS = Path(__file__).resolve().parent / "programs"
LABELS = json.loads((PROGRAMS / "labels.json").read_text(encoding="utf-8"))
DURATION_S = 1.5
# A verdict is only compared while the rest of the machine left the program its processors.
NEIGHBOURS_MAX_CPUS = 0.25
ATTEMPTS = 4
CPUS = len(os.sched_getaffinity(0))


def few_pythons():
    """Debian's own (static, stripped) and the oldest and newest: the rules do not depend on the version in between."""
    system = [p for p in pythons.SUPPORTED if p.path.startswith("/usr/bin/")][:1]
    return list(dict.fromkeys(system + [pythons.SUPPORTED[0], pythons.SUPPORTED[-1]]))


def busy_cpu_s():
    """CPU time, in seconds, that was not idle on all processors since the boot; stolen by the hypervisor counts too."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", maxsplit=1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_cpu_s():
    """CPU time, in seconds, of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def run_undisturbed(command, where):
    """Runs a program until others used little of the machine meanwhile; the recording, or a skip after ATTEMPTS."""
    for attempt in range(ATTEMPTS):
        start, busy, own = time.monotonic(), busy_cpu_s(), own_cpu_s()
        recording = gs.run(command, where, name=f"rec{attempt}")
        elapsed = time.monotonic() - start
        others = (busy_cpu_s() - busy - (own_cpu_s() - own)) / elapsed
        if others <= NEIGHBOURS_MAX_CPUS:
            return recording
        time.sleep(1)
    return pytest.skip(f"other processes use {others:.2f} processors: verdicts would be about them")


def classes(label):
    return label if isinstance(label, list) else [label]


def describe(process):
    verdict = process["verdict"]
    lines = [f"{verdict['class']} ({verdict['confidence']}): {verdict['summary']}"]
    lines += [f"  {line}" for line in verdict["evidence"]]
    return "\n".join(lines)


def check_shape(process):
    """What every verdict has, whatever its class."""
    verdict = process["verdict"]
    assert 0 <= verdict["confidence"] <= 1
    assert verdict["summary"] and verdict["evidence"] and verdict["advice"]
    assert any(c.isdigit() for line in verdict["evidence"] for c in line), "evidence without a number"
    speedup = verdict["speedup_without_gil"]
    assert 1 <= speedup["low"] <= speedup["high"] <= max(1, process["cpus"]) * 1.05
    if verdict["class"] in ("idle", "io-bound", "lock-bound", "single-threaded", "cpu-starved"):
        assert speedup["high"] <= 1.35, "promises what the removal of the GIL cannot give"


@pytest.mark.parametrize("interpreter", few_pythons(), ids=lambda p: p.name)
@pytest.mark.parametrize("name", LABELS)
def test_program_gets_the_verdict_of_its_label(name, interpreter, where):
    """The class is one that the label allows, for the program and for its children."""
    label = LABELS[name]
    if label.get("cpus", 1) > CPUS:
        pytest.skip(f"needs {label['cpus']} processors, has {CPUS}")
    recording = run_undisturbed([interpreter.path, "-B", str(PROGRAMS / f"{name}.py"), str(DURATION_S)], where)
    by_pid = {p["pid"]: p for p in recording.processes}
    parents = [p for p in recording.processes if p["ppid"] not in by_pid]
    assert len(parents) == 1, [p["command"] for p in recording.processes]
    parent = parents[0]
    check_shape(parent)
    assert parent["verdict"]["class"] in classes(label["class"]), f"{label['reason']}\n{describe(parent)}"

    children = [p for p in recording.processes if p is not parent]
    if "children" in label:
        assert children
    for child in children:
        check_shape(child)
        assert child["verdict"]["class"] in classes(label.get("children", [])), describe(child)
    if label.get("lost_wakeups"):
        assert parent["gils"][0]["lost_wakeups"] > 0
        assert any("lost" in line or "starv" in line for line in parent["verdict"]["evidence"])
    if label.get("held_offcpu"):
        assert parent["gils"][0]["held_offcpu_ns"] > 0.4 * parent["gils"][0]["held_ns"]


def test_every_program_has_a_label():
    """No program is run without a label, no label is left without its program."""
    assert {p.stem for p in PROGRAMS.glob("*.py")} - {"common"} == set(LABELS)
