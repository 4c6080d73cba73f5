# SPDX-License-Identifier: MIT
"""One thread of pure Python holds the GIL all the time, and nobody wants it."""
from common import repeat, work_python

repeat(work_python)
