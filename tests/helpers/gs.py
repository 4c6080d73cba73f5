# SPDX-License-Identifier: MIT
"""Drives the real gilscope executable: records a program, reports it as JSON."""
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GILSCOPE_BIN") or REPO / "gilscope").absolute()
WORK = Path(os.environ.get("GILSCOPE_TEST_WORK") or BIN.parent / "tests" / "work").absolute()
SCHEMA = "gilscope.report/1"
FULL = os.environ.get("GILSCOPE_TEST_FULL") == "1"  # ./runtests --full: what takes long or much room as well


def clean_env(extra=None):
    """The environment of a program under test: nothing of gilscope's or Python's own is inherited."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("GILSCOPE", "PYTHON")) and k not in ("LD_PRELOAD", "VIRTUAL_ENV")}
    env.update({k: str(v) for k, v in (extra or {}).items()})
    return env


def compile_c(source, target, *options):
    """Compiles a C file of a test."""
    subprocess.run(["gcc", "-O1", "-g", "-pthread", str(source), "-o", str(target), *map(str, options)], check=True)


def gilscope(*args, timeout=60, **kwargs):
    """Runs `gilscope ARGS` to its end; a CompletedProcess with text output."""
    kwargs.setdefault("env", clean_env())
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(BIN), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", errors="surrogateescape", timeout=timeout, check=False, **kwargs)


# In a small process of its own: what a process had before it became another program counts as its peak, too.
MEASURE = """
import json, os, sys, time
start = time.monotonic()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps([status, time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
"""


def measure(*args):
    """Runs `gilscope ARGS`; (elapsed seconds, processor's seconds, MB of memory at its peak)."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, BIN, *args], stdout=subprocess.PIPE, check=True, text=True)
    status, *figures = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, f"gilscope {args}: wait status {status}"
    return figures


def preload():
    """The shim's path, for LD_PRELOAD."""
    done = gilscope("preload")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def report(path):
    """The JSON report of a recording."""
    done = gilscope("report", "-f", "json", path)
    assert done.returncode == 0, f"gilscope report: {done.returncode}: {done.stderr}"
    document = json.loads(done.stdout)
    assert document["schema"] == SCHEMA
    return document


@dataclass
class Recording:
    """A program that ran under gilscope, and what was recorded of it."""
    dir: Path
    exit: int
    stdout: str
    stderr: str
    document: dict = field(default=None)

    @property
    def processes(self):
        if self.document is None:
            self.document = report(self.dir)
        return self.document["processes"]

    @property
    def process(self):
        """The only process."""
        assert len(self.processes) == 1, [p["command"] for p in self.processes]
        return self.processes[0]

    def by_pid(self, pid):
        found = [p for p in self.processes if p["pid"] == pid]
        assert len(found) == 1, (pid, [p["pid"] for p in self.processes])
        return found[0]

    @property
    def files(self):
        return sorted(self.dir.glob("*.gil"))


def run(command, where, name="rec", env=None, cpus=None, options=(), expect=0, timeout=60, cwd=None):
    """Runs a command under `gilscope run -q`.

    where: a directory for the recording; cpus: how many processors it may use; expect: the exit status that it must
    have, None = any.
    """
    recording = Path(where) / f"{name}.gilscope"

    def restrict():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])

    done = gilscope("run", "-q", "-o", recording, *options, "--", *command, env=clean_env(env), cwd=cwd,
                    timeout=timeout, preexec_fn=restrict if cpus else None)
    result = Recording(recording, done.returncode, done.stdout, done.stderr)
    if expect is not None:
        assert result.exit == expect, f"exit status {result.exit}, not {expect}; stderr: {result.stderr}"
    return result


def run_code(python, code, where, args=(), **kwargs):
    """Runs Python source text, written to a file in where, under `gilscope run -q`."""
    script = Path(where) / "program.py"
    script.write_text(code, encoding="utf-8")
    return run([python.path, str(script), *map(str, args)], where, **kwargs)


def thread(process, tid=None, name=None):
    """The only thread with this id or this name."""
    found = [t for t in process["threads"]
             if (tid is None or t["tid"] == tid) and (name is None or t["name"] == name)]
    assert len(found) == 1, (tid, name, [(t["tid"], t["name"]) for t in process["threads"]])
    return found[0]
