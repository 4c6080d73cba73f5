# SPDX-License-Identifier: MIT
"""Each labelled program gets the verdict that its label says, with numbers that back it.

tests/programs/labels.json: program -> class (or the list of classes that the definitions allow), the reason, and what
else must hold: cpus, the processors that it needs; children, the class of its child processes; lost_wakeups and
held_offcpu, what the report must have seen.
"""
import atexit
import functools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import gs, pythons
from helpers.verdicts import DURATION_S, IDLE_S, LABELS, PROGRAMS, classes, describe, need_cpus, undisturbed


def programs():
    """Each of them on the system's own interpreter (static, stripped) and on the oldest and the newest one: the rules do not
    depend on the version, so that without --full each other one of them has some only."""
    first, *others = pythons.FEW
    for i, name in enumerate(LABELS):
        yield pytest.param(name, first, id=f"{name}-{first.name}")
        for k, interpreter in enumerate(others):
            yield pytest.param(name, interpreter, id=f"{name}-{interpreter.name}",
                               marks=() if i % 6 == 3 * k else pytest.mark.full)


QUIET = [name for name, label in LABELS.items() if set(classes(label["class"])) <= {"idle", "io-bound"}]


@functools.lru_cache(maxsize=None)
def quiet_recordings(interpreter):
    """{name: recording} of the programs that use next to nothing of processors, all at the same time."""
    where = Path(tempfile.mkdtemp(prefix="gilscope-quiet-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)

    def act(attempt):
        with ThreadPoolExecutor(len(QUIET)) as pool:
            return dict(zip(QUIET, pool.map(lambda name: record(name, interpreter, where, f"{name}-{attempt}"), QUIET)))
    try:
        return undisturbed(act)
    except pytest.skip.Exception as skipped:  # of all of them, and once
        return dict.fromkeys(QUIET, skipped)


def record(name, interpreter, where, recording="rec"):
    seconds = IDLE_S if name in QUIET else DURATION_S
    return gs.run([interpreter.path, "-B", str(PROGRAMS / f"{name}.py"), str(seconds)], where, name=recording)


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


@pytest.mark.measures
@pytest.mark.parametrize("name,interpreter", list(programs()))
def test_program_gets_the_verdict_of_its_label(name, interpreter, where):
    """The class is one that the label allows, for the program and for its children."""
    label = LABELS[name]
    need_cpus(label)
    recording = quiet_recordings(interpreter)[name] if name in QUIET else undisturbed(
        lambda attempt: record(name, interpreter, where, f"rec{attempt}"))
    if isinstance(recording, pytest.skip.Exception):
        raise recording
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
