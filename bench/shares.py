#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How true the stacks are: shares of functions, and sums of samples, in programs that time themselves.

    bench/shares.py [--python PYTHON]... [--seconds S] [--repeat N] [--interval T] [KIND...]

Programs of tests/frames spend known times in pairs of functions, of Python and of an extension.  A row is a view:
the first function's share of both as the report has it, the true one, and the difference in points; then what the
view's samples stand for before they are scaled, over the exact total of the same state, and how many there are.  `sampled` is
what the looks of `gilscope run` and the library's own samples make together, as the report uses them; `library` is what the
library's own samples stand for.  Aims: 2 points, 2 %.
"""
import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import common

sys.path.insert(0, str(common.REPO / "tests"))

from helpers import gs, pythons, stacks, truth  # noqa: E402  (needs the path above)

FRAMES = common.REPO / "tests" / "frames"

# kind: program, its argument, and for each view the two functions and what the program says of them
KINDS = {
    "contended": ("places.py", "contended", {
        "wait": ("f_waits", "g_waits", "f_waits", "g_waits"),
        "charged": ("f_holds", "g_holds", "f_charged", "g_charged"),
        "held": ("f_holds", "g_holds", "f_holds", "g_holds")}),
    "released": ("places.py", "released", {
        "released": ("f_releases", "g_releases", "f_releases", "g_releases")}),
    "releases": ("places.py", "released", {"released": ("lets_go", "sleeps", "f_releases", "g_releases")}),
    "extension": ("places.py", "extension", {
        "released": ("lets_go", "keeps_and_lets_go", "lets_go", "keeps_and_lets_go")}),
    "sleeps": ("inside.py", "sleeps", {"held": ("f_runs", "g_runs", "f", "g")}),
    "hashes": ("inside.py", "hashes", {"held": ("f_runs", "g_runs", "f", "g")}),
    "builtin": ("inside.py", "builtin", {"held": ("f_sorts", "g_sorts", "f", "g")}),
    "short": ("inside.py", "short", {"held": ("f_short", "g_short", "f", "g")}),
    "keeps": ("inside.py", "extension", {"held": ("f_keeps", "g_keeps", "f", "g")}),
}


def share(process, view, names):
    """The first function's share of both, by the innermost frame that has one of these names."""
    found = dict.fromkeys(names, 0)
    for s in process["stacks"]:
        if s["view"] == view:
            inner = (f["function"].split(".")[-1] for f in reversed(s["frames"]))
            name = next((f for f in inner if f in found), None)
            if name:
                found[name] += s["ns"]
    return found[names[0]] / max(1, sum(found.values()))


def measure(python, kind, seconds, options, where):
    """{view: (share, true share, sampled sum, library's sum, samples)} of one run; sums over the exact total."""
    program, argument, views = KINDS[kind]
    out = where / "out.json"
    recording = gs.run([python, FRAMES / program, truth.places(), argument, seconds, out], where, options=options,
                       timeout=seconds * 3 + 60)
    true, process, library = json.loads(out.read_text()), recording.process, stacks.read(recording)
    rows = {}
    for view, (f, g, true_f, true_g) in views.items():
        sampling = process["sampling"][view]
        rows[view] = (share(process, view, (f, g)), true[true_f] / (true[true_f] + true[true_g]),
                      sampling["sampled_ns"] / sampling["total_ns"], library.total(view) / sampling["total_ns"],
                      sampling["samples"])
    for file in recording.dir.iterdir():
        file.unlink()
    recording.dir.rmdir()
    return rows


POINTS, PER_CENT = 2, 2


def is_off(row):
    told, true, sampled, library, _ = row
    return abs(told - true) > POINTS / 100 or max(abs(sampled - 1), abs(library - 1)) > PER_CENT / 100


def show(name, kind, view, row):
    told, true, sampled, library, n = row
    print(f"{name:10}{kind:11}{view:10}{told:8.4f}{true:8.4f}{100 * (told - true):+8.2f}{sampled:9.4f}{library:9.4f}{n:9}"
          f"{'   off' if is_off(row) else ''}", flush=True)


def measure_all(args, where):
    """The rows of all interpreters and kinds, shown as they come; and how many were off, twice where --check is given."""
    options, rows, wrong = ("--sample-interval", args.interval) if args.interval else (), [], 0
    for python in args.python or [p.path for p in pythons.SUPPORTED]:
        name = common.python_version(python).split(",")[0]
        for kind in args.kind or KINDS:
            for _ in range(args.repeat):
                found = measure(python, kind, args.seconds, options, where)
                off = {view for view, row in found.items() if is_off(row)}
                if off and args.check:
                    again = measure(python, kind, args.seconds, options, where)
                    off &= {view for view, row in again.items() if is_off(row)}
                    for view in off:
                        show(name, kind, view, again[view])
                for view, row in found.items():
                    show(name, kind, view, row)
                rows += found.values()
                wrong += len(off)
    return rows, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="may be given several times; all that are found by default")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--interval", help="gilscope run --sample-interval")
    parser.add_argument("--check", action="store_true",
                        help="measure again what misses its aim, and exit with 1 if it does so twice")
    parser.add_argument("kind", nargs="*", choices=[*KINDS, []])
    args = parser.parse_args()
    print(f"{'python':10}{'kind':11}{'view':10}{'share':>8}{'true':>8}{'points':>8}{'sampled':>9}{'library':>9}{'samples':>9}")
    with tempfile.TemporaryDirectory() as where:
        rows, wrong = measure_all(args, Path(where))
    off = [100 * (told - true) for told, true, *_ in rows]
    sums = [100 * abs(value - 1) for _, _, sampled, library, _ in rows for value in (sampled, library)]
    print(f"\nshares: {statistics.fmean(off):+.2f} points on average, {statistics.pstdev(off):.2f} standard deviation, "
          f"{max(map(abs, off)):.2f} at most; sums: {max(sums):.1f} % off at most")
    if args.check and wrong:
        common.fail(f"{wrong} views missed their aim twice")


if __name__ == "__main__":
    main()
