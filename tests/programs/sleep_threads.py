# SPDX-License-Identifier: MIT
"""Eight threads that sleep 100 ms at a time."""
import time

from common import run_threads

run_threads(8, time.sleep, 0.1)
