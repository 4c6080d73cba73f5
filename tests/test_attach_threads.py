# SPDX-License-Identifier: MIT
"""Attached to a program that starts a thread for each piece of work, as many servers do: all of it is measured."""
import json
import os
import subprocess

from helpers import gs, sums, truth
from helpers.attach import READY, Attached, Target, both, need_bpf

N = 40000 if gs.FULL else 8000

# 8,000 threads take far more slots than there are; each holds the GIL for 0.3 ms of its own clock, beside one that
# computes all the time.
MANY = READY + """
import json, threading, time
N, GAP = %d, 0.00075
sys.setswitchinterval(0.0002)
spent, alive = [], []
def long():
    while True: sum(range(2000))
def short():
    begin = time.thread_time()
    while time.thread_time() - begin < 0.0003: pass
    spent.append(time.thread_time() - begin)
threading.Thread(target=long, name="beside").start()
begin = time.monotonic()
for i in range(N):
    alive.append(threading.Thread(target=short))
    alive[-1].start()
    if len(alive) > 8: alive.pop(0).join()
    left = begin + i * GAP - time.monotonic()
    if left > 0.001: time.sleep(left)
for t in alive: t.join()
print(json.dumps(sum(spent)), flush=True)
os._exit(0)
""" % N


def held(t):
    return t["held_oncpu_ns"] + t["held_offcpu_ns"]


def count(process):
    """How many threads a report tells of, the ended ones that have no record of their own included."""
    return sum(t["tid"] != 0 for t in process["threads"]) + process["losses"].get("threads_folded", 0)


def all_are_there(process):
    """A thread that found the GIL free, at once and always, may have left no trace of it; none counts twice."""
    assert N + 2 - N // 500 <= count(process) <= N + 2, (count(process), process["losses"])


def test_threads_that_come_and_go_are_all_measured(one_python, where):
    """Many times more threads than there is room for: none is lost, and waits and holds are the preload library's."""
    need_bpf()
    inside, outside = both(one_python, MANY, where)
    assert not outside["losses"].get("threads"), outside["losses"]
    assert outside["losses"]["threads_folded"] > N / 2
    assert count(inside) == N + 2
    all_are_there(outside)
    assert not sums.check(outside), sums.check(outside)
    for what, of, most in (("held", held, 0.05), ("blocked", lambda t: t["wait_blocked_ns"], 0.05),
                           ("forced", lambda t: t["wait_forced_ns"], 0.05)):
        here, there = (sum(map(of, p["threads"])) / p["wall_ns"] for p in (inside, outside))
        assert abs(here - there) <= most, (what, here, there)
    # The one that goes on has its own account, into which nothing of the others' has come.
    (beside,) = [t for t in outside["threads"] if t["name"] == "beside"]
    same = gs.thread(inside, tid=beside["tid"])
    for what, of in (("held", held), ("blocked", lambda t: t["wait_blocked_ns"]), ("charged", lambda t: t["charged_ns"])):
        assert abs(of(beside) - of(same)) <= 0.05 * max(same["wall_ns"], of(same)), (what, beside, same)
    (ended,) = [t for t in outside["threads"] if t["name"] == "(ended threads)"]
    assert ended["charged_ns"] > 0 and ended["wait_blocked_ns"] > 0


def test_what_ended_threads_spent_is_what_they_measured(one_python, where):
    """The held time of all the short threads together is what their own clocks say; stacks, too, are theirs."""
    need_bpf()
    with Target([one_python.path, "-c", MANY]) as target:
        attached = Attached(target.pid, where)
        target.go()
        spent = json.loads(target.process.stdout.readline())
        assert target.end() == 0
        (process,) = attached.end(ask=False)
    assert not process["losses"].get("threads"), process["losses"]
    all_are_there(process)
    assert not sums.check(process), sums.check(process)
    short = [t for t in process["threads"] if t["name"] not in ("MainThread", "beside")]
    spent_ns = spent * 1e9
    oncpu_ns = sum(t["held_oncpu_ns"] + t["released_oncpu_ns"] for t in short)
    held_ns = sum(t["held_oncpu_ns"] for t in short)
    # Their begin and end take 0.1 ms more on a processor, of which they hold the GIL for a part.
    assert spent_ns <= 1.02 * oncpu_ns and held_ns <= oncpu_ns, (spent_ns, held_ns, oncpu_ns)
    assert held_ns >= 0.9 * spent_ns, (spent_ns, held_ns, oncpu_ns)
    assert "short" in gs.gilscope("report", "--view", "held", "-f", "folded", attached.dir).stdout


RUN = READY + """
import os, runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def measured_twice(python, threads, where, prefix=(), log=0):
    """Threads that time themselves, attached to: (what they say, the report's process)."""
    spec, out = where / "spec.json", where / "out.json"
    spec.write_text(json.dumps({"threads": threads, "duration_ns": 2 * truth.S, "max_log": log, "kind": "native",
                                "pinned": False}))
    env = gs.clean_env({"PYTHONPATH": truth.build(python), "LD_PRELOAD": truth.stamps()})
    with Target([*prefix, python.path, "-c", RUN, truth.SOURCE / "driver.py", spec, out], env=env) as target:
        attached = Attached(target.pid, where)
        target.go()
        target.end()
        (process,) = attached.end(ask=False)
    assert not sums.check(process), sums.check(process)
    return [truth.Measured(one) for one in json.loads(out.read_text())], process


def test_long_waits_are_charged_whole(one_python, where):
    """Whom a starved thread waits for is known however often the GIL changes hands in one wait."""
    need_bpf()
    threads = [truth.spin(truth.MS // 20), truth.spin(truth.MS // 20), truth.io(10 * truth.MS, 5 * truth.MS)]
    measured, process = measured_twice(one_python, threads, where)
    tids = {m.tid for m in measured}
    told = sum(p["ns"] for p in process["blocking"] if {p["waiter_tid"], p["holder_tid"]} <= tids)
    blocked = sum(gs.thread(process, tid=tid)["wait_blocked_ns"] for tid in tids)
    assert told > 0.9 * blocked, (told, blocked)


def test_forced_switch_ends_with_the_lock_of_its_condition(one_python, where):
    """A thread that is woken from a forced switch, and finds its lock with a taker that has no processor, is still in it."""
    need_bpf()
    threads = [truth.asleep(5 * truth.MS, truth.MS), truth.io(truth.MS // 10, truth.MS), truth.io(truth.MS, 3 * truth.MS)]
    measured, process = measured_twice(one_python, threads, where)
    told, true = sum(t["wait_forced_ns"] for t in process["threads"]), sum(m.forced_ns for m in measured)
    assert told > 0.9 * true - truth.MS, (told, true)


def test_holds_that_make_no_call_are_charged(one_python, where):
    """Who takes and gives up the GIL while those who wait have been woken, but have no processor, makes them wait."""
    need_bpf()
    threads = [truth.spin(truth.MS), truth.spin(truth.MS, truth.MS // 10), truth.io(truth.MS, truth.MS),
               truth.io(truth.MS // 10, truth.MS)]
    cpu = str(min(os.sched_getaffinity(0)))
    with subprocess.Popen(["taskset", "-c", cpu, one_python.path, "-c", "while True: pass"]) as neighbour:
        try:
            measured, process = measured_twice(one_python, threads, where, ("taskset", "-c", cpu), log=100000)
        finally:
            neighbour.kill()
    true = sum(ns for ns, _ in truth.overlaps(measured).values())
    told = sum(gs.thread(process, tid=m.tid)["wait_blocked_ns"] for m in measured)
    assert 0.92 * true < told < 1.08 * true, (told, true)


def test_holds_that_nothing_tells_are_charged(one_python, where):
    """Who takes and gives up the GIL, while those who wait have been woken but have no processor, makes them wait: for so
    long as it has the GIL, and not all the time (blocked times were up to 40 % too long)."""
    need_bpf()
    cpu = str(min(os.sched_getaffinity(0)))
    # Of unequal lengths: else all may lose their processor between their holds each time, and nobody waits.
    threads = [truth.spin(held * truth.MS // 1000, free * truth.MS // 1000)
               for held, free in ((200, 200), (230, 170), (170, 260), (290, 210))]
    measured, process = measured_twice(one_python, threads, where, ("taskset", "-c", cpu), log=50000)
    true = sum(ns for ns, _ in truth.overlaps(measured).values())
    told = sum(gs.thread(process, tid=m.tid)["wait_blocked_ns"] for m in measured)
    assert 0.9 * true < told < 1.1 * true, (told, true)


COMPETE = READY + """
import threading, time
end = time.monotonic() + 2.5
def compute():
    while time.monotonic() < end: sum(range(500))
threads = [threading.Thread(target=compute, name=name) for name in "ab"]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_no_wait_is_lost_with_a_switch_that_is_not_told(one_python, where):
    """Some switches from an idle processor have no event: a wait of 5 ms was lost then, or told as a forced switch."""
    need_bpf()
    off = {}
    for i in range(2):
        (where / str(i)).mkdir()
        inside, outside = both(one_python, COMPETE, where / str(i))
        for name in "ab":
            t = gs.thread(inside, name=name)
            u = gs.thread(outside, tid=t["tid"])
            for key in ("wait_blocked_ns", "wait_wakeup_ns", "wait_forced_ns"):
                off[i, name, key] = (u[key] - t[key]) / truth.MS
    assert max(abs(ms) for ms in off.values()) < 4, off
