# SPDX-License-Identifier: MIT
"""Two hashing threads share one processor with three busy processes."""
import hashlib

from common import busy_neighbours, run_threads

block = b"x" * (1 << 20)
busy_neighbours(3)
run_threads(2, lambda: hashlib.sha256(block).digest())
