# SPDX-License-Identifier: MIT
"""Four consumers wait for a producer that has something every 20 ms only."""
import queue
import threading
import time

from common import running

jobs = queue.Queue()


def consume():
    while jobs.get() is not None:
        pass


consumers = [threading.Thread(target=consume) for _ in range(4)]
for consumer in consumers:
    consumer.start()
while running():
    time.sleep(0.02)
    jobs.put(1)
for _ in consumers:
    jobs.put(None)
for consumer in consumers:
    consumer.join()
