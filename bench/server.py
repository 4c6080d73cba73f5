#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the preload costs a web server with a model: gunicorn's gthread worker, scikit-learn, requests that keep coming.

    bench/server.py [--pairs N] [--requests N]

Two servers, one without the shim, one with it, live at the same time and are asked in turns, by clients in this process;
a pair of turns gives a ratio of throughput, of which the median counts.
"""
import argparse
import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
CLIENTS = 4
APP = """
import json
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
inputs, classes = make_classification(500, 20, random_state=3)
model = RandomForestClassifier(10, random_state=1).fit(inputs, classes)

def application(environ, start_response):
    at = int(environ["PATH_INFO"][1:]) % 450
    body = json.dumps(model.predict_proba(inputs[at:at + 20]).tolist()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


def ask(port, numbers):
    """One client: its requests, one after the other."""
    for number in numbers:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/{number}")
        assert connection.getresponse().read().startswith(b"[[")
        connection.close()


class Server:
    """A server, and the processor time of its processes."""

    def __init__(self, where, shim):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        env = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        if shim:
            env.update(LD_PRELOAD=shim, GILSCOPE=f"output={where}/rec.gilscope")
        self.process = subprocess.Popen(
            [PYTHON, "-m", "gunicorn", "-w", "1", "-k", "gthread", "--threads", str(CLIENTS), "-b",
             f"127.0.0.1:{self.port}", "model:application"], cwd=where, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                ask(self.port, range(20))
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server does not answer")

    def cpu_s(self):
        """Of the worker."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in children]
        return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")

    def turn(self, requests):
        """Seconds for so many requests, from several clients at once."""
        start = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda i: ask(self.port, range(i, requests, CLIENTS)), range(CLIENTS)))
        return time.monotonic() - start

    def end(self):
        """SIGTERM, or SIGKILL if that takes long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="of turns")
    parser.add_argument("--requests", type=int, default=60, help="in a turn")
    options = parser.parse_args()
    shim = subprocess.run([os.environ.get("GILSCOPE_BIN", REPO / "gilscope"), "preload"], stdout=subprocess.PIPE,
                          encoding="utf-8", check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as where:
        Path(where, "model.py").write_text(APP)
        servers = {way: Server(where, way) for way in (None, shim)}
        before = {way: s.cpu_s() for way, s in servers.items()}
        seconds = {None: [], shim: []}
        for pair in range(options.pairs):
            for way in (None, shim) if pair % 2 else (shim, None):
                seconds[way].append(servers[way].turn(options.requests))
        used = {way: s.cpu_s() - before[way] for way, s in servers.items()}
        for s in servers.values():
            s.end()
        if not list(Path(where).glob("rec.gilscope/*.gil")):
            raise SystemExit("nothing was recorded")
    ratios = [bare / shimmed for bare, shimmed in zip(seconds[None], seconds[shim])]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"throughput with the shim: {middle:.3f} of that without (quartiles {low:.3f} - {high:.3f}), {len(ratios)} pairs "
          f"of turns of {options.requests} requests, {options.requests / statistics.median(seconds[None]):.0f}/s without\n"
          f"CPU time of the worker: {used[shim] / used[None]:.3f} times that without ({used[None]:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
