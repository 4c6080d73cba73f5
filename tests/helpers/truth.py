# SPDX-License-Identifier: MIT
"""Runs mixes of threads that time themselves (tests/truth) under gilscope, and compares the two accounts."""
import json
import os
import subprocess
import time
from bisect import bisect_left
from collections import namedtuple
from pathlib import Path

import pytest

from helpers import gs

SOURCE = gs.REPO / "tests" / "truth"
US, MS, S = 1000, 1000 * 1000, 1000 * 1000 * 1000

# gilscope and the extension may differ by this much: 1 % or 100 us, whichever is larger, and the extension's own calls.
# The extension's sums come in two kinds: by the stamps around its calls into CPython (hold_ns, save_ns, wait_ns), and
# by the instants at which the GIL changed hands within those (exact_hold_ns, forced_ns, exact_wait_ns; see stamps.c).
# Those take 0.3 us a cycle at most, more where the machine is slower just now than one that reads a byte of /dev/zero in
# USUAL_READ_NS.
SHARE, FLOOR_NS, PER_CYCLE_NS = 0.01, 100 * US, 300
USUAL_READ_NS, READS = 220, 5000
pace = [1]  # how much slower it was when the last mix ran


def measure_pace():
    with open("/dev/zero", "rb", buffering=0) as zero:
        fd, read, took = zero.fileno(), os.read, []
        for _ in range(3):
            start = time.perf_counter_ns()
            for _ in range(READS):
                read(fd, 1)
            took.append((time.perf_counter_ns() - start) / READS)
    return max(1, min(took) / USUAL_READ_NS)


def per_cycle_ns():
    return PER_CYCLE_NS * pace[0]


def spin(hold_ns, release_ns=0, cpu=False):
    """A thread that keeps the GIL, then lets go of it, busy all the time."""
    return [hold_ns, 0, release_ns, 0, int(cpu)]


def io(hold_ns, release_ns, cpu=False):
    """A thread that works with the GIL, then sleeps without it."""
    return [hold_ns, 0, release_ns, 1, int(cpu)]


def asleep(hold_ns, release_ns=0, cpu=False):
    """A thread that sleeps and keeps the GIL meanwhile, then is busy without it."""
    return [hold_ns, 1, release_ns, 0, int(cpu)]


def compile_shared(target, source, *options):
    """Makes a shared library, unless it is there and newer than all of the sources."""
    newest = max(file.stat().st_mtime for file in SOURCE.iterdir() if file.is_file())
    if not target.exists() or target.stat().st_mtime < newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_suffix(f".{os.getpid()}")
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread", *options,
                        str(SOURCE / source), "-o", str(made)], check=True)
        made.rename(target)
    return target


def build(python):
    """The directory of the extension, built for this interpreter if it is not there yet."""
    if not python.has_headers:
        pytest.skip(f"{python.path} has no C headers in {python.include}")
    where = gs.WORK / "truth" / f"{python.name}{python.path.replace('/', '_')}"
    return compile_shared(where / "_giltruth.so", "_giltruth.c", f"-I{python.include}").parent


def places():
    """The library of tests/truth/places.c."""
    return compile_shared(gs.WORK / "truth" / "places.so", "places.c")


def constructor():
    """The library whose constructor takes the GIL."""
    return compile_shared(gs.WORK / "truth" / "constructor.so", "constructor.c")


def stamps():
    """The library that tells the extension the instants of the changes of hands, to be preloaded."""
    return compile_shared(gs.WORK / "truth" / "stamps.so", "stamps.c",
                          f"-Wl,--version-script={SOURCE / 'stamps.map'}")


Cycle = namedtuple("Cycle", "want taken leave left got gone")  # CLOCK_MONOTONIC ns, see _giltruth.c


class Measured:
    """What one thread measured of itself."""

    def __init__(self, result):
        log = result.pop("log")
        self.__dict__.update(result)
        assert self.stamped, "stamps.so was not preloaded"
        self.log = [Cycle(*log[i:i + 6]) for i in range(0, len(log), 6)]

    def tolerance(self, value_ns):
        return max(SHARE * value_ns, FLOOR_NS) + per_cycle_ns() * self.cycles


def run_mix(python, threads, where, ms=500, kind="native", log=0, pinned=False, name="mix", **kwargs):
    """Runs a mix; returns (recording, [Measured]).  pinned: each thread has a processor, as far as they go.

    Without stacks: taking one costs a thread a few microseconds about once in a millisecond, which an extension that
    looks at its calls from outside sees as a wait.  What that costs is for bench/overhead.py --stacks.
    """
    where = Path(where)
    spec, out = where / f"{name}.spec.json", where / f"{name}.truth.json"
    spec.write_text(json.dumps({"threads": threads, "duration_ns": ms * MS, "max_log": log, "kind": kind,
                                "pinned": pinned}))
    env = dict(kwargs.pop("env", {}), PYTHONPATH=build(python), LD_PRELOAD=stamps())
    recording = gs.run([python.path, SOURCE / "driver.py", spec, out], where, name=name, env=env,
                       options=("--no-stacks", *kwargs.pop("options", ())), **kwargs)
    pace[0] = measure_pace()
    return recording, [Measured(r) for r in json.loads(out.read_text())]


def held(thread):
    return thread["held_oncpu_ns"] + thread["held_offcpu_ns"]


def waited(thread):
    return thread["wait_blocked_ns"] + thread["wait_wakeup_ns"]


def compare(process, measured):
    """A list of sentences, one for each figure of a thread on which the two accounts differ."""
    wrong = []

    def check(m, what, reported, low, high=None):
        high = low if high is None else high
        if not low - m.tolerance(low) <= reported <= high + m.tolerance(high):
            wrong.append(f"thread {m.tid}: {what}: gilscope {reported / MS:.3f} ms, truth {low / MS:.3f} to "
                         f"{high / MS:.3f} ms, allowed difference {m.tolerance(low) / MS:.3f} ms; {m.cycles} cycles")

    for m in measured:
        t = gs.thread(process, tid=m.tid)
        # Where nobody had the GIL, a take can be slow for want of a processor, which not every take can look at a clock
        # for: such time may be there or not.
        check(m, "wait", waited(t), m.exact_wait_ns - m.free_ns - m.slow_ns, m.exact_wait_ns - m.free_ns)
        check(m, "hold", held(t), m.exact_hold_ns)
        check(m, "forced", t["wait_forced_ns"], m.forced_ns)
        # By the stamps around the calls, in which the GIL is held or not for some of the time.
        check(m, "hold, seen from outside", held(t), m.hold_ns, m.hold_ns + m.save_ns + m.wait_ns)
        check(m, "wait, seen from outside", waited(t), 0, m.wait_ns)
        check(m, "forced, seen from outside", t["wait_forced_ns"], 0, m.save_ns)
        check(m, "all of it, seen from outside", held(t) + waited(t) + t["wait_forced_ns"],
              m.hold_ns + m.wait_ns - m.free_ns - m.slow_ns, m.hold_ns + m.wait_ns + m.save_ns)
        if not m.cycles <= t["acquisitions"] <= m.cycles + 2:
            wrong.append(f"thread {m.tid}: {t['acquisitions']} acquisitions, truth {m.cycles}")
    forced, true = process["gils"][0]["forced_switches"], sum(m.forced for m in measured)
    if forced != true:
        wrong.append(f"{forced} forced switches, truth {true}")
    return wrong


def compare_outside(process, measured):
    """As compare(), strictly by the stamps around the calls: for mixes whose sections are long beside a call."""
    wrong = []
    for m in measured:
        t = gs.thread(process, tid=m.tid)
        for what, reported, true in ("wait", waited(t), m.wait_ns - m.free_ns), ("hold", held(t), m.hold_ns):
            if abs(reported - true) > m.tolerance(true):
                wrong.append(f"thread {m.tid}: {what}: gilscope {reported / MS:.3f} ms, truth {true / MS:.3f} ms, "
                             f"allowed difference {m.tolerance(true) / MS:.3f} ms; {m.cycles} cycles")
    return wrong


def overlaps(measured):
    """{(waiter tid, holder tid): (ns, number of overlaps)}: how long each wait ran beside each hold, from the logs."""
    assert all(m.unlogged == 0 for m in measured), "the log is too small for this mix"
    holds = sorted((c.got, c.gone, m.tid) for m in measured for c in m.log)
    begins = [h[0] for h in holds]
    found = {}
    for m in measured:
        for c in m.log:
            # Holds exclude each other: only the one before the wait's begin can reach into it.
            i = max(0, bisect_left(begins, c.want) - 1)
            while i < len(holds) and holds[i][0] < c.got:
                common = min(holds[i][1], c.got) - max(holds[i][0], c.want)
                if common > 0 and holds[i][2] != m.tid:
                    ns, n = found.get((m.tid, holds[i][2]), (0, 0))
                    found[m.tid, holds[i][2]] = (ns + common, n + 1)
                i += 1
    return found


def compare_matrix(process, measured):
    """As compare(), for the waiter x holder matrix, the blocked waits and the charged times."""
    wrong = []
    truth = overlaps(measured)
    tids = {m.tid for m in measured}
    reported = {(p["waiter_tid"], p["holder_tid"]): p["ns"] for p in process["blocking"]}

    def check(what, value, true, n):
        allowed = max(SHARE * true, FLOOR_NS) + per_cycle_ns() * n
        if abs(value - true) > allowed:
            wrong.append(f"{what}: gilscope {value / MS:.3f} ms, truth {true / MS:.3f} ms, "
                         f"allowed difference {allowed / MS:.3f} ms")

    for waiter in tids:
        for holder in tids:
            true, n = truth.get((waiter, holder), (0, 0))
            check(f"{waiter} waits for {holder}", reported.get((waiter, holder), 0), true, n)
        row = [v for (w, _), v in truth.items() if w == waiter]
        check(f"{waiter} blocked", gs.thread(process, tid=waiter)["wait_blocked_ns"],
              sum(v[0] for v in row), sum(v[1] for v in row))
        column = [v for (_, h), v in truth.items() if h == waiter]
        check(f"{waiter} charged", gs.thread(process, tid=waiter)["charged_ns"],
              sum(v[0] for v in column), sum(v[1] for v in column))
    return wrong if len(wrong) < 12 else wrong[:10] + [f"and {len(wrong) - 10} more"]


QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "max_ns": 1.0}


def compare_quantiles(what, summary, samples, share=0.05):
    """As compare(), for a histogram: each quantile within 5 % of the samples' own, one rank up or down."""
    wrong = []
    samples = sorted(samples)
    n = len(samples)
    for key, q in QUANTILES.items():
        slack = 0 if q == 1.0 else 0.002 * n + 1
        low = samples[max(0, min(n - 1, int(q * n - slack) - 1))]
        high = samples[max(0, min(n - 1, int(q * n + slack)))]
        if not low * (1 - share) - per_cycle_ns() <= summary[key] <= high * (1 + share) + per_cycle_ns():
            wrong.append(f"{what} {key}: gilscope {summary[key]}, truth {low}..{high} of {n}")
    return wrong


def compare_percentiles(process, measured):
    """As compare(), for the percentiles of holds and waits."""
    wrong = []
    assert all(m.unlogged == 0 for m in measured), "the log is too short for this mix"
    enough = [m for m in measured if m.cycles > 10]  # others starve, where somebody takes the GIL back at once
    assert enough, "the run is too short for this mix"
    for m in enough:
        t = gs.thread(process, tid=m.tid)
        wrong += compare_quantiles(f"{m.tid} hold", t["hold"], [c.gone - c.got for c in m.log])
        # A take that found the GIL free is no wait; those that were none are the shortest.
        waits = sorted(c.got - c.want for c in m.log)
        n_free = len(waits) - t["wait"]["count"]
        if len(waits) - n_free >= 20:  # else it matters too much which of them count as waits
            wrong += compare_quantiles(f"{m.tid} wait", t["wait"], waits[n_free:])
        # What took long without being a wait can only be a preempted take: a few at most.
        missed = sum(w > 20 * US for w in waits[:n_free])
        if missed > 2 + len(waits) // 50:
            wrong.append(f"{m.tid}: {missed} waits of more than 20 us are not counted")
    return wrong


def compare_processor_time(process, measured):
    """As compare(), for the held and the released time on a processor: within 5 points of the thread's own CPU clock."""
    wrong = []
    for m in measured:
        t = gs.thread(process, tid=m.tid)
        for what, reported, true in (("held", t["held_oncpu_ns"], m.held_cpu_ns),
                                     ("released", t["released_oncpu_ns"], m.released_cpu_ns)):
            if abs(reported - true) > 0.05 * t["wall_ns"]:
                wrong.append(f"{m.tid} {what} on CPU: gilscope {reported / MS:.1f} ms, truth {true / MS:.1f} ms "
                             f"of {t['wall_ns'] / MS:.1f} ms")
    return wrong
