#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a hand-off of the GIL costs, without the system calls and the chance of a real one: ns, bare and measured.

Two threads give the GIL to each other by turns (handoff.c).  Each process is a fresh one; the variants' processes are
mixed.  Where the machine is virtual, its two processors are now one core's, now not: a process's figure is one of two
or three, some 150 or 500 ns, and there is a median for each.  `clock` is a library that passes the calls on and reads
the counter twice (floor.c).
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import accuracy
import common
import overhead

PROGRAM = """
import sys, threading, _handoff
sys.setswitchinterval(1)
figures = []
def work(me):
    for _ in range(12):
        ns = _handoff.take_turns(me, 20000)
        if not me:
            figures.append(ns)
other = threading.Thread(target=work, args=(1,))
other.start()
work(0)
other.join()
print(sorted(figures)[2])
"""
APART_NS = 300  # more than that bare, and the processors are not one core's


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [/usr/bin/python3]")
    parser.add_argument("--preload", action="append", help="a library to compare; may be repeated [the one built here]")
    parser.add_argument("--processes", type=int, default=40, help="of each variant [40]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    gilscope = common.gilscope_bin()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        where = Path(directory)
        accuracy.build(args.python, where, Path(__file__).with_name("handoff.c"))
        floors = overhead.build_floors(where)
        variants = {"bare": common.bare_env(), "clock": dict(common.bare_env(), LD_PRELOAD=str(floors["clock"]))}
        for library in args.preload or [common.preload_path(gilscope)]:
            variants[library] = common.measured_env(library, where / "recordings")
        (where / "recordings").mkdir()
        figures = {name: [] for name in variants}
        for _ in range(args.processes):
            for name in random.sample(list(variants), len(variants)):
                done = subprocess.run([args.python, "-B", "-c", PROGRAM], env=dict(variants[name], PYTHONPATH=directory),
                                      stdout=subprocess.PIPE, check=True, text=True)
                figures[name].append(float(done.stdout))
                recorded = list((where / "recordings").iterdir())
                if bool(recorded) != (name not in ("bare", "clock")):
                    common.fail(f"{name}: not measured")
                for file in recorded:
                    file.unlink()
    environment = common.environment(args.python, gilscope)
    if args.json:
        json.dump({"environment": environment, "ns": figures}, sys.stdout)
        return
    common.print_environment(environment)
    print(f"{'ns a hand-off, median':40} {'one core':>18} {'apart':>18}")
    for name, all_ns in figures.items():
        cells = []
        for part in ([ns for ns in all_ns if ns <= APART_NS], [ns for ns in all_ns if ns > APART_NS]):
            cells.append(f"{statistics.median(part):.0f} ({len(part)})" if part else "-")
        print(f"{os.path.basename(name):40} {cells[0]:>18} {cells[1]:>18}")


if __name__ == "__main__":
    main()
