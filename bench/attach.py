#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What attaching costs: the speed of a program that gilscope is attached to, relative to the same program left alone.

A pair is two processes that take turns, as in overhead.py; first one of them is attached to, then the other, twice the
other way round, so that what makes one faster than the other is in no figure.  For "bystander", neither is: a third
process is attached to in every second round, and the speed in those rounds is compared with that in the others.  The
collector's own use of processor and memory is that of the whole gilscope process.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
from overhead import Side

CASES = {"storm": (0.01, 1.01), "pingpong": (0.03, 1.05), "cpu4": (0.06, 1.01)}
TICKS = os.sysconf("SC_CLK_TCK")


class Collector:
    """`gilscope attach` at work on a process."""

    def __init__(self, args, pid, where):
        self.dir = Path(where) / "attached.gilscope"
        self.process = subprocess.Popen([args.gilscope, "attach", "-q", "--method", args.method, "-o", self.dir,
                                         *args.options, str(pid)], stderr=subprocess.DEVNULL)
        while not list(self.dir.glob("*.gil")):
            if self.process.poll() is not None:
                common.fail("gilscope cannot attach; see gilscope doctor")
            time.sleep(0.02)
        time.sleep(0.7)  # its pictures come once a second from now on
        self.begin = self.cpu_s(), time.monotonic()

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self):
        """Ends it; its share of a processor, and its resident memory in MiB."""
        share = (self.cpu_s() - self.begin[0]) / (time.monotonic() - self.begin[1])
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
        self.process.send_signal(signal.SIGINT)
        if self.process.wait():
            common.fail("gilscope ended with an error")
        return share, rss


def argv(args, name):
    return [args.python, "-B", str(Path(__file__).with_name("workloads.py")), name]


def turns_of(sides, n, turn_s):
    for i in range(n):
        for side in sides if i % 2 else reversed(sides):
            side.take_turn(turn_s)


def attached_pair(args, name, where):
    """The geometric mean of what each of two processes takes for an operation while it is attached to, over the other."""
    turn_s, _ = CASES[name]
    sides = [Side(argv(args, name), common.bare_env()) for _ in range(2)]
    ratios, uses = [], []
    for i, one in enumerate((1, 0, 0, 1)):
        collector = None if args.null else Collector(args, sides[one].process.pid, Path(where) / str(i))
        for side in sides:
            side.turns.clear()
        turns_of(sides, max(2, round(args.sample / 2 / turn_s)), turn_s)
        uses.append(collector.end() if collector else (0, 0))
        ratios.append(sides[one].wall_ns() / sides[1 - one].wall_ns())
    for side in sides:
        side.close()
    return statistics.geometric_mean(ratios), *(statistics.median(use) for use in zip(*uses))


def bystander_pair(args, where):
    """The speed of one process while another is attached to, over that while none is."""
    worker, other = (Side(argv(args, "storm"), common.bare_env()) for _ in range(2))
    speed = {False: [], True: []}
    for i in range(6):
        attached = i % 2 == 1
        collector = Collector(args, other.process.pid, Path(where) / str(i)) if attached and not args.null else None
        first = len(worker.turns)
        turns_of([worker], round(args.sample / 2 / 0.01), 0.01)
        part = worker.turns[first:]
        speed[attached].append(sum(t[1] for t in part) / sum(t[0] for t in part))
        if collector:
            collector.end()
    worker.close()
    other.close()
    return statistics.median(speed[True]) / statistics.median(speed[False]), 0, 0


CROWD = """
import random, threading, time
def lives():
    while True: time.sleep(random.uniform(0.05, 0.15)); sum(range(1000))
def idles(): threading.Event().wait()
threading.stack_size(65536)
for i in range(1000): threading.Thread(target=lives if i < 200 else idles, daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"""


def crowd(args, where):
    """The collector's own use on 1,000 threads, of which 200 take the GIL ten times a second."""
    target = subprocess.Popen([args.python, "-c", CROWD], stdout=subprocess.PIPE, env=common.bare_env())
    try:
        target.stdout.readline()
        collector = Collector(args, target.pid, where)
        time.sleep(args.crowd_seconds)
        return collector.end()
    finally:
        target.kill()
        target.wait()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--method", default="bpf", choices=["bpf", "sample"])
    parser.add_argument("--pairs", type=int, default=7, help="pairs of each workload [%(default)s]")
    parser.add_argument("--sample", type=float, default=0.72, help="seconds of work of each process [%(default)s]")
    parser.add_argument("--option", dest="options", action="append", default=[], help="for gilscope attach")
    parser.add_argument("--workload", action="append", choices=[*CASES, "bystander", "crowd"], help="only this one")
    parser.add_argument("--crowd-seconds", type=float, default=30, help="of 1,000 threads [%(default)s]")
    parser.add_argument("--null", action="store_true", help="attach to none: what it shows is noise")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    args.gilscope = common.gilscope_bin(args.gilscope)
    return args


def main():
    args = parse()
    rows, missed = [], False
    for name in args.workload or [*CASES, "bystander", "crowd"]:
        results = []
        if name == "crowd":
            with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
                share, mib = crowd(args, where)
            rows.append({"workload": name, "collector_cpu": share, "collector_mib": mib, "target_cpu": 0.02,
                         "target_mib": 64, "met": share <= 0.02 and mib <= 64})
            missed |= not rows[-1]["met"]
            if not args.json:
                print(f"{name:10} 1,000 threads: {'met' if rows[-1]['met'] else 'MISSED'}   collector {100 * share:.2f} % of a "
                      f"processor (at most 2), {mib:.0f} MiB (at most 64)", flush=True)
            continue
        for _ in range(args.pairs):
            with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
                for i in range(6):
                    (Path(where) / str(i)).mkdir()
                results.append(bystander_pair(args, where) if name == "bystander" else attached_pair(args, name, where))
        ratios = sorted(r[0] for r in results)
        target = CASES[name][1] if name in CASES else 1.01
        rows.append({"workload": name, "pairs": len(ratios), "median": statistics.median(ratios), "min": ratios[0],
                     "max": ratios[-1], "target": target, "met": statistics.median(ratios) <= target,
                     "collector_cpu": statistics.median(r[1] for r in results),
                     "collector_mib": statistics.median(r[2] for r in results)})
        missed |= not rows[-1]["met"]
        if not args.json:
            row = rows[-1]
            print(f"{name:10} {row['median']:6.3f}   {row['min']:.3f} - {row['max']:.3f}   at most {target:.2f} "
                  f"{'met' if row['met'] else 'MISSED'}   collector {100 * row['collector_cpu']:.1f} % of a processor, "
                  f"{row['collector_mib']:.0f} MiB", flush=True)
    if args.json:
        print(json.dumps({"environment": common.environment(args.python, args.gilscope), "method": args.method,
                          "rows": rows}, indent=2))
    sys.exit(missed)


if __name__ == "__main__":
    main()
