# SPDX-License-Identifier: MIT
"""The same server at a tenth of its load: four threads ask a database (20 ms) and compute 0.3 ms of Python."""
import threading

from common import ask, run_threads, slow_peer, work_python

connect = slow_peer(0.020)
local = threading.local()


def request():
    if not hasattr(local, "connection"):
        local.connection = connect()
    ask(local.connection)
    work_python(6000)


run_threads(4, request)
