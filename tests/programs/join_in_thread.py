# SPDX-License-Identifier: MIT
"""A thread other than the main one starts hashing threads and joins them: to wait for their end is no contention."""
import hashlib
import threading

from common import CPUS, run_threads

block = b"x" * (1 << 20)
boss = threading.Thread(target=run_threads, args=(max(CPUS, 2), lambda: hashlib.sha256(block).digest()))
boss.start()
boss.join()
