# SPDX-License-Identifier: MIT
"""Two threads hold the GIL for a millisecond and let go for an instant only; a third one hardly ever gets it."""
import os

from common import join, spin_python, start_threads, work_python

fd = os.open("/dev/zero", os.O_RDONLY)


def hog():
    spin_python(0.001)
    os.read(fd, 1)


join(start_threads(2, hog) + start_threads(1, work_python))
