# SPDX-License-Identifier: MIT
"""Four times as many hashing threads as processors: they do not wait for the GIL but for a processor."""
import hashlib

from common import CPUS, run_threads

block = b"x" * (4 << 20)
run_threads(4 * CPUS, lambda: hashlib.sha256(block).digest())
