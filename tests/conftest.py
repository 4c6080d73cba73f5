# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests: the interpreters, the executable, and a directory whose recordings survive
a failure."""
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers import gs, pythons, rights  # noqa: E402  (needs the path above)

FAILED = gs.WORK / "failed"
# run.py's: what the marks few_pythons and full leave out is left out, and this file is told how many tests that are.
LEFT_OUT = os.environ.get("GILSCOPE_TEST_LEFT_OUT")
MARKS = {
    "measures": "compares times, or loads the machine: run.py runs it with the machine to itself",
    "few_pythons": "tests what is the same code for every version: run.py runs it on pythons.FEW, but for --full",
    "full": "one more of what others test, too: run.py runs it with --full only",
}


def pytest_report_header(config):
    lines = [f"gilscope: {gs.BIN}"]
    lines += [f"interpreter: {p.name:<10} {p.path}{'' if p.has_headers else '   (no headers: no truth tests)'}"
              for p in pythons.SUPPORTED]
    lines += [f"odd host:    {p.name:<10} {p.path}" for p in pythons.ODD]
    return lines


def pytest_configure(config):
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if not gs.BIN.exists():
        pytest.exit(f"{gs.BIN} does not exist: build first, or set GILSCOPE_BIN", returncode=99)
    if not pythons.SUPPORTED:
        pytest.exit("no CPython 3.8 to 3.15 found: install python3, or set GILSCOPE_TEST_PYTHONS", returncode=99)
    if not os.environ.get("GILSCOPE_TEST_KEEP_FAILED"):  # run.py: others may be at it
        shutil.rmtree(FAILED, ignore_errors=True)


def names(interpreters):
    """Test ids: versions, told apart by a number where two interpreters have the same."""
    seen, result = {}, []
    for p in interpreters:
        seen[p.name] = seen.get(p.name, 0) + 1
        result.append(p.name if seen[p.name] == 1 else f"{p.name}-{seen[p.name]}")
    return result


def pytest_generate_tests(metafunc):
    """`python` stands for every supported interpreter, `odd_python` for every other one."""
    if "python" in metafunc.fixturenames:
        metafunc.parametrize("python", pythons.SUPPORTED, ids=names(pythons.SUPPORTED))
    if "odd_python" in metafunc.fixturenames:
        metafunc.parametrize("odd_python", pythons.ODD, ids=names(pythons.ODD))


@pytest.hookimpl(trylast=True)  # behind -m
def pytest_collection_modifyitems(config, items):
    """Leaves out what only a full run has, and says how many tests that are."""
    if not LEFT_OUT:
        return
    few = [item for item in items if item.get_closest_marker("few_pythons")]
    out = [item for item in few if item.callspec.params["python"] not in pythons.FEW]
    out += [item for item in items if item.get_closest_marker("full")]
    with open(LEFT_OUT, "w", encoding="ascii") as file:
        file.write(str(len(out)))
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in set(out)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed and "where" in item.funcargs:
        kept = FAILED / re.sub(r"[^\w.+-]+", "_", item.nodeid.split("/")[-1])
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(item.funcargs["where"], kept, symlinks=True,
                        ignore_dangling_symlinks=True)
        report.sections.append(("recording", f"kept in {kept}"))


@pytest.fixture
def where(tmp_path):
    """A directory for a test's program and recordings; copied to tests/work/failed when the test fails."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def one_python():
    """The newest supported interpreter, for what does not depend on the version."""
    return pythons.SUPPORTED[-1]


@pytest.fixture(scope="module")
def installed():
    """A copy of gilscope that other users can run, with capabilities or without."""
    rights.need_root()
    copy = rights.Installed()
    yield copy
    copy.remove()
