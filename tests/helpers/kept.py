# SPDX-License-Identifier: MIT
"""The recordings in tests/recordings, and reports on them in a form that is the same on every machine."""
import json
import lzma
import tempfile
from pathlib import Path

from helpers import gs

HERE = gs.REPO / "tests" / "recordings"
NAMES = sorted(d.name for d in HERE.iterdir() if d.is_dir() and not d.name.startswith("_"))
KINDS = ("json", "text", "folded")


def unpack(name, where):
    """The recording NAME as a directory in where."""
    directory = Path(where) / f"{name}.gilscope"
    directory.mkdir()
    for file in sorted((HERE / name).glob("*.gil.xz")):
        (directory / file.name[:-3]).write_bytes(lzma.decompress(file.read_bytes()))
    return directory


def report(name, kind):
    """A report on NAME without what depends on the version and the place."""
    with tempfile.TemporaryDirectory() as where:
        unpack(name, where)
        done = gs.gilscope("report", "-f", kind, f"{name}.gilscope", cwd=where, env=gs.clean_env({"COLUMNS": 120}))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    if kind != "json":
        return done.stdout
    document = json.loads(done.stdout)
    document["version"] = "any"
    return json.dumps(rounded(document), indent=1, sort_keys=True) + "\n"


def rounded(value):
    """Floating-point numbers to six digits: compilers may add them up in another way."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def expected(name, kind):
    return (HERE / name / f"expected.{kind}.txt").read_text(encoding="utf-8")


def without_new_keys(now, then):
    """What of now was there then: later versions may add keys."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: without_new_keys(now[key], then[key]) for key in then if key in now}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [without_new_keys(a, b) for a, b in zip(now, then)]
    return now
