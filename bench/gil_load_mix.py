# SPDX-License-Identifier: MIT
"""Runs one mix of tests/truth under gil_load: python -m gil_load gil_load_mix.py SPEC.json OUT.json

Writes {"truth": what the threads measured, "gil_load": [{"held_ns", "wait_ns"}, ...] in the same order}.
"""
import json
import sys
import threading
import time

import gil_load

gil_load.init()

import _giltruth  # noqa: E402  (gil_load wants to be first)


def main(spec_path, out_path):
    with open(spec_path) as file:
        spec = json.load(file)
    _giltruth.setup([tuple(t) for t in spec["threads"]], spec["duration_ns"], 0, spec["pinned"])
    threads = []
    for i in range(len(spec["threads"])):
        threads.append(threading.Thread(target=_giltruth.worker, args=(i,)))
        threads[i].start()
        _giltruth.ready(i + 1)
    gil_load.start(av_sample_interval=0.005)
    start_ns = time.monotonic_ns()
    truth = _giltruth.finish()
    window_ns = time.monotonic_ns() - start_ns
    gil_load.stop()
    by_ident = gil_load.get()[1]
    figures = []
    for one, thread in zip(truth, threads):
        one["log"] = []
        stats = by_ident.get(thread.ident, {"held": 0, "wait": 0})
        figures.append({"held_ns": int(stats["held"] * window_ns), "wait_ns": int(stats["wait"] * window_ns)})
    with open(out_path, "w") as file:
        json.dump({"truth": truth, "gil_load": figures}, file)


main(*sys.argv[1:])
