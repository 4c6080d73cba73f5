# SPDX-License-Identifier: MIT
"""Four threads hash large buffers without the GIL, but under one lock."""
import hashlib
import threading

from common import run_threads

lock = threading.RLock()
block = b"x" * (4 << 20)


def step():
    with lock:
        hashlib.sha256(block).digest()


run_threads(4, step)
