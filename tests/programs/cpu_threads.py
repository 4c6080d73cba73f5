# SPDX-License-Identifier: MIT
"""Four threads of pure Python."""
from common import run_threads, work_python

run_threads(4, work_python)
