# SPDX-License-Identifier: MIT
"""Attached to by BPF, each labelled program gets the verdict that its label says, as it does under the preload library."""
import pytest

from helpers import gs, pythons
from helpers.attach import READY, Attached, Target, need_bpf
from helpers.verdicts import DURATION_S, LABELS, PROGRAMS, classes, describe, need_cpus, undisturbed

pytestmark = pytest.mark.measures
RUN = READY + """
import runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
INTERPRETERS = pythons.SYSTEM + pythons.SUPPORTED[-1:]


def attach(interpreter, name, where):
    with Target([interpreter.path, "-B", "-c", RUN, PROGRAMS / f"{name}.py", DURATION_S]) as target:
        attached = Attached(target.pid, where, "-s", name="attached")
        target.go()
        target.end(timeout=120)
        return attached.end(ask=False)


@pytest.mark.parametrize("interpreter", INTERPRETERS if gs.FULL else INTERPRETERS[-1:], ids=lambda p: p.name)
@pytest.mark.parametrize("name", LABELS)
def test_program_gets_the_verdict_of_its_label(name, interpreter, where):
    """The class is one that the label allows, for the program and for its children, seen from outside."""
    need_bpf()
    label = LABELS[name]
    need_cpus(label)

    def act(attempt):
        place = where / str(attempt)
        place.mkdir()
        return attach(interpreter, name, place)

    processes = undisturbed(act)
    by_pid = {p["pid"]: p for p in processes}
    (parent,) = [p for p in processes if p["ppid"] not in by_pid]
    assert parent["source"] == "bpf"
    assert parent["verdict"]["class"] in classes(label["class"]), f"{label['reason']}\n{describe(parent)}"
    if label.get("lost_wakeups"):
        assert parent["gils"][0]["lost_wakeups"] > 0
    if label.get("held_offcpu"):
        assert parent["gils"][0]["held_offcpu_ns"] > 0.4 * parent["gils"][0]["held_ns"]
