# SPDX-License-Identifier: MIT
"""The programs whose speed bench/overhead.py compares: workloads.py NAME, driven line by line over stdin.

For each line "SECONDS" it works for that long and answers "OPERATIONS WALL_NS CPU_NS", by its own clocks; CPU time is
that of the whole process.  Runs on every CPython from 3.8 on.
"""
import os
import sys
import threading
import time

BATCH = 1000  # operations between two looks at the clock


def storm(fd, deadline_ns):
    """Gives the GIL up and takes it again in each operation."""
    read, clock, count = os.read, time.perf_counter_ns, 0
    while True:
        for _ in range(BATCH):
            read(fd, 1)
        count += BATCH
        if clock() >= deadline_ns:
            return count


def python(_fd, deadline_ns):
    """Pure Python: gives the GIL up only when it is asked to."""
    clock, count, total = time.perf_counter_ns, 0, 0
    while True:
        for i in range(BATCH):
            total += i & 7
        count += BATCH
        if clock() >= deadline_ns:
            return count


def matmul(_fd, deadline_ns):
    """numpy's product of two 128 x 128 matrices: a tenth of a millisecond to a millisecond without the GIL."""
    import numpy
    a = numpy.random.default_rng(1).random((128, 128))
    clock, count = time.perf_counter_ns, 0
    while True:
        a @ a
        count += 1
        if clock() >= deadline_ns:
            return count


WORKLOADS = {"storm": (storm, 1), "pingpong": (storm, 2), "cpu4": (python, 4), "matmul": (matmul, 1)}


def slice_of(function, threads, fd, seconds):
    """Works for this long in this many threads; (operations, wall ns, CPU ns)."""
    cpu_ns, start_ns = time.process_time_ns(), time.perf_counter_ns()
    deadline_ns = start_ns + int(seconds * 1e9)
    counts = []
    if threads == 1:
        counts.append(function(fd, deadline_ns))
    else:
        pool = [threading.Thread(target=lambda: counts.append(function(fd, deadline_ns))) for _ in range(threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
    return sum(counts), time.perf_counter_ns() - start_ns, time.process_time_ns() - cpu_ns


def main(name):
    function, threads = WORKLOADS[name]
    fd = os.open("/dev/zero", os.O_RDONLY)
    for line in sys.stdin:
        print(*slice_of(function, threads, fd, float(line)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
