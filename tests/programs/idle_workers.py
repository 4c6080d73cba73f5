# SPDX-License-Identifier: MIT
"""Eight workers wait for jobs that never come, the main thread for its end: on queues and events, not on a lock."""
import queue
import threading

from common import DURATION_S

jobs = queue.Queue()
end = threading.Event()
workers = [threading.Thread(target=jobs.get) for _ in range(4)] + [threading.Thread(target=end.wait) for _ in range(4)]
for worker in workers:
    worker.start()
threading.Event().wait(DURATION_S)
end.set()
for _ in range(4):
    jobs.put(None)
for worker in workers:
    worker.join()
