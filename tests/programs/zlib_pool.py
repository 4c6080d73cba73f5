# SPDX-License-Identifier: MIT
"""ThreadPoolExecutor.map of zlib.compress over large buffers, as many threads as processors."""
import zlib
from concurrent.futures import ThreadPoolExecutor

from common import CPUS, running

block = bytes(range(256)) * 2048
with ThreadPoolExecutor(max(CPUS, 2)) as pool:
    while running():
        list(pool.map(zlib.compress, [block] * 8 * CPUS))
