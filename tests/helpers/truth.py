# SPDX-License-Identifier: MIT
"""Runs mixes of threads that time themselves (tests/truth) under gilscope, and compares the two accounts."""
import json
import subprocess
from bisect import bisect_left
from collections import namedtuple
from pathlib import Path

import pytest

from helpers import gs

SOURCE = gs.REPO / "tests" / "truth"
US, MS, S = 1000, 1000 * 1000, 1000 * 1000 * 1000

# gilscope and the extension may differ by this much: 1 % or 100 us, whichever is larger, and the extension's own calls.
SHARE, FLOOR_NS, PER_CYCLE_NS = 0.01, 100 * US, 300


def spin(hold_ns, release_ns=0, cpu=False):
    """A thread that keeps the GIL, then lets go of it, busy all the time."""
    return [hold_ns, 0, release_ns, 0, int(cpu)]


def io(hold_ns, release_ns, cpu=False):
    """A thread that works with the GIL, then sleeps without it."""
    return [hold_ns, 0, release_ns, 1, int(cpu)]


def asleep(hold_ns, release_ns=0, cpu=False):
    """A thread that sleeps and keeps the GIL meanwhile, then is busy without it."""
    return [hold_ns, 1, release_ns, 0, int(cpu)]


def build(python):
    """The directory of the extension, built for this interpreter if it is not there yet."""
    if not python.has_headers:
        pytest.skip(f"{python.path} has no C headers in {python.include}")
    where = gs.WORK / "truth" / f"{python.name}{python.path.replace('/', '_')}"
    target, source = where / "_giltruth.so", SOURCE / "_giltruth.c"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        where.mkdir(parents=True, exist_ok=True)
        made = where / "_giltruth.so.new"
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread",
                        f"-I{python.include}", str(source), "-o", str(made)], check=True)
        made.rename(target)
    return where


Cycle = namedtuple("Cycle", "want taken leave left")  # CLOCK_MONOTONIC ns, see _giltruth.c


class Measured:
    """What one thread measured of itself."""

    def __init__(self, result):
        log = result.pop("log")
        self.__dict__.update(result)
        self.log = [Cycle(*log[i:i + 4]) for i in range(0, len(log), 4)]

    def tolerance(self, value_ns):
        return max(SHARE * value_ns, FLOOR_NS) + PER_CYCLE_NS * self.cycles


def run_mix(python, threads, where, ms=500, kind="native", log=0, name="mix", **kwargs):
    """Runs a mix; returns (recording, [Measured])."""
    where = Path(where)
    spec, out = where / f"{name}.spec.json", where / f"{name}.truth.json"
    spec.write_text(json.dumps({"threads": threads, "duration_ns": ms * MS, "max_log": log, "kind": kind}))
    env = dict(kwargs.pop("env", {}), PYTHONPATH=build(python))
    recording = gs.run([python.path, SOURCE / "driver.py", spec, out], where, name=name, env=env, **kwargs)
    return recording, [Measured(r) for r in json.loads(out.read_text())]


def held(thread):
    return thread["held_oncpu_ns"] + thread["held_offcpu_ns"]


def waited(thread):
    return thread["wait_blocked_ns"] + thread["wait_wakeup_ns"]


def compare(process, measured):
    """A list of sentences, one for each figure of a thread on which the two accounts differ."""
    wrong = []

    def check(m, what, reported, true, also_allowed=0):
        allowed = m.tolerance(true) + also_allowed
        if abs(reported - true) > allowed:
            wrong.append(f"thread {m.tid}: {what}: gilscope {reported / MS:.3f} ms, truth {true / MS:.3f} ms, "
                         f"differ by {(reported - true) / MS:+.3f} ms, allowed {allowed / MS:.3f} ms; "
                         f"{m.cycles} cycles")

    for m in measured:
        t = gs.thread(process, tid=m.tid)
        check(m, "wait", waited(t), m.wait_ns)
        check(m, "hold", held(t), m.hold_ns)
        if t["acquisitions"] < m.cycles or t["acquisitions"] > m.cycles + 2:
            wrong.append(f"thread {m.tid}: {t['acquisitions']} acquisitions, truth {m.cycles}")
        if t["wait_forced_ns"] > m.save_ns + m.tolerance(m.save_ns):
            wrong.append(f"thread {m.tid}: forced {t['wait_forced_ns']} ns of {m.save_ns} ns in PyEval_SaveThread")
    return wrong


def overlaps(measured):
    """{(waiter tid, holder tid): (ns, number of overlaps)}: how long each wait ran beside each hold, from the logs."""
    assert all(m.unlogged == 0 for m in measured), "the log is too small for this mix"
    holds = sorted((c.taken, c.leave, m.tid) for m in measured for c in m.log)
    begins = [h[0] for h in holds]
    found = {}
    for m in measured:
        for c in m.log:
            # Holds exclude each other: only the one before the wait's begin can reach into it.
            i = max(0, bisect_left(begins, c.want) - 1)
            while i < len(holds) and holds[i][0] < c.taken:
                common = min(holds[i][1], c.taken) - max(holds[i][0], c.want)
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
        allowed = max(SHARE * true, FLOOR_NS) + PER_CYCLE_NS * n
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
    return wrong


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
        if not low * (1 - share) - PER_CYCLE_NS <= summary[key] <= high * (1 + share) + PER_CYCLE_NS:
            wrong.append(f"{what} {key}: gilscope {summary[key]}, truth {low}..{high} of {n}")
    return wrong
