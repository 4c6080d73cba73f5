# SPDX-License-Identifier: MIT
"""Three threads hash buffers below hashlib's limit of 2047 bytes, under which it keeps the GIL."""
import hashlib

from common import run_threads

block = b"x" * 1000


def hash_blocks():
    for _ in range(500):
        hashlib.sha256(block).digest()


run_threads(3, hash_blocks)
