# SPDX-License-Identifier: MIT
"""One thread computes while sixteen wait for jobs, events and sleeps."""
import queue
import threading
import time

from common import DURATION_S, repeat, work_python

jobs = queue.Queue()
end = threading.Event()
idle = [threading.Thread(target=jobs.get) for _ in range(8)] + [threading.Thread(target=end.wait) for _ in range(6)]
idle += [threading.Thread(target=time.sleep, args=(DURATION_S,)) for _ in range(2)]
for thread in idle:
    thread.start()
repeat(work_python)
end.set()
for _ in range(8):
    jobs.put(None)
for thread in idle:
    thread.join()
