# SPDX-License-Identifier: MIT
"""Stacks through what others have compiled or switch: the merged ones of Cython's functions and of greenlets."""
import shutil
import subprocess

import pytest

from helpers import beside, gs
from test_stacks import eventually

pytestmark = pytest.mark.measures
PROGRAMS = gs.REPO / "tests" / "frames"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """The report of a program whose threads go through both."""
    where = tmp_path_factory.mktemp("through")
    cython = beside.need_program("cython3", "cython3")
    beside.need_module("greenlet", "python3-greenlet")
    shutil.copy(PROGRAMS / "compiled.pyx", where)
    subprocess.run([cython, "compiled.pyx"], cwd=where, check=True)
    config = subprocess.run([beside.SYSTEM_PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
                            check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.strip()
    subprocess.run(["gcc", "-O1", "-w", "-shared", "-fPIC", f"-I{config}", "-o", "compiled.so", "compiled.c"], cwd=where,
                   check=True)
    found = []

    def check(i):
        recording = gs.run([beside.SYSTEM_PYTHON, PROGRAMS / "through.py", where, 2], where, name=f"rec{i}")
        found.append(recording.process)
        enough = [s["ns"] for s in found[-1]["stacks"] if s["view"] == "held" and "python_keeps" in names(s)]
        return [] if sum(enough) > 5e7 else [f"{enough}"]
    eventually(check)
    return found[-1]


def names(stack):
    return [f["function"] for f in stack["frames"]]


def ns(process, view, *chain, leaf=None):
    """Time of the stacks with these functions in this order, from the root; leaf: what the last one's name ends with."""
    total = 0
    for s in process["stacks"]:
        rest = iter(names(s))
        if s["view"] == view and all(any(n == part or n.endswith(part) for n in rest) for part in chain):
            total += s["ns"] if leaf is None or names(s)[-1].endswith(leaf) else 0
    return total


def test_functions_of_cython_are_told(process):
    """What keeps the GIL has Cython's function behind its line of Python, and so has what lets it go."""
    kept = ns(process, "held", "work", "python_keeps")
    assert ns(process, "held", "work", "python_keeps", "keeps", leaf="keeps") > 0.8 * kept > 0
    assert ns(process, "charged", "work", "python_keeps", "keeps") > 0.8 * ns(process, "charged", "python_keeps")
    gone = ns(process, "released", "work", "python_lets_go")
    assert ns(process, "released", "work", "python_lets_go", "lets_go") > 0.8 * gone > 0
    call, = (c for c in process["calls_that_should_release"] if c["function"].endswith("keeps"))
    assert call["caller"]["function"] == "python_keeps"
    assert not [c for c in process["calls_that_should_release"] if c["function"].endswith("lets_go")]
    module, = (m for m in process["modules"] if m["path"].endswith("compiled.so"))
    assert module["held_ns"] > 0.8 * kept and module["released_ns"] > 0.8 * gone


def test_methods_of_cython_are_told(process):
    """So has a method of an extension type, which Cython since 3.0 makes a function of its own (binding=True)."""
    kept = ns(process, "held", "work", "method_keeps")
    assert ns(process, "held", "work", "method_keeps", leaf="churns") > 0.8 * kept > 0
    call, = (c for c in process["calls_that_should_release"] if c["function"].endswith("churns"))
    assert call["caller"]["function"] == "method_keeps"


def test_callbacks_from_cython_are_between_its_frames(process):
    """Python called by Cython that Python called, twice over: each frame is in its place."""
    asleep = ns(process, "released", "sleeps")
    both = ns(process, "released", "called", "calls_back", "sleeps") + ns(
        process, "released", "nested", "fill", "<lambda>", "calls_back", "sleeps")
    assert both > 0.9 * asleep > 0
    assert ns(process, "released", "nested", "fill", "<lambda>", "calls_back", "sleeps") > 0.1 * asleep


def test_greenlets_have_stacks_of_their_own(process):
    """A greenlet's frames begin with its own function; nothing of another one's, or of the thread's, is mixed in."""
    thread, = (t for t in process["threads"] if t["name"] == "greens")
    mine = [s for s in process["stacks"] if s["tid"] == thread["tid"] and s["view"] == "released"]
    for function, inner in ("one", "in_one"), ("two", "in_two"):
        stacks = [s for s in mine if inner in names(s)]
        assert sum(s["ns"] for s in stacks) > 0.3 * sum(s["ns"] for s in mine)
        assert all(names(s)[:2] == [function, inner] and "greens" not in names(s) for s in stacks)
