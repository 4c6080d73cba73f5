#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How true attaching is: the BPF collector and the preload library on the same run of the same process, side by side.

First, threads that time themselves (tests/truth), on each interpreter: a row is a thread, its errors are against what it
measured of itself.  Then the labelled programs (tests/programs): a row is a program, with both verdicts.  With --alone, the
threads run without the library, as those of a process that one attaches to do: it makes their ways into waits and out longer.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common

sys.path.insert(0, str(common.REPO / "tests"))

from helpers import gs, pythons, truth  # pylint: disable=wrong-import-position
from helpers.attach import READY, Attached, Target  # pylint: disable=wrong-import-position
from helpers.truth import MS, io, spin  # pylint: disable=wrong-import-position

MIXES = {
    "four": [spin(1 * MS, cpu=True), spin(1 * MS, MS // 10, cpu=True), io(1 * MS, 1 * MS, cpu=True),
             io(MS // 10, 1 * MS, cpu=True)],
    "two, 10 ms": [spin(10 * MS, cpu=True)] * 2,
    "convoy": [spin(10 * MS, cpu=True)] + [io(MS // 100, 1 * MS, cpu=True)] * 2,
    "half": [spin(1 * MS, 1 * MS, cpu=True)] * 2,
    "alone": [spin(1 * MS, 1 * MS, cpu=True)],
}
PROGRAMS = common.REPO / "tests" / "programs"
LABELS = json.loads((PROGRAMS / "labels.json").read_text(encoding="utf-8"))
RUN = READY + """
import os, runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def waited(t):
    return t["wait_blocked_ns"] + t["wait_wakeup_ns"]


def both(python, arguments, where, env=None, children=False, prefix=(), alone=False):
    """Runs a program under the preload library, attaches to it, and lets it go; both reports' processes.  alone: without
    the library; None in place of its report."""
    inside = Path(where) / "inside.gilscope"
    library = [] if alone else [gs.BIN, "run", "-q", "--no-stacks", "-o", inside, "--"]
    command = [*prefix, *library, python.path, "-c", RUN, *arguments]
    with Target(command, env=gs.clean_env(env)) as target:
        attached = Attached(target.pid, where, *(["-s"] if children else []))
        target.go()
        target.end(timeout=120)
        outside = attached.end(ask=False)
    return None if alone else gs.report(inside)["processes"], outside


def truth_rows(python, name, seconds, prefix=(), alone=False):
    """Rows of a mix: what each thread measured of itself, what the collector says, what the library says."""
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
        spec, out = Path(where) / "spec.json", Path(where) / "out.json"
        spec.write_text(json.dumps({"threads": MIXES[name], "duration_ns": int(seconds * 1e9), "max_log": 0,
                                    "kind": "native", "pinned": False}))
        env = {"PYTHONPATH": truth.build(python), "LD_PRELOAD": truth.stamps()}
        inside, outside = both(python, [truth.SOURCE / "driver.py", spec, out], where, env, prefix=prefix, alone=alone)
        rows = []
        for m in [truth.Measured(r) for r in json.loads(out.read_text())]:
            t = gs.thread(outside[0], tid=m.tid)
            low, high = m.exact_wait_ns - m.free_ns - m.slow_ns, m.exact_wait_ns - m.free_ns
            nearest = min(max(waited(t), low), high)
            rows.append({"cycles": m.cycles, "true_wait_ns": nearest, "wait_ns": waited(t), "contended": t["contended"],
                         "preload_wait_ns": None if alone else waited(gs.thread(inside[0], tid=m.tid)),
                         "true_held_share": m.held_cpu_ns / t["wall_ns"], "held_share": t["held_oncpu_ns"] / t["wall_ns"],
                         "wall_ns": t["wall_ns"],
                         "met": abs(waited(t) - nearest) <= max(0.01 * high, 0.3 * MS)
                         and abs(m.held_cpu_ns - t["held_oncpu_ns"]) <= 0.03 * t["wall_ns"]})
    return rows


def pressure_row(python, name, seconds):
    """Sums over a mix's threads, on one processor that a busy neighbour uses, too."""
    cpu = str(min(os.sched_getaffinity(0)))
    neighbour = subprocess.Popen(["taskset", "-c", cpu, python.path, "-c", "while True: pass"])
    try:
        rows = truth_rows(python, name, seconds, ["taskset", "-c", cpu])
    finally:
        neighbour.kill()
        neighbour.wait()
    true, told, preload = (sum(r[key] for r in rows) for key in ("true_wait_ns", "wait_ns", "preload_wait_ns"))
    return {"true_wait_ns": true, "wait_ns": told, "preload_wait_ns": preload,
            "met": abs(told - true) <= max(0.02 * true, 0.3 * MS)}


def program_row(python, name, seconds):
    """Both reports of a labelled program: sums over its threads, and verdicts."""
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
        inside, outside = both(python, [PROGRAMS / f"{name}.py", str(seconds)], where)
        inside = next(p for p in inside if p["pid"] == outside[0]["pid"])
        tids = {t["tid"] for t in outside[0]["threads"]}
        sums = [[sum(f(t) for t in p["threads"] if t["tid"] in tids) / MS for f in (
            waited, lambda t: t["held_oncpu_ns"], lambda t: t["released_oncpu_ns"], lambda t: t["lock_wait_ns"])]
            for p in (inside, outside[0])]
        classes = [p["verdict"]["class"] for p in (inside, outside[0])]
        label = LABELS[name]["class"]
        return {"program": name, "preload_ms": sums[0], "attached_ms": sums[1], "preload_class": classes[0],
                "attached_class": classes[1], "met": classes[1] in ([label] if isinstance(label, str) else label)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--python", action="append", help="an interpreter [all that are found]")
    parser.add_argument("--seconds", type=float, default=2, help="of each run [%(default)s]")
    parser.add_argument("--pressure", action="store_true", help="only the mixes, beside a busy neighbour, in sum")
    parser.add_argument("--alone", action="store_true", help="only the mixes, without the library")
    parser.add_argument("--mix", action="append", choices=[*MIXES, "none"], help="only this one")
    parser.add_argument("--program", action="append", choices=[*LABELS, "none"], help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def print_truth(python, mix, r):
    off = r["wait_ns"] - r["true_wait_ns"]
    preload = "" if r["preload_wait_ns"] is None else f"{r['preload_wait_ns'] / MS:.2f}"
    print(f"{python.name:8} {mix:10} {r['cycles']:6}  {r['true_wait_ns'] / MS:9.2f} {r['wait_ns'] / MS:9.2f} "
          f"{preload:>9} {off / MS:+7.2f} {100 * off / max(1, r['true_wait_ns']):+6.2f} % "
          f"{off / 1000 / max(1, r['contended']):+6.2f}   "
          f"{100 * r['true_held_share']:5.1f} {100 * r['held_share']:5.1f} "
          f"{100 * (r['held_share'] - r['true_held_share']):+5.1f}   {'met' if r['met'] else 'MISSED'}", flush=True)


def print_program(r):
    cells = "  ".join(f"{a:8.0f} {b:8.0f}" for a, b in zip(r["preload_ms"], r["attached_ms"]))
    print(f"{r['program']:24} {cells}  {r['preload_class']:15} {r['attached_class']:15} {'met' if r['met'] else 'MISSED'}",
          flush=True)


def under_pressure(args, chosen):
    """The mixes beside a busy neighbour; how many rows missed."""
    rows = []
    if not args.json:
        print("python   mix         waited true    by BPF   preload  off by")
    for python in [p for p in chosen if p.has_headers]:
        for mix in [m for m in args.mix or MIXES if m != "none"]:
            r = pressure_row(python, mix, args.seconds)
            rows.append({"python": python.name, "mix": mix, **r})
            if not args.json:
                print(f"{python.name:8} {mix:10}   {r['true_wait_ns'] / MS:9.2f} {r['wait_ns'] / MS:9.2f} "
                      f"{r['preload_wait_ns'] / MS:9.2f} {100 * (r['wait_ns'] / max(1, r['true_wait_ns']) - 1):+6.2f} %   "
                      f"{'met' if r['met'] else 'MISSED'}", flush=True)
    if args.json:
        print(json.dumps({"environment": common.environment(chosen[0].path, str(gs.BIN)), "pressure": rows}, indent=2))
    return sum(not r["met"] for r in rows)


def main():
    args = parse()
    chosen = [p for p in pythons.SUPPORTED if not args.python or p.path in args.python]
    if args.pressure:
        sys.exit(under_pressure(args, chosen) > 0)
    rows, missed = {"truth": [], "programs": []}, 0
    if not args.json:
        common.print_environment(common.environment(chosen[0].path, str(gs.BIN)))
        print("python   mix        cycles  waited true    by BPF   preload  off by           us each   held %  by BPF")
    for python in [p for p in chosen if p.has_headers]:
        for mix in [m for m in args.mix or MIXES if m != "none"]:
            for row in truth_rows(python, mix, args.seconds, alone=args.alone):
                rows["truth"].append({"python": python.name, "mix": mix, **row})
                missed += not row["met"]
                if not args.json:
                    print_truth(python, mix, row)
    if not args.json and not args.alone:
        print("\nms, preload and BPF      waited             held on CPU        released on CPU    waited for locks   "
              "verdicts")
    for name in [n for n in args.program or LABELS if n != "none" and not args.alone]:
        row = program_row(chosen[0], name, args.seconds)
        rows["programs"].append(row)
        missed += not row["met"]
        if not args.json:
            print_program(row)
    if args.json:
        print(json.dumps({"environment": common.environment(chosen[0].path, str(gs.BIN)), **rows}, indent=2))
    else:
        print(f"\n{missed} rows missed")
    sys.exit(missed > 0)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        common.fail(str(error))
