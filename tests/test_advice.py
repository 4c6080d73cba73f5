# SPDX-License-Identifier: MIT
"""What the verdict says of a program's threads is so, and its advice fits them."""
import pytest

from helpers import gs, makerec, pythons
from helpers.verdicts import need_cpus, undisturbed

CONVOY = """
import sys, threading, time
end = time.perf_counter() + 2
def hog():
    while time.perf_counter() < end:
        sum(range(1000))
def tick():
    while time.perf_counter() < end:
        time.sleep(0.001)
threads = [threading.Thread(target=hog, name=f"hog-{i}") for i in range(int(sys.argv[1]))]
threads.append(threading.Thread(target=tick, name="ticker"))
for t in threads: t.start()
for t in threads: t.join()
"""

BESIDE_SLEEPERS = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=listener.accept, daemon=True).start()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
end = time.perf_counter() + 2
def compute():
    while time.perf_counter() < end:
        sum(range(1000))
threads = [threading.Thread(target=compute) for _ in range(3)]
for t in threads: t.start()
for t in threads: t.join()
"""


def verdict_of(code, where, *args):
    """The verdict on a program that ran while not too much else did; it does not depend on the interpreter."""
    recording = undisturbed(
        lambda attempt: gs.run_code(pythons.SUPPORTED[-1], code, where, args=args, name=f"rec{attempt}"))
    return recording.process["verdict"]


@pytest.mark.measures
@pytest.mark.parametrize("hogs", [1, 2, 3])
def test_a_convoy_is_behind_one_thread_or_behind_several(where, hogs):
    """One of several threads that compute alike is not told to be in the way, nor to be moved."""
    verdict = verdict_of(CONVOY, where, hogs)
    evidence = [line for line in verdict["evidence"] if line.startswith("Convoy: ticker")]
    assert len(evidence) == 1, verdict
    behind = evidence[0].rsplit(" behind ", 1)[1]
    moved = [line for line in verdict["advice"] if line.startswith("Move what hog-")]
    if hogs == 1:
        assert behind == "hog-0." and moved, verdict
    else:
        assert behind == "several others that compute." and not moved, verdict
    assert any("setswitchinterval" in line for line in verdict["advice"]), verdict


SORTING = """
import threading, time
end = time.perf_counter() + 3
data = [i * 7919 % 600011 for i in range(600011)]
def sort():
    while time.perf_counter() < end: sorted(data)
def tick():
    while time.perf_counter() < end: time.sleep(0.001)
threads = [threading.Thread(target=sort, name="sorter"), threading.Thread(target=tick, name="ticker")]
for t in threads: t.start()
for t in threads: t.join()
"""


@pytest.mark.measures
def test_who_keeps_the_gil_is_not_to_be_asked_sooner(where):
    """A call that does not let go of the GIL does not do so after a shorter interval either; and nobody can have sort()
    let go of it."""
    verdict = verdict_of(SORTING, where)
    assert any(line.startswith("sorter kept the GIL for") for line in verdict["evidence"]), verdict
    assert any(line.startswith("Convoy: ticker") for line in verdict["evidence"]), verdict
    assert not any("setswitchinterval" in line for line in verdict["advice"]), verdict
    assert any("sorter makes calls" in line and "sort(), re or gc.collect(), cannot" in line for line in verdict["advice"])


def test_what_one_thread_does_alone_is_not_done_beside_others(where):
    """What the main thread did before it started the others, nobody can do at the same time as what these do."""
    make, half = makerec.Maker(seconds=3), dict(start_ticks=makerec.START + 1_500_000_000, released_ticks=0)
    make.thread("MainThread", held=1.5, flags=1, lock_wait_ticks=1_500_000_000)   # joins
    one = make.thread("one", held=0.75, blocked=0.75, charged=0.75, **half)
    two = make.thread("two", held=0.75, blocked=0.75, charged=0.75, **half)
    make.blocking(one, two, 0.75e9)
    make.blocking(two, one, 0.75e9)
    process, = gs.report(make.write(where))["processes"]
    assert process["verdict"]["speedup_without_gil"]["high"] == pytest.approx(3 / 2.25, abs=0.01)


def test_what_one_look_found_has_no_row_of_its_own(where):
    """Of threads that live for some milliseconds and were seen once, only all together are known."""
    make = makerec.Maker()
    make.put_header(source=3)
    make.thread("MainThread", held=0.1, blocked=0.5, flags=1)
    for i in range(60):
        make.thread(f"short-{i}", held=0.01, charged=0.008, start_ticks=makerec.START, released_ticks=0,
                    end_ticks=makerec.START + 10_000_000, error_ppm=1_000_000)
    text = gs.gilscope("report", make.write(where)).stdout
    assert "60 others, together" in text and "short-" not in text.split("WHO WAITS")[0], text


@pytest.mark.measures
def test_threads_that_sleep_do_not_limit_the_speedup(where):
    """Two of three that compute could run at a time: that another one accepts connections meanwhile changes nothing."""
    need_cpus({"cpus": 2})
    verdict = verdict_of(BESIDE_SLEEPERS, where)
    assert verdict["class"] == "gil-bound", verdict
    assert verdict["speedup_without_gil"]["high"] > 1.4, verdict
    assert any("times as fast" in line for line in verdict["advice"]), verdict


INTERPRETERS = """
import _xxsubinterpreters as interpreters, threading
def use():
    one = interpreters.create()
    interpreters.run_string(one, "sum(range(10_000_000))")
    interpreters.destroy(one)
threads = [threading.Thread(target=use) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
"""


def test_holds_are_told_of_the_gil_that_they_were_of(where):
    """The first GIL was not held for longer at a time than in all, nor were those of other interpreters for 0 s."""
    own = [p for p in pythons.SUPPORTED if p.version[:2] == (3, 12)]
    if not own:
        pytest.skip("no CPython 3.12 here")
    recording = gs.run_code(own[0], INTERPRETERS, where)
    assert len(recording.process["gils"]) == 3
    lines = [line for line in gs.gilscope("report", recording.dir).stdout.splitlines() if line.startswith("GIL ")]
    assert len(lines) == 3 and all("switch" in line and "max" not in line for line in lines), lines


def test_lost_threads_make_the_verdict_unsure(where):
    """A server that starts a thread for each request has more of them than there is room for: most of it is not told."""
    sure, unsure = [], []
    for name, lost, verdicts in (("all", 0, sure), ("some", 7, unsure)):
        make = makerec.Maker()
        for i in range(3):
            make.thread(f"worker-{i}", held=0.3, blocked=0.6, charged=0.6)
        make.put_header(losses=[0, lost])
        verdicts.append(gs.report(make.write(where, name))["processes"][0]["verdict"])
    assert sure[0]["class"] == unsure[0]["class"] == "gil-bound"
    assert unsure[0]["confidence"] < 0.35 * sure[0]["confidence"], (sure, unsure)
    assert any(line.startswith("70 % of the threads were not measured") for line in unsure[0]["evidence"]), unsure
    assert not any("not measured" in line for line in sure[0]["evidence"]), sure
