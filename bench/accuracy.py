#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How true the reported times are: gilscope (and gil_load, if asked) beside threads that time themselves.

Each mix of threads (tests/truth) runs under gilscope, and again under gil_load, on the same interpreter.  A row is a
thread; its errors are against what that thread measured of itself in that very run.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common

US, MS = 1000, 1000 * 1000
TRUTH = common.REPO / "tests" / "truth"

# name: a list of (hold_ns, asleep while holding, release_ns, asleep while released, read the CPU clock too)
MIXES = {
    "half": [(1 * MS, 0, 1 * MS, 1, 0)],
    "two, 1 us": [(1 * US, 0, 0, 0, 0)] * 2,
    "three, 5 us": [(5 * US, 0, 0, 0, 0)] * 3,
    "two, 10 ms": [(10 * MS, 0, 0, 0, 0)] * 2,
    "convoy": [(10 * MS, 0, 0, 0, 0)] + [(10 * US, 0, 1 * MS, 1, 0)] * 2,
    "sleeps with it": [(1 * MS, 1, 0, 0, 0), (100 * US, 0, 100 * US, 1, 0)],
    "starvation": [(1 * MS, 0, 0, 0, 0)] * 3,
}


def build(python, where, source=TRUTH / "_giltruth.c"):
    """Builds an extension, by default the threads that time themselves, for this interpreter into a directory."""
    include = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"], check=True,
                             env=common.bare_env(), stdout=subprocess.PIPE, text=True).stdout.strip()
    if not Path(include, "Python.h").exists():
        common.fail(f"{python} has no C headers in {include}")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-fPIC", "-shared", "-pthread", f"-I{include}",
                    str(source), "-o", str(where / f"_{source.stem.lstrip('_')}.so")], check=True)


def write_spec(where, threads, seconds):
    path = where / "spec.json"
    path.write_text(json.dumps({"threads": threads, "duration_ns": int(seconds * 1e9), "max_log": 0, "pinned": False,
                                "kind": "native"}))
    return path


def run_gilscope(args, gilscope, where, threads):
    """Rows {truth and reported hold and wait} of a mix under gilscope."""
    out, recording = where / "out.json", where / "mix.gilscope"
    env = dict(common.bare_env(), PYTHONPATH=str(where))
    subprocess.run([gilscope, "run", "-q", "-o", recording, "--", args.python, TRUTH / "driver.py",
                    write_spec(where, threads, args.seconds), out], env=env, check=True)
    done = subprocess.run([gilscope, "report", "-f", "json", recording], check=True, stdout=subprocess.PIPE)
    by_tid = {t["tid"]: t for t in json.loads(done.stdout)["processes"][0]["threads"]}
    for file in recording.iterdir():
        file.unlink()
    rows = []
    for true in json.loads(out.read_text()):
        t = by_tid[true["tid"]]
        rows.append({"tool": "gilscope", "cycles": true["cycles"], "true_hold_ns": true["hold_ns"],
                     "hold_ns": t["held_oncpu_ns"] + t["held_offcpu_ns"], "true_wait_ns": true["wait_ns"],
                     "wait_ns": t["wait_blocked_ns"] + t["wait_wakeup_ns"]})
    return rows


def run_gil_load(args, where, threads):
    """The same under gil_load."""
    out = where / "out.json"
    env = dict(common.bare_env(), PYTHONPATH=str(where))
    subprocess.run([args.gil_load, "-m", "gil_load", str(Path(__file__).with_name("gil_load_mix.py")),
                    write_spec(where, threads, args.seconds), out], env=env, check=True, stdout=subprocess.DEVNULL)
    both = json.loads(out.read_text())
    return [{"tool": "gil_load", "cycles": true["cycles"], "true_hold_ns": true["hold_ns"], "hold_ns": g["held_ns"],
             "true_wait_ns": true["wait_ns"], "wait_ns": g["wait_ns"]}
            for true, g in zip(both["truth"], both["gil_load"])]


def error(value, true):
    """In per cent, where there is enough to compare with."""
    return f"{100 * (value - true) / true:+9.2f} %" if true > MS else "          -"


def per_cycle(value, true, cycles):
    """In us."""
    return f"{(value - true) / cycles / US:+8.2f}"


def print_row(mix, r):
    columns = [f"{mix:15} {r['tool']:9} {r['cycles']:8}"]
    for what in ("hold", "wait"):
        value, true = r[f"{what}_ns"], r[f"true_{what}_ns"]
        columns.append(f"{true / MS:8.2f} {value / MS:8.2f} {error(value, true)} {per_cycle(value, true, r['cycles'])}")
    print("  ".join(columns), flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter, with C headers [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--gil-load", metavar="PYTHON", help="an interpreter with gil_load, to compare with")
    parser.add_argument("--seconds", type=float, default=2, help="of each mix [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main():
    args = parse()
    gilscope = common.gilscope_bin(args.gilscope)
    env = dict(common.environment(args.python, gilscope), seconds=args.seconds)
    if not args.json:
        common.print_environment(env)
        print("ms              tool        cycles  held true  reported     error  us/cycle  waited true  reported    "
              "error  us/cycle")
    results = {}
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as ours, \
            tempfile.TemporaryDirectory(prefix="gilscope-bench-") as theirs:
        build(args.python, Path(ours))
        if args.gil_load:
            build(args.gil_load, Path(theirs))
        for mix, threads in MIXES.items():
            rows = run_gilscope(args, gilscope, Path(ours), threads)
            if args.gil_load:
                rows += run_gil_load(args, Path(theirs), threads)
            results[mix] = rows
            if not args.json:
                for row in rows:
                    print_row(mix, row)
    if args.json:
        json.dump({"environment": env, "mixes": results}, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
