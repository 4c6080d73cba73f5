# SPDX-License-Identifier: MIT
"""A pool of eight threads has had its jobs; the main thread computes."""
import threading
from concurrent.futures import ThreadPoolExecutor

from common import repeat, work_python

with ThreadPoolExecutor(8) as pool:
    barrier = threading.Barrier(8)
    list(pool.map(lambda _: barrier.wait(), range(8)))
    repeat(work_python)
