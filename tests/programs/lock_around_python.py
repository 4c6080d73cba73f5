# SPDX-License-Identifier: MIT
"""Four threads, all of whose Python work is done under one lock: without the GIL it would be no faster."""
import threading

from common import run_threads, work_python

lock = threading.Lock()


def step():
    with lock:
        work_python(200000)


run_threads(4, step)
