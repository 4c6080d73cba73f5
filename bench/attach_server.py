#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What attaching to a live server costs its clients: a gunicorn gthread server, or a uvicorn one, with a scikit-learn model
under load from wrk, in rounds with and without gilscope attached to the process that works, in turn.

Needs gunicorn, uvicorn, scikit-learn and wrk (Debian: gunicorn uvicorn python3-sklearn wrk).
"""
import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

PORT = 18231


def serve(args):
    if args.server == "uvicorn":
        return subprocess.Popen([args.python, "-m", "uvicorn", "--port", str(PORT), "--log-level", "critical", "--app-dir",
                                 str(Path(__file__).parent), "server_app:asgi"], stderr=subprocess.DEVNULL,
                                env=common.bare_env())
    return subprocess.Popen([args.python, "-m", "gunicorn", "-k", "gthread", "-w", "1", "--threads", "4", "-b",
                             f"127.0.0.1:{PORT}", "--chdir", str(Path(__file__).parent), "server_app:app"],
                            stderr=subprocess.DEVNULL, env=common.bare_env())


def worker_of(args, server):
    if args.server == "uvicorn":
        return server.pid
    for _ in range(200):
        found = subprocess.run(["pgrep", "-P", str(server.pid)], stdout=subprocess.PIPE, text=True, check=False)
        if found.stdout.split():
            return int(found.stdout.split()[0])
        time.sleep(0.05)
    common.fail("the server has no worker")
    return 0


def load(seconds):
    """Requests a second, and the 99th percentile of their latency in ms."""
    done = subprocess.run(["wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{PORT}/"],
                          stdout=subprocess.PIPE, text=True, check=True)
    rate = float(re.search(r"Requests/sec: +([\d.]+)", done.stdout).group(1))
    value, unit = re.search(r"99% +([\d.]+)(us|ms|s)", done.stdout).groups()
    return rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter [%(default)s]")
    parser.add_argument("--gilscope", help="the executable [the one built here]")
    parser.add_argument("--method", default="bpf", choices=["bpf", "sample"])
    parser.add_argument("--server", default="gunicorn", choices=["gunicorn", "uvicorn"])
    parser.add_argument("--rounds", type=int, default=8, help="pairs of rounds [%(default)s]")
    parser.add_argument("--seconds", type=int, default=3, help="of load in a round [%(default)s]")
    args = parser.parse_args()
    args.gilscope = common.gilscope_bin(args.gilscope)
    server = serve(args)
    rates, latencies, holders = [], [], []
    try:
        pid = worker_of(args, server)
        time.sleep(3)
        load(2)
        for i in range(args.rounds):
            pair = {}
            for attached in (i % 2 == 0, i % 2 == 1):
                with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as where:
                    place = Path(where) / "r.gilscope"
                    if attached:
                        collector = subprocess.Popen([args.gilscope, "attach", "-q", "--method", args.method, "-o", place,
                                                      str(pid)], stderr=subprocess.DEVNULL)
                        while not list(place.glob("*.gil")):
                            if collector.poll() is not None:
                                common.fail("gilscope cannot attach; see gilscope doctor")
                            time.sleep(0.05)
                        time.sleep(0.7)
                    pair[attached] = load(args.seconds)
                    if attached:
                        collector.send_signal(2)
                        collector.wait()
                        report = json.loads(subprocess.run([args.gilscope, "report", "-f", "json", place], check=True,
                                                           stdout=subprocess.PIPE).stdout)
                        held = {}
                        for stack in report["processes"][0]["stacks"]:
                            if stack["view"] == "held":
                                for name in {f["function"] for f in stack["frames"]}:
                                    held[name] = held.get(name, 0) + stack["ns"]
                        total = sum(s["ns"] for s in report["processes"][0]["stacks"] if s["view"] == "held")
                        holders.append(held.get("features", 0) / max(1, total))
            rates.append(pair[True][0] / pair[False][0])
            latencies.append(pair[True][1] / pair[False][1])
            print(f"round {i}: {pair[False][0]:.0f} -> {pair[True][0]:.0f} requests/s, p99 {pair[False][1]:.1f} -> "
                  f"{pair[True][1]:.1f} ms", flush=True)
    finally:
        server.terminate()
        server.wait()
    print(f"throughput, attached over not: median {statistics.median(rates):.3f} ({min(rates):.3f} - {max(rates):.3f})")
    print(f"p99, attached over not: median {statistics.median(latencies):.3f} ({min(latencies):.3f} - "
          f"{max(latencies):.3f})")
    print(f"held in features(), by the report: {100 * statistics.median(holders):.0f} %")
    sys.exit(not (statistics.median(rates) >= 0.98 and statistics.median(latencies) <= 1.02))


if __name__ == "__main__":
    main()
