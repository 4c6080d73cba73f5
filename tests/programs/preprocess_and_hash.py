# SPDX-License-Identifier: MIT
"""Like a model server: each request is a little Python (0.5 ms) and much native work without the GIL (10 ms)."""
import hashlib

from common import CPUS, run_threads, work_python


def request():
    work_python(10000)
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20000)


run_threads(max(CPUS, 2), request)
