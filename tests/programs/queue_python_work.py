# SPDX-License-Identifier: MIT
"""A producer and three consumers over a queue; all of the work is Python."""
import queue
import threading

from common import running, work_python

jobs = queue.Queue(maxsize=100)


def consume():
    while jobs.get() is not None:
        work_python()


consumers = [threading.Thread(target=consume) for _ in range(3)]
for consumer in consumers:
    consumer.start()
while running():
    work_python(5000)
    jobs.put(1)
for _ in consumers:
    jobs.put(None)
for consumer in consumers:
    consumer.join()
