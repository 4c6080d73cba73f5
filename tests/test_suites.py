# SPDX-License-Identifier: MIT
"""CPython's own regression tests come to the same outcomes with the shim as without: a selection; with --full, all that
concern threads, processes and the system."""
import warnings

import pytest

import suites
from helpers import gs, pythons

WITH_TESTS = [p for p in pythons.SUPPORTED if suites.has_tests(p.path)]
FIRST = [p for p in WITH_TESTS if p.path.startswith("/usr/bin/")] or WITH_TESTS[-1:]
BRIEF = ["test_thread", "test_threading_local", "test_posix", "test_atexit"]


def compare(python, names, where, jobs=2):
    """Nothing is different, and something was compared."""
    if python not in WITH_TESTS:
        pytest.skip(f"{python.path} came without CPython's tests (Debian: libpython3.11-testsuite)")
    present = suites.modules_of(python.path, names)
    counts, different, flaky, left_out = suites.compare(python.path, present, where, jobs, gs.preload())
    for line in flaky:
        print("flaky:", line)
    if left_out:
        warnings.warn(f"{python.name}, left out: {'; '.join(left_out)}")
    assert not different, "\n".join(different)
    assert len(counts) == len(present) and sum(counts.values()) > 50, counts


def test_regression_tests(python, where):
    """The outcome of each of CPython's own tests is what it is without the shim."""
    if gs.FULL:
        compare(python, suites.MODULES, where, jobs=4)
    else:
        compare(python, suites.SHORT if python in FIRST else BRIEF, where, jobs=4)


def test_what_is_called_different():
    """A test is different if it goes wrong with the shim more than once, in a way that it never did without."""
    ok, failed = ["ok"] * 5, ["failure"] * 5
    assert not suites.is_different(ok, ok)
    assert not suites.is_different(failed, failed)
    assert not suites.is_different(["ok", "failure"], failed), "it fails without, too"
    assert not suites.is_different(ok, [*ok[:4], "failure"]), "once is chance"
    assert suites.is_different(ok, ["failure", "ok", "failure", "ok", "ok"])
    assert suites.is_different(failed, ok)
    assert suites.is_different(ok, ["absent"] * 5)


def test_broken_library_is_found_out(where):
    """A library that harms what it is preloaded into does not pass for harmless."""
    python = next((p for p in WITH_TESTS), None)
    if not python:
        pytest.skip("no interpreter with CPython's tests: apt-get install libpython3.11-testsuite")
    source, library = where / "bad.c", where / "bad.so"
    source.write_text("#include <pwd.h>\n#include <stddef.h>\n"
                      "int getpwnam_r(const char *name, struct passwd *p, char *buffer, size_t size, struct passwd **found)\n"
                      "{ (void)name; (void)p; (void)buffer; (void)size; *found = NULL; return 0; }\n")
    gs.compile_c(source, library, "-shared", "-fPIC")
    counts, different, *_ = suites.compare(python.path, ["test_pwd"], where, 2, str(library))
    assert counts["test_pwd"] > 1 and any("test_values" in line for line in different), different
