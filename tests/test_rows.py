# SPDX-License-Identifier: MIT
"""The matrix of a program in which more threads come and go than a waiter's row has room for."""
import pytest

from helpers import gs, sums

PROGRAM = """
import threading, time
def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: sum(range(200))
over = False
def wait():
    while not over: time.sleep(0.0005)
waiter = threading.Thread(target=wait, name="waiter")
waiter.start()
for n in range(150):
    thread = threading.Thread(target=compute, args=(0.015,), name=f"short-{n}")
    thread.start(); thread.join()
last = threading.Thread(target=compute, args=(1.5,), name="last")
last.start(); last.join()
over = True
waiter.join()
"""


@pytest.mark.few_pythons
def test_a_holder_that_comes_late(python, where):
    """What a thread waited for a holder is known, though 150 others have held the GIL before it; the others' part that has
    no room is told as such, and everything adds up."""
    process = gs.run_code(python, PROGRAM, where).process
    assert not sums.check(process)
    waiter, last = gs.thread(process, name="waiter"), gs.thread(process, name="last")
    pair = [p["ns"] for p in process["blocking"]
            if (p["waiter_tid"], p["holder_tid"]) == (waiter["tid"], last["tid"])]
    others = sum(p["ns"] for p in process["blocking"] if p["waiter_tid"] == waiter["tid"] and not p["holder_tid"])
    assert sum(pair) > 0.9 * last["charged_ns"] > 0.2e9, (pair, last)
    assert 0 < others < 0.5 * waiter["wait_blocked_ns"], (others, waiter)
    assert process["losses"]["pairs"] > 0, process["losses"]


PROGRAM_OF_SEVERAL = PROGRAM.replace("range(150)", "range(100)").replace("0.015", "0.025").replace("""
last = threading.Thread(target=compute, args=(1.5,), name="last")
last.start(); last.join()
""", """
late = [threading.Thread(target=compute, args=(2,), name=f"late-{n}") for n in range(3)]
for thread in late: thread.start()
for thread in late: thread.join()
""")


@pytest.mark.few_pythons
def test_holders_that_come_late_take_turns(python, where):
    """Several that come late and hold the GIL in turn all have an entry: they do not take one from each other."""
    process = gs.run_code(python, PROGRAM_OF_SEVERAL, where).process
    assert not sums.check(process)
    waiter = gs.thread(process, name="waiter")
    late = {t["tid"] for t in process["threads"] if t["name"].startswith("late-")}
    pairs = [p["ns"] for p in process["blocking"] if p["waiter_tid"] == waiter["tid"] and p["holder_tid"] in late]
    others = sum(p["ns"] for p in process["blocking"] if p["waiter_tid"] == waiter["tid"] and not p["holder_tid"])
    assert len(late) == len(pairs) == 3, (late, pairs)
    assert sum(pairs) > others > 0, (pairs, others, waiter)
    assert process["losses"]["pairs"] > 0, process["losses"]


PROGRAM_OF_MANY = """
import threading
def short(): sum(i * i for i in range(1000))
for _ in range(900):
    threads = [threading.Thread(target=short) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_thousands_that_have_ended_are_known_together(one_python, where):
    """A thread that starts thousands of short ones and waits for them knows that it waited for ended threads: what it
    waited for one of them goes to them all once nobody can tell it apart, not to nobody."""
    process = gs.run_code(one_python, PROGRAM_OF_MANY, where).process
    assert not sums.check(process)
    losses = process["losses"]
    assert losses["threads_folded"] > 5000
    assert losses.get("pairs", 0) < 0.5 * losses["threads_folded"], losses
