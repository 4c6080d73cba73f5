# SPDX-License-Identifier: MIT
"""Attaches gilscope to running programs, also to such that the preload library measures at the same time."""
import functools
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import gs

# A program that waits until the collector is there says so, and goes on when it is told to.
READY = "import os, sys\nprint('ready', os.getpid(), flush=True)\nsys.stdin.readline()\n"


@functools.lru_cache(maxsize=None)
def bpf_refused():
    """Why the kernel refuses BPF here; None if it does not."""
    done = subprocess.run([str(gs.BIN), "attach", "--method", "bpf", "-q", "-d", "0.1", "-o", "/dev/null/x",
                           str(os.getpid())], stderr=subprocess.PIPE, text=True, check=False, env=gs.clean_env())
    line = done.stderr.strip()
    return line if "--method bpf" in line or "BPF" in line else None


def need_bpf(method="bpf"):
    """Skips a test by that method where it is bpf and the kernel refuses it."""
    if method == "bpf" and bpf_refused():
        pytest.skip(f"BPF cannot be used: {bpf_refused()}")


class Target:
    """A program that has got as far as READY."""

    def __init__(self, command, **kwargs):
        kwargs.setdefault("env", gs.clean_env())
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        **kwargs)
        word, pid = self.process.stdout.readline().split()
        assert word == "ready"
        self.pid = int(pid)

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, timeout=60):
        status = self.process.wait(timeout)
        self.process.stdin.close()
        self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.end()


class Attached:
    """`gilscope attach` at work.  Its clock ticks four times as often as by default, as the tests are short."""

    def __init__(self, pid, where, *options, method="bpf", name="attached", **kwargs):
        self.dir = Path(where) / f"{name}.gilscope"
        kwargs.setdefault("env", gs.clean_env())
        self.process = subprocess.Popen([str(gs.BIN), "attach", "-q", "-o", str(self.dir), "--method", method,
                                         "--sample-rate=997", *map(str, options), str(pid)], stderr=subprocess.PIPE, text=True, **kwargs)
        end = time.monotonic() + 20
        while not self.files and self.process.poll() is None:
            assert time.monotonic() < end, "the collector does not start"
            time.sleep(0.01)
        time.sleep(0.25)  # its first pictures: it is at work

    @property
    def files(self):
        return sorted(self.dir.glob("*.gil"))

    def end(self, ask=True, timeout=30):
        """Ends it, by Ctrl-C if it is not to end by itself; the report's processes."""
        if ask:
            self.process.send_signal(signal.SIGINT)
        _, self.stderr = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, self.stderr
        return gs.report(self.dir)["processes"]


def both(python, program, where, *options, method="bpf", cpus=None):
    """Runs a program under the preload library and the collector at once; both reports of it.

    The library takes no stacks: it would in front of takes, when the wait has begun for it, but not yet for the kernel.
    A thread's first takes 200 to 300 us on a virtual processor, and others 5 to 15.
    """
    source = where / "program.py"
    source.write_text(program)
    pre = where / "preloaded.gilscope"
    prefix = ["taskset", "-c", str(cpus)] if cpus is not None else []
    with Target([*prefix, gs.BIN, "run", "-q", "--no-stacks", "-o", pre, "--", python.path, source]) as target:
        attached = Attached(target.pid, where, *options, method=method)
        target.go()
        target.end()
        (outside,) = attached.end(ask=False)
    (inside,) = gs.report(pre)["processes"]
    return inside, outside
