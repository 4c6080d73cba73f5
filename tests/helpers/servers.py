# SPDX-License-Identifier: MIT
"""Asks web servers of tests, and ends them."""
import os
import signal
import socket
import time
import urllib.error
import urllib.request


def free_port():
    """A port that nobody has just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port, path):
    """The answer to one request."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as reply:
        return reply.read()


def wait_until_ready(process, port, path):
    """Until the server answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: {process.returncode}"
        try:
            return fetch(port, path)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def end_group(process):
    """What is left of a server that leads a process group, and of its workers, ends now."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
