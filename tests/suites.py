#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs CPython's own regression tests with and without the shim and compares them outcome by outcome.

    tests/suites.py [--python PATH]... [--jobs N] [--keep DIR] [MODULE...]

The shim is preloaded into the tests and, by the environment, into everything that they start. A test whose outcome is
not the same both ways is run again several times, alone: only what then goes wrong again with the shim, and never
without it, is called different. Tests that are known to hang in some versions or on some machines are tried alone
first, without the shim; those that do are left out both ways, and named. Exit status: 0 nothing is different, 1 something is, 2 nothing could be compared.
"""
import argparse
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from helpers import gs, pythons  # noqa: E402  (needs the path above)

# In order of duration, the longest ones first, so that none is left over alone.
MODULES = """
test_multiprocessing_forkserver test_multiprocessing_spawn test_multiprocessing_fork test_concurrent_futures
test_asyncio test_subprocess test_socket test_signal test_threading test_faulthandler test_ssl test_capi test_embed
test_thread test_queue test_importlib test_os test_gc test_selectors test_interpreters test__xxsubinterpreters test_sys
test_posix test_fork1 test_threadsignals test_threading_local test_atexit test_sqlite3 test_sqlite
""".split()
# A minute or so: threads, forks, signals, children, and what looks at descriptors and the environment.
SHORT = """
test_threading test_thread test_threading_local test_queue test_fork1 test_threadsignals test_atexit test_gc test_sys
test_posix test_os test_sqlite3
""".split()
LIMIT_S = 900  # for a module
AGAIN = 4      # so many times is a test run again, each way
# Tests that come to no end in some versions or, where there is a /dev/vsock that leads nowhere, up to 3.12, and so keep
# all others of their module from being run.  Where they end, they do in a few seconds.
SUSPECTS = {"test_concurrent_futures": ["test_gh105829_should_not_deadlock_if_wakeup_pipe_full"],
            "test_threading": ["test_print_exception_gh_102056"], "test_socket": ["ThreadedVSOCKSocketStreamTest"],
            "test_interpreters": ["test_in_thread", "test_from_other_thread"],
            "test__xxsubinterpreters": ["test_in_thread", "test_in_threaded_subinterpreter", "test_from_other_thread"]}
SUSPECTS_LIMIT_S = 60
PARTIAL = 4    # exit status of `gilscope report`: of some files there is nothing to report

Result = collections.namedtuple("Result", "outcomes why")  # of a module: {test: outcome}, {test: text}


def all_modules(python):
    """The names of the interpreter's regression tests, as it says itself: it may see other files than we do."""
    code = "import os, test; print(*os.listdir(test.__path__[0]))"
    try:
        done = subprocess.run([python, "-c", code], env=gs.clean_env(), check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return [os.path.splitext(name)[0] for name in done.stdout.split() if name.startswith("test_")]


def has_tests(python):
    """Whether the interpreter came with its regression tests."""
    return "test_threading" in all_modules(python)


def modules_of(python, names):
    """Those that this version has."""
    present = all_modules(python)
    return [n for n in names if n in present]


def read_outcomes(path):
    """{test: outcome} and {test: why} from a file in JUnit's form; a test in several instances has all their outcomes."""
    outcomes, why = collections.defaultdict(set), {}
    for case in tree.parse(path).iter("testcase"):
        name, outcome = case.get("name") or "a module's or a class's own part", "ok"
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = child.tag
                why[name] = (child.text or "").strip()
        outcomes[name].add(outcome)
    return {name: " and ".join(sorted(found)) for name, found in outcomes.items()}, why


def read_log(text):
    """{test: outcome} of what was done in a run that came to no end."""
    found = re.finditer(r"^(\w+) \((test\.\S+)\) \.\.\. (ok|FAIL|ERROR|skipped|expected failure)", text, re.MULTILINE)
    words = {"FAIL": "failure", "ERROR": "error", "expected failure": "ok"}
    # Up to 3.10 the test's name is not part of what is in brackets.
    return {m[2] if m[2].endswith("." + m[1]) else f"{m[2]}.{m[1]}": words.get(m[3], m[3]) for m in found}


def start(command, env, scratch, log, limit_s):
    """Runs a command to its end, or kills it and what it started. Returns its exit status, or "too long"."""
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen(command, env=env, cwd=scratch, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = "too long"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return status


def endless(python, module, where):
    """Those of a module's suspects that come to no end alone, without the shim."""
    found = []
    for test in SUSPECTS.get(module, ()):
        place = where / f"alone-{test}"
        place.mkdir(parents=True)
        command = [python, "-m", "test", "-v", "--match", test, module]
        if start(command, gs.clean_env(), place, place / "log", SUSPECTS_LIMIT_S) == "too long":
            found.append(test)
    return found


def run(python, module, where, shim, tests=(), without=()):
    """One run of a module, or of some of its tests; shim: the library to preload, None = without; without: tests that
    are left out."""
    where.mkdir(parents=True)
    results, log, recording = where / "results.xml", where / "log", where / "rec.gilscope"
    scratch = tempfile.mkdtemp(prefix="gs-", dir="/tmp")  # short: sockets are made in there
    env = gs.clean_env({"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": scratch})
    if shim:
        env["LD_PRELOAD"] = shim
        env["GILSCOPE"] = f"output={recording}"
    command = [python, "-m", "test", "--timeout", str(LIMIT_S), "--junit-xml", str(results), "-v"]
    for test in tests:
        command += ["--match", test]
    for test in without:
        command += ["--ignore", test]
    status = start([*command, module], env, scratch, log, LIMIT_S + 60)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        outcomes, why = read_outcomes(results)
    except (OSError, tree.ParseError):
        outcomes, why = {}, {}
    if not outcomes:
        # A crash, or nothing but a module that skips itself.
        text = log.read_text(encoding="utf-8", errors="replace")
        outcomes = read_log(text)
        outcomes[module] = "skipped" if f"{module} skipped" in text else f"no end, status {status}"
        why[module] = text[-2000:]
    if shim and not tests:
        unreadable = check_recordings(recording)
        if unreadable:
            outcomes[f"{module}: its recordings"] = "failure"
            why[f"{module}: its recordings"] = unreadable
    return Result(outcomes, why)


def check_recordings(recording):
    """The shim was there and left recordings that can be read. Returns what is wrong, or None; removes them."""
    if not any(recording.glob("*.gil")):
        return "there are none"
    try:
        done = gs.gilscope("report", "-f", "json", recording, timeout=300)
    except subprocess.TimeoutExpired:
        return "the report takes too long"
    # A process that was killed before its recording was begun leaves one that has nothing in it.
    if done.returncode not in (0, PARTIAL) or '"processes"' not in done.stdout:
        return f"report: {done.returncode}: {done.stderr}"
    shutil.rmtree(recording)
    return None


def differing(bare, shimmed):
    """The tests with another outcome."""
    return [t for t in sorted({*bare.outcomes, *shimmed.outcomes}) if bare.outcomes.get(t) != shimmed.outcomes.get(t)]


def run_again(python, module, where, shim, tests, without):
    """{test: (outcomes without, outcomes with)} of AGAIN more runs each."""
    selected = tests if all(t.startswith("test.") for t in tests) else ()
    found = {t: ([], []) for t in tests}
    for turn in range(AGAIN):
        for way, library in enumerate((None, shim)):
            result = run(python, module, where / f"again-{turn}-{'shim' if way else 'bare'}", library, selected,
                         without)
            for t in tests:
                found[t][way].append(result.outcomes.get(t, "absent"))
    return found


def is_different(bare, shimmed):
    """Whether it goes wrong with the shim, at least twice, in a way that it never did without."""
    return any(shimmed.count(outcome) > 1 for outcome in set(shimmed) - set(bare))


def compare(python, names, where, jobs, shim):
    """Runs all both ways. Returns ({module: how many tests}, [a line for each difference], [one for each flaky test],
    [one for each that is left out])."""
    different, flaky, left_out, counts = [], [], [], {}

    def both_ways(name):
        # One after the other: some tests use fixed names or ports.
        without = endless(python, name, where / name)
        return [run(python, name, where / name / way, library, without=without)
                for way, library in (("bare", None), ("shim", shim))], without

    with ThreadPoolExecutor(jobs) as pool:
        both = {n: pool.submit(both_ways, n) for n in names}
    for name, ways in both.items():
        (bare, shimmed), without = ways.result()
        counts[name] = len(shimmed.outcomes)
        left_out += [f"{name}: {test}: comes to no end without the shim either" for test in without]
        tests = differing(bare, shimmed)
        again = run_again(python, name, where / name, shim, tests, without) if tests else {}
        for test, (bare_ones, with_) in again.items():
            bare_ones.insert(0, bare.outcomes.get(test, "absent"))
            with_.insert(0, shimmed.outcomes.get(test, "absent"))
            line = f"{test}: without {tally(bare_ones)}; with {tally(with_)}"
            if is_different(bare_ones, with_):
                different.append(line + "\n" + indent(shimmed.why.get(test, "")))
            else:
                flaky.append(line)
    return counts, different, flaky, left_out


def tally(outcomes):
    """"3 ok, 2 failure"."""
    return ", ".join(f"{n} {outcome}" for outcome, n in collections.Counter(outcomes).items())


def indent(text):
    """The end of a text, to be shown below a line."""
    return "\n".join("    " + line for line in text.splitlines()[-25:])


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter (default: all that have regression tests)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many modules at a time")
    parser.add_argument("--keep", type=Path, help="keep results and logs in this directory")
    parser.add_argument("--short", action="store_true", help="only what takes a minute")
    parser.add_argument("modules", nargs="*", help="(default: all that concern threads, processes and the system)")
    options = parser.parse_args()
    interpreters = options.python or [p.path for p in pythons.SUPPORTED if has_tests(p.path)]
    where = options.keep or Path(tempfile.mkdtemp(prefix="gilscope-suites-"))
    shim, n_tests, n_different = gs.preload(), 0, 0
    for python in interpreters:
        names = modules_of(python, options.modules or (SHORT if options.short else MODULES))
        counts, different, flaky, left_out = compare(python, names, where / python.strip("/").replace("/", "_"),
                                                      options.jobs, shim)
        n_tests += sum(counts.values())
        n_different += len(different)
        print(f"{python}: {len(counts)} modules, {sum(counts.values())} tests, {len(different)} different, "
              f"{len(flaky)} flaky, {len(left_out)} left out", flush=True)
        for word, lines in (("different", different), ("flaky", flaky), ("left out", left_out)):
            for line in lines:
                print(f"  {word}: {line}", flush=True)
    if not options.keep:
        shutil.rmtree(where, ignore_errors=True)
    return 1 if n_different else 0 if n_tests else 2


if __name__ == "__main__":
    sys.exit(main())
