# SPDX-License-Identifier: MIT
"""A server at its limit: eight threads ask a database (10 ms) and compute 4 ms of Python; the GIL is the bottleneck."""
import threading

from common import ask, run_threads, slow_peer, work_python

connect = slow_peer(0.010)
local = threading.local()


def request():
    if not hasattr(local, "connection"):
        local.connection = connect()
    ask(local.connection)
    work_python(80000)


run_threads(8, request)
