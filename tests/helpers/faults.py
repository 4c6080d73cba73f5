# SPDX-License-Identifier: MIT
"""Runs a threaded program with a checked result in both ways, without and with the shim, under a fault."""
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import gs

FAULTS = Path(__file__).resolve().parents[1] / "faults"

# Four threads that fight for the GIL, wait for locks and let go of it; what they did is checked and printed.
WORK = r"""
import hashlib, os, queue, sys, threading, time
rounds = 150
data = b"x" * 20000
lock = threading.Lock()
results = queue.Queue()
total = 0
def work(number):
    global total
    digest = hashlib.sha256()
    for i in range(rounds):
        digest.update(data + bytes([number, i % 256]))
        for _ in range(200): number + i
        with lock: total += 1
        if i % 10 == 0: time.sleep(0)
    results.put((number, digest.hexdigest()))
def run():
    global total
    total = 0
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(sorted(results.get() for _ in threads), total, flush=True)
def some_threads(n):
    for _ in range(n):
        t = threading.Thread(target=work_a_little); t.start(); t.join()
def work_a_little():
    with lock: pass
"""
PLAIN = WORK + """
run()
sys.stderr.write("own words\\n")
sys.exit(7)
"""
OWN_ERRORS = "own words\n"


@dataclass
class Outcome:
    """How a program ended without and with the shim; they have been found to be the same."""
    exit: int
    stdout: str
    lines: list  # what the shim said
    recording: Path

    def processes(self):
        return gs.report(self.recording)["processes"]

    def process(self):
        found = self.processes()
        assert len(found) == 1, [p["command"] for p in found]
        return found[0]


def command_line(python, code, where, args=()):
    """Writes the program down; the command that runs it."""
    script = Path(where) / "program.py"
    script.write_text(code, encoding="utf-8")
    return [str(getattr(python, "path", python)), str(script), *map(str, args)]


def execute(command, env, timeout=120, **kwargs):
    return subprocess.run(list(map(str, command)), env=gs.clean_env(env), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="surrogateescape",
                          timeout=timeout, check=False, **kwargs)


def split_stderr(stderr):
    """The shim's lines and all else."""
    lines = stderr.splitlines(keepends=True)
    ours = [line.rstrip("\n") for line in lines if line.startswith("gilscope: ")]
    for line in ours:
        assert re.fullmatch(r"gilscope: .{10,700}", line), stderr
    return ours, "".join(line for line in lines if not line.startswith("gilscope: "))


def both(command, where, *, output=None, expect=7, env=None, shim=None, before=lambda: None, options="", lines=1,
         same=lambda text: text, **kwargs):
    """Runs the command both ways and compares exit status, output and errors.

    output: the recording's directory; before: called in front of each run; lines: so many may the shim write;
    same: leaves out of the output what differs from run to run; kwargs go to subprocess.run.
    """
    output = Path(output or Path(where) / "rec.gilscope")
    env = {"PYTHONWARNINGS": "ignore", **(env or {})}  # of forks with threads, by the number of the process
    before()
    bare = execute(command, env, **kwargs)
    assert expect is None or bare.returncode == expect, (bare.returncode, bare.stdout, bare.stderr)
    before()
    shimmed = execute(command, {"LD_PRELOAD": shim or gs.preload(), "GILSCOPE": f"output={output}{options}",
                                **env}, **kwargs)
    ours, others = split_stderr(shimmed.stderr)
    with_us = shimmed.returncode, same(shimmed.stdout), same(others)
    without = bare.returncode, same(bare.stdout), same(bare.stderr)
    assert with_us == without, f"with the shim: {with_us}\nwithout: {without}\nall errors: {shimmed.stderr}"
    assert len(ours) <= lines, ours
    return Outcome(shimmed.returncode, shimmed.stdout, ours, output)


def compile_c(source, where, *flags):
    """Compiles a C file or C text; the program's path."""
    path = Path(source) if str(source).endswith(".c") else Path(where) / "program.c"
    if path != Path(source):
        path.write_text(source, encoding="utf-8")
    program = Path(where) / path.stem
    subprocess.run(["gcc", "-O1", "-pthread", str(path), "-o", str(program), *flags], check=True)
    return program


def needs_root():
    if os.geteuid() != 0:
        pytest.skip("only root can bring this fault about")


def needs(command):
    """Skips where the command fails: a container may not be allowed to do it."""
    tried = execute(command, None)
    if tried.returncode:
        pytest.skip(f"{' '.join(map(str, command))}: {tried.stderr.strip()}")


@contextmanager
def tmpfs(where, size):
    """A small file system, unmounted at the end."""
    needs_root()
    mount = Path(where) / "small"
    mount.mkdir()
    made = execute(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], None)
    if made.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {made.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@contextmanager
def everybodys_directory():
    """A directory that every user can get at, with a copy of the shim; pytest's own are private."""
    directory = Path(tempfile.mkdtemp(prefix="gilscope-", dir="/tmp"))
    try:
        directory.chmod(0o755)
        shim = directory / "libgilscope-preload.so"
        shutil.copy(gs.preload(), shim)
        shim.chmod(0o755)
        yield directory, shim
    finally:
        shutil.rmtree(directory)
