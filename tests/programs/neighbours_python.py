# SPDX-License-Identifier: MIT
"""One thread of pure Python shares its processor with three busy processes."""
from common import busy_neighbours, repeat, work_python

busy_neighbours(3)
repeat(work_python)
