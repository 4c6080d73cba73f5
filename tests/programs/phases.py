# SPDX-License-Identifier: MIT
"""Four threads: a third of the time pure Python, a third one lock around a sleep, a third answers of a slow peer."""
import threading
import time

from common import DEADLINE_S, DURATION_S, ask, run_threads, slow_peer, work_python

connect = slow_peer(0.005)
local = threading.local()
lock = threading.Lock()


def step():
    left = (DEADLINE_S - time.monotonic()) / DURATION_S
    if left > 2 / 3:
        work_python()
    elif left > 1 / 3:
        with lock:
            time.sleep(0.005)
    else:
        if not hasattr(local, "connection"):
            local.connection = connect()
        ask(local.connection)


run_threads(4, step)
