# SPDX-License-Identifier: MIT
"""A producer feeds large buffers to as many consumers as processors, which compress them without the GIL."""
import queue
import threading
import zlib

from common import CPUS, running

jobs = queue.Queue(maxsize=8)
block = bytes(range(256)) * 4096


def consume():
    while jobs.get() is not None:
        zlib.compress(block)


consumers = [threading.Thread(target=consume) for _ in range(max(CPUS, 2))]
for consumer in consumers:
    consumer.start()
while running():
    jobs.put(1)
for _ in consumers:
    jobs.put(None)
for consumer in consumers:
    consumer.join()
