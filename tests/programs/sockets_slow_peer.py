# SPDX-License-Identifier: MIT
"""Eight threads wait for the answers of a slow peer (5 ms) over loopback."""
import threading

from common import ask, run_threads, slow_peer

connect = slow_peer(0.005)
local = threading.local()


def request():
    if not hasattr(local, "connection"):
        local.connection = connect()
    ask(local.connection)


run_threads(8, request)
