# SPDX-License-Identifier: MIT
"""As many threads as processors hash large buffers, with the GIL released."""
import hashlib

from common import CPUS, run_threads

block = b"x" * (1 << 20)
run_threads(max(CPUS, 2), lambda: hashlib.sha256(block).digest())
