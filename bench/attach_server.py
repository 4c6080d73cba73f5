#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What attaching to a live server costs its clients: two gunicorn gthread servers, or uvicorn ones, with a scikit-learn
model under load from wrk, which they get in short turns.  gilscope is attached to the process that works in one of them.

Needs gunicorn, uvicorn, scikit-learn and wrk (Debian: gunicorn uvicorn python3-sklearn wrk).
"""
import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

PORTS = (18231, 18232)
TURN_S = 0.1     # of load on one server, then on the other
REST_S = 0.012   # after each turn: what was asked is answered
CONNECTIONS = 16


def serve(args, port):
    if args.server == "uvicorn":
        return subprocess.Popen([args.python, "-m", "uvicorn", "--port", str(port), "--log-level", "critical", "--app-dir",
                                 str(Path(__file__).parent), "server_app:asgi"], stderr=subprocess.DEVNULL,
                                env=common.bare_env())
    return subprocess.Popen([args.python, "-m", "gunicorn", "-k", "gthread", "-w", "1", "--threads", "4", "-b",
                             f"127.0.0.1:{port}", "--chdir", str(Path(__file__).parent), "server_app:app"],
                            stderr=subprocess.DEVNULL, env=common.bare_env())


def worker_of(args, server):
    if args.server == "uvicorn":
        return server.pid
    for _ in range(200):
        found = subprocess.run(["pgrep", "-P", str(server.pid)], stdout=subprocess.PIPE, text=True, check=False)
        if found.stdout.split():
            return int(found.stdout.split()[0])
        time.sleep(0.05)
    common.fail("a server has no worker")
    return 0


def wrk(port, seconds):
    return subprocess.Popen(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/"],
                            stdout=subprocess.PIPE, text=True)


def p99_ms(client):
    value, unit = re.search(r"99% +([\d.]+)(us|ms|s)", client.communicate()[0]).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def switches(pid):
    """How often the threads of a process have left their processors."""
    return sum(int(line.split()[1]) for status in Path(f"/proc/{pid}/task").glob("*/status")
               for line in status.read_text(encoding="ascii", errors="replace").splitlines() if "ctxt_switches" in line)


def used_ms(pid):
    """What the threads of a process have used of processors."""
    return sum(int(path.read_text(encoding="ascii").split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def in_turns(workers, seconds):
    """Loads both servers, one at a time in short turns; of each, the requests answered, and for each of these the
    switches and the ms of processor."""
    clients = [wrk(port, int(seconds) + 1) for port in PORTS]
    for client in clients:
        client.send_signal(signal.SIGSTOP)
    before = [(switches(pid), used_ms(pid)) for pid in workers]
    end, turn = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        client = clients[turn % 2]
        client.send_signal(signal.SIGCONT)
        time.sleep(TURN_S)
        client.send_signal(signal.SIGSTOP)
        time.sleep(REST_S)
        turn += 1
    after = [(switches(pid), used_ms(pid)) for pid in workers]
    for client in clients:
        client.send_signal(signal.SIGCONT)
    counts = [int(re.search(r"(\d+) requests in", client.communicate()[0]).group(1)) for client in clients]
    return counts, [tuple((b - a) / n for a, b in zip(*pair)) for pair, n in zip(zip(before, after), counts)]


def attach(args, pid, place):
    collector = subprocess.Popen([args.gilscope, "attach", "-q", "--method", args.method, "-o", place, *args.options,
                                  str(pid)],
                                 stderr=subprocess.DEVNULL)
    while not list(place.glob("*.gil")):
        if collector.poll() is not None:
            common.fail("gilscope cannot attach; see gilscope doctor")
        time.sleep(0.05)
    time.sleep(0.7)
    return collector


def held_in(args, place, function):
    """The share of what was held that was held in this function, by the report."""
    report = json.loads(subprocess.run([args.gilscope, "report", "-f", "json", place], check=True,
                                       stdout=subprocess.PIPE).stdout)
    held = [stack for stack in report["processes"][0]["stacks"] if stack["view"] == "held"]
    inside = sum(s["ns"] for s in held if function in {frame["function"] for frame in s["frames"]})
    return inside / max(1, sum(s["ns"] for s in held))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--method", default="bpf", choices=["bpf", "sample"])
    parser.add_argument("--server", default="gunicorn", choices=["gunicorn", "uvicorn"])
    parser.add_argument("--rounds", type=int, default=8, help="the attached one is the first, then the second [%(default)s]")
    parser.add_argument("--seconds", type=int, default=6, help="of load in a round, both together [%(default)s]")
    parser.add_argument("--option", dest="options", action="append", default=[], help="for gilscope attach")
    parser.add_argument("--null", action="store_true", help="attach to none: what it shows is noise")
    args = parser.parse_args()
    args.gilscope = common.gilscope_bin(args.gilscope)
    servers = [serve(args, port) for port in PORTS]
    rates, costs, latencies, holders = [], [], [], []
    try:
        time.sleep(5)
        workers = [worker_of(args, server) for server in servers]
        for port in PORTS:
            wrk(port, 2).communicate()
        for i in range(args.rounds):
            one = i % 2
            with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
                place = Path(where) / "r.gilscope"
                collector = None if args.null else attach(args, workers[one], place)
                counts, per_request = in_turns(workers, args.seconds)
                late = {}
                for which in (one, 1 - one) if i % 4 < 2 else (1 - one, one):
                    late[which] = p99_ms(wrk(PORTS[which], 2))
                if collector:
                    collector.send_signal(signal.SIGINT)
                    collector.wait()
                    holders.append(held_in(args, place, "features"))
            rates.append(counts[one] / counts[1 - one])
            costs.append(per_request[one][1] / per_request[1 - one][1])
            latencies.append(late[one] / late[1 - one])
            print(f"round {i}: {counts[1 - one]} -> {counts[one]} requests, of {per_request[1 - one][0]:.1f} -> "
                  f"{per_request[one][0]:.1f} switches and {per_request[1 - one][1]:.4f} -> {per_request[one][1]:.4f} ms of a "
                  f"processor each; p99 {late[1 - one]:.1f} -> {late[one]:.1f} ms", flush=True)
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    print(f"throughput, attached over not: median {statistics.median(rates):.3f} ({min(rates):.3f} - {max(rates):.3f})")
    print(f"processor for a request, attached over not: median {statistics.median(costs):.3f} ({min(costs):.3f} - "
          f"{max(costs):.3f})")
    print(f"p99, attached over not: median {statistics.median(latencies):.3f} ({min(latencies):.3f} - "
          f"{max(latencies):.3f})")
    if holders:
        print(f"held in features(), by the report: {100 * statistics.median(holders):.0f} %")
    sys.exit(not (statistics.median(rates) >= 0.98 and statistics.median(latencies) <= 1.02))


if __name__ == "__main__":
    main()
