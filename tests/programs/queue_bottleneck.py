# SPDX-License-Identifier: MIT
"""Three producers fill a short queue; its only consumer compresses: one thread works, the others are blocked."""
import queue
import threading
import zlib

from common import running

jobs = queue.Queue(maxsize=1)
block = bytes(range(256)) * 4096


def consume():
    while jobs.get() is not None:
        zlib.compress(block)


def produce():
    while running():
        jobs.put(1)


consumer = threading.Thread(target=consume)
producers = [threading.Thread(target=produce) for _ in range(3)]
for thread in [consumer] + producers:
    thread.start()
for producer in producers:
    producer.join()
jobs.put(None)
consumer.join()
