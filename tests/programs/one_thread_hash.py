# SPDX-License-Identifier: MIT
"""One thread hashes large buffers: the GIL is released, but nobody uses it."""
import hashlib

from common import repeat

block = b"x" * (1 << 20)
repeat(lambda: hashlib.sha256(block).digest())
