# SPDX-License-Identifier: MIT
"""Runs one mix of threads through _giltruth and writes what they measured: driver.py SPEC.json OUT.json

SPEC: {"threads": [[hold_ns, hold_sleeps, release_ns, release_sleeps, read_cpu], ...], "duration_ns", "max_log",
"pinned", "kind": "native" | "python"}.  Runs on every CPython from 3.8 on.
"""
import array
import json
import sys

import _giltruth


def main(spec_path, out_path):
    with open(spec_path) as file:
        spec = json.load(file)
    _giltruth.setup([tuple(t) for t in spec["threads"]], spec["duration_ns"], spec["max_log"], spec["pinned"])
    if spec["kind"] == "native":
        _giltruth.native()
    else:
        import _thread
        for i in range(len(spec["threads"])):
            _thread.start_new_thread(_giltruth.worker, (i,))
            _giltruth.ready(i + 1)
    results = _giltruth.finish()
    for one in results:
        one["log"] = array.array("q", one["log"] or b"").tolist()
    with open(out_path, "w") as file:
        json.dump(results, file)


main(*sys.argv[1:])
