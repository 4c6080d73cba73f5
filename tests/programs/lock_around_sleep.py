# SPDX-License-Identifier: MIT
"""Six threads take turns at one lock that is kept over a wait of 5 ms."""
import threading
import time

from common import run_threads

lock = threading.Lock()


def step():
    with lock:
        time.sleep(0.005)


run_threads(6, step)
