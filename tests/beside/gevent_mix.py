# SPDX-License-Identifier: MIT
"""gevent: patched modules, hundreds of greenlets, sockets, and its pool of real threads."""
from gevent import monkey

monkey.patch_all()

import hashlib  # noqa: E402
import queue  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402

import gevent  # noqa: E402
from gevent.server import StreamServer  # noqa: E402
from gevent.threadpool import ThreadPool  # noqa: E402


def echo(connection, _):
    """Sends back what it reads."""
    while data := connection.recv(100):
        connection.sendall(data)


def ask(number):
    """A conversation with the server."""
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        for turn in range(5):
            connection.sendall(b"%d-%d" % (number, turn))
            if connection.recv(100) != b"%d-%d" % (number, turn):
                return 0
    return 1


def hash_much(number):
    """In a real thread."""
    return hashlib.sha256(bytes([number]) * 300000).hexdigest()[:8]


server = StreamServer(("127.0.0.1", 0), echo)
server.start()
jobs = [gevent.spawn(ask, i) for i in range(60)]
gevent.joinall(jobs)
print(sum(j.value for j in jobs))
server.stop()
pool = ThreadPool(4)
print(list(pool.map(hash_much, range(16))))
pool.kill()
todo, done = queue.Queue(), []


def worker():
    """A greenlet that takes itself for a thread."""
    while (item := todo.get()) is not None:
        done.append(item * item)


threads = [threading.Thread(target=worker) for _ in range(20)]
for t in threads:
    t.start()
for i in range(500):
    todo.put(i)
for _ in threads:
    todo.put(None)
for t in threads:
    t.join()
print(len(done), sum(done))
