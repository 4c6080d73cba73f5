#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What measuring takes in memory, and whether a recording grows with time.

Per number of threads, the program runs bare and preloaded.  Its own figures are the resident size of the mapped
recording and of the library (/proc/self/smaps), and the difference of the whole process's private dirty memory and of
its Pss between the two; the last two are noisy, because the interpreter's own memory differs from run to run.  The
limit is for the recording and the library together: 2 MiB + 4 KiB a thread.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common

MIB = 1 << 20
LIMIT_BASE, LIMIT_THREAD = 2 * MIB, 4096


def run(python, env, *args):
    """The lines that sleepers.py prints, the last one last."""
    done = subprocess.run([python, "-B", str(Path(__file__).with_name("sleepers.py")), *map(str, args)], env=env,
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        common.fail(f"the program ended with status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def sizes(directory):
    """(length, bytes on disk) of the only recording in a directory."""
    files = list(Path(directory).glob("*.gil"))
    if len(files) != 1:
        common.fail(f"{len(files)} recordings in {directory}, not one")
    status = files[0].stat()
    return status.st_size, status.st_blocks * 512


def weigh(args, preload, count, mode, seconds):
    """One row: the memory of `count` threads after this many seconds, with and without the shim."""
    with tempfile.TemporaryDirectory(suffix=".gilscope", dir=args.output) as where:
        bare = run(args.python, common.bare_env(), count, mode, seconds)[-1]
        lines = run(args.python, common.measured_env(preload, where), count, mode, seconds)
        length, disk = sizes(where)
    last = lines[-1]
    shim = last["recording"]["Rss"] + last["library"]["Rss"]
    limit = LIMIT_BASE + LIMIT_THREAD * (count + 1)
    return {"threads": count, "mode": mode, "recording_rss": last["recording"]["Rss"],
            "library_rss": last["library"]["Rss"], "shim_rss": shim, "limit": limit, "met": shim <= limit,
            "process_dirty_delta": last["all"]["Private_Dirty"] - bare["all"]["Private_Dirty"],
            "process_pss_delta": last["all"]["Pss"] - bare["all"]["Pss"], "file_length": length, "file_disk": disk}


def grow(args, preload, count, mode):
    """One row: how a recording's resident size develops while the same things go on."""
    with tempfile.TemporaryDirectory(suffix=".gilscope", dir=args.output) as where:
        lines = run(args.python, common.measured_env(preload, where), count, mode, args.grow_seconds)
        length, disk = sizes(where)
    return {"threads": count, "mode": mode, "seconds": [line["seconds"] for line in lines],
            "recording_rss": [line["recording"]["Rss"] for line in lines], "ended_threads": lines[-1]["ended"],
            "file_length": length, "file_disk": disk}


def kib(value):
    return f"{value / 1024:.0f}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 100, 1000], help="[1 100 1000]")
    parser.add_argument("--seconds", type=float, default=30,
                        help="of each lively run, which fills its histograms slowly [%(default)s]")
    parser.add_argument("--grow-seconds", type=float, default=12, help="of the runs over time [%(default)s]")
    parser.add_argument("--output", help="directory for the recordings [a temporary one]")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def main():
    args = parse()
    gilscope = common.gilscope_bin(args.gilscope)
    preload = common.preload_path(gilscope)
    env = common.environment(args.python, gilscope)
    rows = [weigh(args, preload, count, "idle", 2) for count in args.threads]
    rows += [weigh(args, preload, count, "lively", args.seconds) for count in args.threads]
    growth = [grow(args, preload, 4, "lively"), grow(args, preload, 20, "churn")]
    if args.json:
        json.dump({"environment": env, "memory": rows, "growth": growth}, sys.stdout, indent=2)
        print()
        return
    common.print_environment(env)
    print("KiB             recording + library = shim    limit        process: dirty     Pss    file: length  on disk")
    for r in rows:
        print(f"{r['threads']:5} {r['mode']:8} {kib(r['recording_rss']):>9}   {kib(r['library_rss']):>7} "
              f"{kib(r['shim_rss']):>6} {kib(r['limit']):>8} {'met' if r['met'] else 'MISSED':7}"
              f" {kib(r['process_dirty_delta']):>11} {kib(r['process_pss_delta']):>7} {kib(r['file_length']):>15} "
              f"{kib(r['file_disk']):>8}")
    print("\nThe recording's resident KiB, second by second")
    for g in growth:
        ended = f", {g['ended_threads']} threads came and went" if g["ended_threads"] else ""
        print(f"  {g['threads']} threads, {g['mode']}: {' '.join(map(kib, g['recording_rss']))}"
              f"; the file in the end {kib(g['file_disk'])} on disk{ended}")


if __name__ == "__main__":
    main()
