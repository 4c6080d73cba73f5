# SPDX-License-Identifier: MIT
"""Recordings of earlier versions are kept for ever (tests/recordings): each is reported on as it was then."""
import difflib
import json

import pytest

from helpers import gs, kept, sums

KEPT = ["contended", "forked", "io-bound", "killed", "many-threads", "paused", "stacks"]
MAX_BYTES = 2 << 20


def test_they_are_there():
    """One of each kind, and small enough to be kept."""
    assert set(KEPT) <= set(kept.NAMES)
    assert sum(f.stat().st_size for f in kept.HERE.rglob("*") if f.is_file()) < MAX_BYTES


@pytest.mark.parametrize("kind", kept.KINDS)
@pytest.mark.parametrize("name", kept.NAMES)
def test_the_report_is_what_it_was(name, kind):
    """A report has the figures and words that it had; JSON may have more keys.

    Where a change is meant: tests/recordings/add.py --expect, and look at the difference."""
    now, then = kept.report(name, kind), kept.expected(name, kind)
    if kind == "json":
        old = json.loads(then)
        now, then = (json.dumps(kept.without_new_keys(d, old), indent=1, sort_keys=True) for d in (json.loads(now), old))
    difference = "\n".join(difflib.unified_diff(then.splitlines(), now.splitlines(), "then", "now", n=1, lineterm=""))
    assert not difference, difference[:3000]


@pytest.mark.parametrize("name", kept.NAMES)
def test_the_sums_hold(name, where):
    """What must add up does, in these as in fresh ones; only the killed one is not complete."""
    for process in gs.report(kept.unpack(name, where))["processes"]:
        wrong = sums.check(process, open_intervals=True)
        assert name == "killed" or wrong == []
        assert process["complete"] is (name != "killed")
