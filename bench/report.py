#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long reports on many stacks take, and how much memory.

    bench/report.py [--stacks N] [--repeat N] [--depth N]

Makes a recording of N distinct stacks (100,000) and reports on it in each format: median of the elapsed times, the
processor's time of that run, peak memory, size of the report.
"""
import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import gs, made  # noqa: E402  (needs the path above)


def measure(form, recording, output):
    output.unlink(missing_ok=True)  # to free the last one's pages would take as long as to write them
    return (*gs.measure("report", "-f", form, "-o", output, recording), output.stat().st_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", type=int, default=100000)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        where = Path(where)
        recording = made.many_stacks(where, args.stacks, args.depth)
        size = sum(f.stat().st_size for f in recording.iterdir())
        print(f"{args.stacks} stacks of {args.depth + 2} frames, {size / 1e6:.0f} MB recorded")
        print(f"{'format':12}{'seconds':>10}{'CPU s':>10}{'MB peak':>10}{'MB report':>12}")
        for form in ("text", "html", "svg", "folded", "speedscope", "pprof", "json"):
            runs = [measure(form, recording, where / "report") for _ in range(args.repeat)]
            seconds = statistics.median(r[0] for r in runs)
            cpu = statistics.median(r[1] for r in runs)
            print(f"{form:12}{seconds:10.2f}{cpu:10.2f}{max(r[2] for r in runs):10.0f}{runs[0][3] / 1e6:12.1f}")


if __name__ == "__main__":
    main()
