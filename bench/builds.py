#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Several builds of the library, one workload: time for an operation, relative to bare, and how sure that is.

    bench/builds.py [--workload pingpong] --preload OLD.so --preload NEW.so

A set is one fresh process of each kind; they work by turns of some ms, in a new random order each time, so that all of
them see the same machine.  A set's ratio is the time for an operation in the one over that in bare, all turns together.
Printed are the median of the sets' ratios and its standard error.  One library may be given twice: that is the noise.  It
tells a difference of 0.02 where overhead.py, which has the aims, takes one build after the other and needs 0.05.
"""
import argparse
import math
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

import common
import overhead


def measure_set(python, program, envs, rounds, turn_s):
    """ns for an operation, of each."""
    argv = [python, "-B", str(Path(overhead.__file__).with_name("workloads.py")), program]
    order = list(range(len(envs)))
    random.shuffle(order)
    sides = {i: overhead.Side(argv, envs[i]) for i in order}
    for _ in range(rounds):
        random.shuffle(order)
        for i in order:
            sides[i].take_turn(turn_s)
    for side in sides.values():
        side.close()
    return [sides[i].wall_ns() for i in range(len(envs))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--workload", default="pingpong", choices=list(overhead.CASES), help="[%(default)s]")
    parser.add_argument("--preload", action="append", help="a library; may be repeated [the one built here]")
    parser.add_argument("--floor", action="append", default=[], choices=("calls", "clock"), help="as in overhead.py")
    parser.add_argument("--sets", type=int, default=20, help="of processes [%(default)s]")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each process [%(default)s]")
    parser.add_argument("--turn", type=float, default=0.02, help="seconds of a turn [%(default)s]")
    args = parser.parse_args()
    if args.sets < 2:
        parser.error("at least 2 sets are needed")
    gilscope = common.gilscope_bin()
    libraries = args.preload or [common.preload_path(gilscope)]
    case = overhead.CASES[args.workload]
    names = ["bare", *args.floor, *(os.path.basename(library) for library in libraries)]
    figures = []
    common.print_environment(common.environment(args.python, gilscope))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        where = Path(directory)
        floors = overhead.build_floors(where)
        for i in range(args.sets):
            envs = [common.bare_env(), *(dict(common.bare_env(), LD_PRELOAD=str(floors[kind])) for kind in args.floor)]
            recordings = []
            for j, library in enumerate(libraries):
                recordings.append(where / f"{i}-{j}.gilscope")
                recordings[-1].mkdir()
                envs.append(common.measured_env(library, recordings[-1], case.paused))
            figures.append(measure_set(args.python, case.program, envs, args.rounds, args.turn))
            for recording, library in zip(recordings, libraries):
                files = list(recording.iterdir())
                if not files:
                    common.fail(f"{library}: nothing was recorded, so nothing was compared")
                for file in files:
                    file.unlink()
    print(f"{args.workload}: {'ns/op':>28} {'to bare':>9} {'error':>7}")
    for i, name in enumerate(names):
        ratios = [one[i] / one[0] for one in figures]
        error = 1.25 * statistics.stdev(ratios) / math.sqrt(len(ratios))  # of a median, roughly
        print(f"{name:32} {statistics.median(one[i] for one in figures):6.0f} {statistics.median(ratios):9.3f} "
              f"{error:7.3f}")


if __name__ == "__main__":
    sys.exit(main())
