# SPDX-License-Identifier: MIT
"""What the labelled programs share: how long to run, threads, a slow peer, busy neighbours.  Python 3.8 or newer."""
import asyncio
import atexit
import os
import socket
import subprocess
import sys
import threading
import time

DURATION_S = float(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[0] != __file__ else 2.0
DEADLINE_S = time.monotonic() + DURATION_S  # on the CLOCK_MONOTONIC of time.monotonic()
CPUS = len(os.sched_getaffinity(0))


def running():
    """True until the program's time is up."""
    return time.monotonic() < DEADLINE_S


def spin_python(seconds):
    """Run Python bytecode for about this long by the wall clock; never gives the GIL up of its own accord."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def work_python(rounds=20000):
    """A fixed amount of bytecode, about 1 ms for 20,000 rounds, however long it has to wait for the GIL."""
    total = 0
    for i in range(rounds):
        total += i & 7
    return total


def repeat(function, *args):
    """Call function until the program's time is up."""
    while running():
        function(*args)


def run_threads(count, function, *args):
    """Run function(*args) in this many threads over and over until the time is up; return when all have ended."""
    join(start_threads(count, function, *args))


def start_threads(count, function, *args):
    """The same, without waiting for the end."""
    threads = [threading.Thread(target=repeat, args=(function,) + args) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads):
    for thread in threads:
        thread.join()


def start_outside(argv, **kwargs):
    """Start a helper process that is not measured, and end it with this program."""
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "GILSCOPE")}
    process = subprocess.Popen(argv, env=env, **kwargs)
    atexit.register(lambda: (process.terminate(), process.wait()))
    return process


def slow_peer(delay_s):
    """Start a peer in another process that answers each byte after a delay; returns a function that connects to it."""
    peer = start_outside([sys.executable, __file__, str(delay_s)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    port = int(peer.stdout.readline())
    return lambda: socket.create_connection(("127.0.0.1", port))


def ask(connection):
    """One request to a slow peer and its answer."""
    connection.sendall(b"?")
    if not connection.recv(1):
        raise EOFError("the peer has gone")


def busy_neighbours(count):
    """Pin this process to its first processor and put this many busy processes there too."""
    cpu = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    for _ in range(count):  # `timeout` ends them even if this program is killed
        start_outside(["timeout", str(int(DURATION_S) + 20), "sh", "-c", "while :; do :; done"])


async def _answer(reader, writer, delay_s):
    while await reader.read(1):
        await asyncio.sleep(delay_s)
        writer.write(b"!")
    writer.close()


async def _serve(delay_s):
    server = await asyncio.start_server(lambda r, w: _answer(r, w, delay_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_event_loop().run_in_executor(None, sys.stdin.read)  # until the program has gone
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
