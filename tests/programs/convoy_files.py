# SPDX-License-Identifier: MIT
"""Three threads of short file reads behind a thread that computes."""
import os

from common import join, start_threads, work_python

fd = os.open("/dev/zero", os.O_RDONLY)
join(start_threads(1, work_python) + start_threads(3, lambda: os.pread(fd, 4096, 0)))
