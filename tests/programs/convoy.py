# SPDX-License-Identifier: MIT
"""A thread of many short socket operations behind a thread that computes: each return from the kernel waits 5 ms."""
import socket

from common import join, start_threads, work_python

left, right = socket.socketpair()


def exchange():
    left.send(b"x")
    right.recv(1)


join(start_threads(1, work_python) + start_threads(1, exchange))
