# SPDX-License-Identifier: MIT
"""The program whose memory bench/memory.py weighs: sleepers.py THREADS idle|lively|churn SECONDS

idle: each thread works once, then waits.  lively: each works for up to 0.5 ms, sleeps for so long that the GIL is held
for half of the time by all of them together, and so on, so that all sizes of waits, holds and releases occur.
churn: threads that end at once, THREADS at a time, all the time.
Prints, each second and at the end, a JSON line with the memory of this process, then ends.
"""
import json
import os
import random
import sys
import threading
import time

FIELDS = ("Rss", "Pss", "Private_Dirty")


def weigh():
    """Sums of the mappings of the recording, of the shim and of everything, in bytes."""
    sums = {what: dict.fromkeys(FIELDS, 0) for what in ("recording", "library", "all")}
    kinds = ()
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            words = line.split()
            if not words[0].endswith(":"):  # the head of a mapping
                path = words[5] if len(words) > 5 else ""
                kinds = ("all",) + ((("recording",) if ".gil" == path[-4:] else ()) if "gilscope-preload" not in path
                                    else ("library",))
            elif words[0][:-1] in FIELDS:
                for kind in kinds:
                    sums[kind][words[0][:-1]] += int(words[1]) * 1024
    return sums


def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def live(mode, end, count):
    rng = random.Random(threading.get_ident())
    work(0.0001)
    if mode == "idle":
        end.wait()
    while mode == "lively" and not end.is_set():
        work(rng.random() ** 4 * 0.0005)
        time.sleep(rng.random() ** 4 * 0.001 * count)


def show(since, n_ended):
    print(json.dumps(dict(weigh(), seconds=round(time.monotonic() - since, 1), ended=n_ended,
                          threads=len(os.listdir("/proc/self/task")))), flush=True)


def main(count, mode, seconds):
    threading.stack_size(256 * 1024)
    end, since, shown, n_ended = threading.Event(), time.monotonic(), 0, 0
    threads = []
    if mode != "churn":
        threads = [threading.Thread(target=live, args=(mode, end, count)) for _ in range(count)]
        for thread in threads:
            thread.start()
    while time.monotonic() - since < seconds:
        if mode == "churn":
            threads = [threading.Thread(target=int) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            n_ended += count
        else:
            time.sleep(0.2)
        if time.monotonic() - since > shown + 1:
            shown += 1
            show(since, n_ended)
    show(since, n_ended)
    end.set()
    for thread in threads:
        thread.join()


main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
