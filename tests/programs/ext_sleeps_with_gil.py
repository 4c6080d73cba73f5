# SPDX-License-Identifier: MIT
"""An extension sleeps 20 ms at a time without letting the GIL go; two threads want to compute."""
import ctypes

from common import join, start_threads, work_python

keeps_gil = ctypes.PyDLL(None)
join(start_threads(1, keeps_gil.usleep, 20000) + start_threads(2, work_python))
