#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What measuring costs: the speed of a program under the shim, relative to the same program bare.

A pair is two fresh processes, one bare and one preloaded, that take turns: each works for a short while as the other
sleeps, first one first, then the other.  So both see the same machine, however noisy it is.  A pair's ratio is the time
for an operation in the one over that in the other, by the programs' own clocks, all turns together; a workload's result
is the median of its pairs.  README.md explains the other figures.  --null compares bare with bare: that is the noise.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import common

# program: in workloads.py; turn_s: how long a turn is, many switch intervals where threads compete; target: the most
# that the median may be.
Case = namedtuple("Case", "program paused turn_s target")
CASES = {
    "storm": Case("storm", False, 0.01, 1.03),
    "uneven": Case("uneven", False, 0.01, 1.03),
    "pingpong": Case("pingpong", False, 0.03, 1.05),
    "cpu4": Case("cpu4", False, 0.06, 1.01),
    "matmul": Case("matmul", False, 0.03, 1.01),
    "storm-paused": Case("storm", True, 0.01, 1.01),
    "pingpong-paused": Case("pingpong", True, 0.03, 1.01),
}
WARM_UP_S = 0.1


class Side:
    """One of the two processes of a pair."""

    def __init__(self, argv, env):
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.turns = []  # (operations, wall ns, CPU ns)
        self.work(WARM_UP_S)

    def work(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            common.fail(f"the workload ended early, with status {self.process.wait()}")
        return [int(word) for word in answer.split()]

    def take_turn(self, seconds):
        self.turns.append(self.work(seconds))

    def close(self):
        self.process.stdin.close()
        status = self.process.wait()
        if status:
            common.fail(f"the workload ended with status {status}")

    def wall_ns(self):
        """Per operation, over all turns."""
        return sum(t[1] for t in self.turns) / sum(t[0] for t in self.turns)

    def cpu_ns(self):
        """Per operation, over all turns."""
        return sum(t[2] for t in self.turns) / sum(t[0] for t in self.turns)


def measure_pair(argvs, envs, turns, turn_s):
    """Runs a bare and a preloaded process in turns; what an operation costs in each."""
    order = [0, 1]
    random.shuffle(order)
    sides = {}
    for i in order:
        sides[i] = Side(argvs[i], envs[i])
    for _ in range(turns):
        for i in order:
            sides[i].take_turn(turn_s)
        order.reverse()
    for side in sides.values():
        side.close()
    bare, measured = sides[0], sides[1]
    return {"bare_ns": bare.wall_ns(), "ratio": measured.wall_ns() / bare.wall_ns(),
            "cpu_ratio": measured.cpu_ns() / bare.cpu_ns(), "turns_ns": [[t[1] / t[0] for t in s.turns]
                                                                         for s in (bare, measured)]}


def build_floors(where):
    """The libraries that only pass the calls on, and those that read the counter as well."""
    floors = {"calls": where / "floor-calls.so", "clock": where / "floor-clock.so"}
    for kind, library in floors.items():
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-Wl,-z,now", f"-D{kind.upper()}", "-o", str(library),
                        str(Path(__file__).with_name("floor.c"))], check=True)
    return floors


def run_pair(name, args, preload, where):
    """A pair of a case; where: an empty directory of its own for the recording."""
    case = CASES[name]
    argv = [args.python, "-B", str(Path(__file__).with_name("workloads.py")), case.program]
    measured = common.bare_env() if args.null else common.measured_env(preload, where, case.paused, args.options)
    baseline = common.bare_env()
    if args.floor:
        measured = dict(common.bare_env(), LD_PRELOAD=str(args.floors[args.floor]))
    if args.above:
        baseline = dict(common.bare_env(), LD_PRELOAD=str(args.floors[args.above]))
    if args.stacks:
        baseline = common.measured_env(preload, where, case.paused, "no-stacks")
    argvs = [argv, argv]
    if args.launcher:
        baseline = common.measured_env(preload, where, case.paused, args.options)
        measured = common.bare_env()
        paused = ["--paused"] if case.paused else []
        argvs[1] = [args.gilscope, "run", "-q", "-o", str(Path(where) / "run"), *paused, "--", *argv]
    pair = measure_pair(argvs, [baseline, measured], max(1, round(args.sample / case.turn_s)), case.turn_s)
    if args.launcher and not case.paused and not list(Path(where).glob("run/*.holds")):
        common.fail(f"{name}: nothing was seen from outside, so nothing was compared")
    if not args.null and not args.floor and not list(Path(where).glob("*.gil")):
        common.fail(f"{name}: nothing was recorded, so nothing was compared")
    return pair


def undisturbed_ratio(pairs):
    """Of the turns, the tenth part that others disturbed least, of all pairs' processes."""
    bare, measured = (sorted(t for p in pairs for t in p["turns_ns"][side]) for side in (0, 1))
    return measured[len(measured) // 10] / bare[len(bare) // 10]


STACKS_TARGET = 1.02


def summary(name, pairs, args):
    """The figures of a case over its pairs."""
    target = None if args.null or args.floor or args.above else STACKS_TARGET if args.stacks or args.launcher else CASES[name].target
    ratios = sorted(p["ratio"] for p in pairs)
    median = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    return {"workload": name, "pairs": len(pairs), "median": median, "quartiles": [low, high], "min": ratios[0],
            "max": ratios[-1], "cpu_median": statistics.median(p["cpu_ratio"] for p in pairs),
            "undisturbed": undisturbed_ratio(pairs), "bare_ns": statistics.median(p["bare_ns"] for p in pairs),
            "target": target, "met": target is None or median <= target, "ratios": [round(r, 4) for r in ratios]}


def print_row(row):
    target = f"{row['target']:.2f} {'met' if row['met'] else 'MISSED'}" if row["target"] else "none"
    print(f"{row['workload']:16} {row['median']:6.3f}   {row['quartiles'][0]:.3f} - {row['quartiles'][1]:.3f}   "
          f"{row['min']:.3f} - {row['max']:.3f}   {row['cpu_median']:8.3f}   {row['undisturbed']:11.3f}   "
          f"{row['bare_ns'] / 1000:10.3f}   {target}", flush=True)


def have_numpy(python):
    return subprocess.run([python, "-c", "import numpy"], env=common.bare_env(), stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--preload", help="the library to preload [that of gilscope]")
    parser.add_argument("--workload", action="append", choices=list(CASES), help="only this one; may be repeated")
    parser.add_argument("--pairs", type=int, default=11, help="pairs of processes for each workload [%(default)s]")
    parser.add_argument("--sample", type=float, default=0.72, help="seconds that each process works [%(default)s]")
    parser.add_argument("--cpus", help="processors to use, such as 0 or 0,1 [all]")
    parser.add_argument("--output", help="directory for the recordings [a temporary one]")
    parser.add_argument("--seed", type=int, default=None, help="of the order, which is random")
    parser.add_argument("--options", default="", help="of the library, such as no-stacks or sample=100us [none]")
    parser.add_argument("--stacks", action="store_true",
                        help="compare with a process that is measured, too, but records no stacks: what do stacks cost?")
    parser.add_argument("--launcher", action="store_true",
                        help="compare `gilscope run` with the preloaded library alone: what does it cost to be looked at?")
    parser.add_argument("--floor", choices=("calls", "clock"),
                        help="a library that only passes the calls on, or reads the counter twice besides, in place of the "
                             "shim: less than this no library can cost")
    parser.add_argument("--above", choices=("calls", "clock"), help="compare the shim with such a library")
    parser.add_argument("--null", action="store_true", help="preload nothing: how large is the noise?")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    args = parser.parse_args()
    if args.pairs < 2 or args.sample <= 0:
        parser.error("at least 2 pairs are needed, and a sample of some time")
    return args


def main():
    args = parse()
    random.seed(args.seed)
    if args.cpus:
        os.sched_setaffinity(0, {int(c) for c in args.cpus.split(",")})
    gilscope = args.gilscope = common.gilscope_bin(args.gilscope)
    preload = args.preload or common.preload_path(gilscope)
    env = dict(common.environment(args.python, gilscope), pairs=args.pairs, sample_s=args.sample,
               compared="bare with bare" if args.null else
               f"a library that only passes on calls ({args.floor}) with bare" if args.floor else
               f"measured with a library that only passes on calls ({args.above})" if args.above else
               "with stacks and without" if args.stacks else
               "under gilscope run and preloaded" if args.launcher else "measured with bare")
    names = args.workload or list(CASES)
    skipped = []
    if "matmul" in names and not have_numpy(args.python):
        names = [n for n in names if n != "matmul"]
        skipped.append({"workload": "matmul", "reason": f"{args.python} has no numpy"})
    pairs = {name: [] for name in names}
    if not args.json:
        common.print_environment(env)
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-", dir=args.output) as where:
        args.floors = build_floors(Path(where)) if args.floor or args.above else {}
        for i in range(args.pairs):
            random.shuffle(names)
            for name in names:
                directory = Path(where) / f"{name}-{i}.gilscope"
                directory.mkdir()
                pairs[name].append(run_pair(name, args, preload, directory))
    rows = [summary(name, pairs[name], args) for name in CASES if pairs.get(name)]
    if args.json:
        json.dump({"environment": env, "results": rows, "skipped": skipped}, sys.stdout, indent=2)
        print()
    else:
        print("time per operation, measured / bare")
        print("workload         median   quartiles       min - max      CPU time   undisturbed   bare us/op   target")
        for row in rows:
            print_row(row)
        for one in skipped:
            print(f"{one['workload']:16} skipped: {one['reason']}")
    if args.check and not all(row["met"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
