# SPDX-License-Identifier: MIT
"""Runs a command with and without the shim, for comparison; finds other software, or skips visibly."""
import glob
import shutil
import subprocess

import pytest

from helpers import gs

SYSTEM_PYTHON = "/usr/bin/python3"  # the one that the distribution's packages are for
PROGRAMS = gs.REPO / "tests" / "beside"


def need_module(name, package):
    """Skips where the system's Python lacks a module."""
    if subprocess.run([SYSTEM_PYTHON, "-c", f"import {name}"], env=gs.clean_env(), stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip(f"no {name} here: apt-get install {package}")


def need_program(name, package):
    """The path of a program, or skips."""
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/usr/local/bin")
    if not found:
        pytest.skip(f"no {name} here: apt-get install {package}")
    return found


def need_library(pattern, package):
    """The path of a shared library, or skips."""
    found = sorted(glob.glob(f"/usr/lib/*/{pattern}") + glob.glob(f"/usr/lib64/{pattern}"))
    if not found:
        pytest.skip(f"no {pattern} here: apt-get install {package}")
    return found[0]


def environment(where, preload=None, env=None):
    """The environment of a run; preload: libraries in order, of which the empty name stands for the shim."""
    libraries = [gs.preload() if p == "" else str(p) for p in preload or []]
    extra = dict(env or {}, PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    if libraries:
        extra["LD_PRELOAD"] = ":".join(libraries)
    if "" in (preload or []):
        extra["GILSCOPE"] = f"output={where}/rec.gilscope"
    return gs.clean_env(extra)


def run(command, where, preload=None, env=None, timeout=240):
    """(exit status, output, errors) of a command."""
    done = subprocess.run([str(c) for c in command], env=environment(where, preload, env), cwd=where,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                          timeout=timeout, check=False)
    return done.returncode, done.stdout, done.stderr


def measured(where, at_least=1):
    """The processes of the recording in where: there are so many, and the GIL was taken in each."""
    processes = gs.report(where / "rec.gilscope")["processes"]
    assert len(processes) >= at_least, [p["command"] for p in processes]
    for process in processes:
        assert sum(g["acquisitions"] for g in process["gils"]) > 0, process["command"]
    return processes


def same(command, where, others=(), env=None, shim_last=False, timeout=240):
    """Runs a command without the shim and with it; output, errors and exit status are the same, and it was measured.

    others: libraries that are preloaded both ways, behind the shim or in front of it.
    """
    bare = run(command, where, others, env, timeout)
    shimmed = run(command, where, [*others, ""] if shim_last else ["", *others], env, timeout)
    assert shimmed == bare
    measured(where)
    return bare
