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


def uneven(fd, deadline_ns):
    """As storm, with holds of two lengths by turns."""
    read, clock, count = os.read, time.perf_counter_ns, 0
    while True:
        for _ in range(BATCH // 2):
            read(fd, 1)
            read(fd, 1)
            sum(range(20))
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
    """numpy's product of two 128 x 128 matrices: a tenth of a millisecond to a millisecond without the GIL.

    Each matrix begins a page and is used again: where they lie, by chance or by the length of the environment, is else
    worth 5 %.
    """
    import numpy
    size, page = 128, 4096
    room = numpy.zeros(3 * size * size * 8 + page, dtype=numpy.uint8)
    begin = -room.ctypes.data % page
    a, b, product = room[begin:begin + 3 * size * size * 8].view(numpy.float64).reshape(3, size, size)
    a[:], b[:] = numpy.random.default_rng(1).random((2, size, size))
    clock, count = time.perf_counter_ns, 0
    while True:
        numpy.matmul(a, b, out=product)
        count += 1
        if clock() >= deadline_ns:
            return count


WORKLOADS = {"storm": (storm, 1), "uneven": (uneven, 1), "pingpong": (storm, 2),
             "cpu4": (python, 4), "matmul": (matmul, 1)}


class Team:
    """Threads that live as long as the process and work when they are told to: turns do not pay for starts and ends."""

    def __init__(self, function, size, fd):
        self.function, self.fd = function, fd
        self.deadline_ns, self.counts = 0, [0] * size
        self.gate, self.end = threading.Barrier(size + 1), threading.Barrier(size + 1)
        for i in range(size):
            threading.Thread(target=self.live, args=(i,), daemon=True).start()

    def live(self, i):
        while True:
            self.gate.wait()
            self.counts[i] = self.function(self.fd, self.deadline_ns)
            self.end.wait()

    def work(self, deadline_ns):
        """Operations until then."""
        self.deadline_ns = deadline_ns
        self.gate.wait()
        self.end.wait()
        return sum(self.counts)


def main(name):
    function, threads = WORKLOADS[name]
    fd = os.open("/dev/zero", os.O_RDONLY)
    work = Team(function, threads, fd).work if threads > 1 else lambda deadline_ns: function(fd, deadline_ns)
    for line in sys.stdin:
        cpu_ns, start_ns = time.process_time_ns(), time.perf_counter_ns()
        count = work(start_ns + int(float(line) * 1e9))
        print(count, time.perf_counter_ns() - start_ns, time.process_time_ns() - cpu_ns, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
