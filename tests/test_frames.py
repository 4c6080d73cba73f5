# SPDX-License-Identifier: MIT
"""The walker of Python frames agrees with the interpreter."""
import subprocess

from helpers import gs, truth


def walker():
    """walk.c and what it tests, as a shared library."""
    lib = gs.REPO / "lib"
    sources = [lib / name for name in ("cpython.c", "cpython-frames.c", "cpython-read.c")]
    made = gs.WORK / "truth" / "walk.so"
    if made.exists() and made.stat().st_mtime < max(p.stat().st_mtime for p in lib.glob("cpython*")):
        made.unlink()
    return truth.compile_shared(made, "walk.c", f"-I{lib}", *map(str, sources))


def test_walker_agrees_with_the_interpreter(python):
    """Functions, files, lines of all kinds of frames are those that sys._getframe() shows, read directly or not."""
    done = subprocess.run([python.path, gs.REPO / "tests" / "frames" / "frames.py", walker()], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          env=gs.clean_env({"PYTHONIOENCODING": "utf-8"}), timeout=60)
    *differences, last = done.stdout.strip().split("\n")
    assert done.returncode == 0 and not differences, done.stdout
    checks, _, wrong, _ = last.split()
    assert int(checks) >= 80 and int(wrong) == 0
