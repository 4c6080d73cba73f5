# SPDX-License-Identifier: MIT
"""Four threads compute 1 ms of Python, meet at a barrier, and so on: each waits for the others' turns at the GIL."""
import threading

from common import running, work_python

barrier = threading.Barrier(4)


def step():
    try:
        while running():
            work_python()
            barrier.wait()
    except threading.BrokenBarrierError:
        pass
    barrier.abort()


threads = [threading.Thread(target=step) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
