# SPDX-License-Identifier: MIT
"""Live web servers are attached to while they answer: they go on answering rightly, and the report names the handler that
holds the GIL."""
import functools
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers import beside, gs
from helpers.attach import Attached, need_bpf
from helpers.servers import end_group, fetch, free_port, wait_until_ready

APP = '''
def busy_handler(path):
    """Letter by letter, in pure Python."""
    total = 0
    for letter in path * 20000:
        total = (total * 31 + ord(letter)) & 0xffffff
    return b"%d" % total

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [busy_handler(environ["PATH_INFO"])]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": busy_handler(scope["path"])})
'''
SERVERS = {
    "gunicorn": ["-k", "gthread", "-w", "1", "--threads", "4", "-b", "127.0.0.1:{port}", "live:wsgi"],
    "uvicorn": ["--host", "127.0.0.1", "--port", "{port}", "--log-level", "critical", "live:asgi"],
}
LOAD_S = 1.5


@functools.lru_cache(maxsize=None)
def expected(path):
    """The right answer."""
    place = {}
    exec(APP, place)  # pylint: disable=exec-used
    return place["busy_handler"](path)


def worker_of(process, kind):
    """The process that answers: gunicorn's is a child."""
    if kind == "uvicorn":
        return process.pid
    found = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True, check=True)
    return int(found.stdout.split()[0])


def load(port):
    """Asks from several threads for some time; paths and answers."""
    end, asked = time.monotonic() + LOAD_S, []

    def client(i):
        while time.monotonic() < end:
            asked.append((f"/{i}", fetch(port, f"/{i}")))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(client, range(6)))
    return asked


def held_by_function(process):
    """Of what a process held, how much in each Python function itself, as shares."""
    held = {}
    for stack in process["stacks"]:
        if stack["view"] == "held":
            own = [f["function"] for f in stack["frames"] if not f["native"]][-1:]
            held[tuple(own)] = held.get(tuple(own), 0) + stack["ns"]
    return {name[0]: ns / sum(held.values()) for name, ns in held.items() if name}


@pytest.mark.parametrize("method", ["bpf", "sample"])
@pytest.mark.parametrize("kind", SERVERS)
def test_report_names_the_handler_that_holds_the_gil(kind, method, where):
    """Of a server under load, most of what is held is told to be held in its handler; each answer is right."""
    need_bpf(method)
    beside.need_module(kind, f"python3-{kind}")
    (where / "live.py").write_text(APP)
    port = free_port()
    command = [beside.SYSTEM_PYTHON, "-m", kind, *(o.format(port=port) for o in SERVERS[kind])]
    server = subprocess.Popen(command, cwd=where, env=beside.environment(where), stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_ready(server, port, "/0")
        attached = Attached(worker_of(server, kind), where, method=method)
        asked = load(port)
        (process,) = attached.end()
        assert asked and all(answer == expected(path) for path, answer in asked)
        assert fetch(port, "/last") == expected("/last")
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    finally:
        end_group(server)
    shares = held_by_function(process)
    assert max(shares, key=shares.get) == "busy_handler", shares
    assert shares["busy_handler"] > 0.5, shares
    assert "busy_handler" in gs.gilscope("report", "--view", "held", "-f", "folded", attached.dir).stdout
