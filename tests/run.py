#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py - runs the tests' files for ./runtests side by side, and then the tests that are marked "measures" one after the
other, with the machine to themselves; what fails is repeated.  The last line is "PASSED FAILED SKIPPED".

    run.py [--sanitized EXECUTABLE] [PYTEST-ARGUMENT...]

With arguments for pytest it runs once, over all that they name.  Without, and without GILSCOPE_TEST_FULL=1, what is marked
"few_pythons" runs on a few interpreters only (tests/helpers/pythons.py) and what is marked "full" does not; how many tests
that leaves out is said.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as tree
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

# What also runs with the tools that are built with sanitizers: the tests that show them the most.
SANITIZED = ["cli", "stacks_report", "live_files"]
# Those that take longest come first, so that both processors are busy to the end.
LONG = ["stack_safety", "faults_life", "faults", "suites", "locks", "attach_life", "calls", "exports", "native_cpu",
        "processes", "attach_interpreters", "attach_privileges", "html", "stacks_report", "nasty"]

# Whoever shares the machine can make a measurement miss.  Tests that fail are given another chance or two, with the
# machine to themselves, and both are said; one that is broken fails each time.
REPEATS = 2
NONE_SELECTED = 5  # pytest's exit status: a file whose tests all measure, or none of whose do
REPEATED_AT_MOST = 25


class Job:
    """A run of pytest over some files."""

    def __init__(self, room, files, name, arguments=(), executable=None, few=False):
        self.files, self.name, self.arguments = files, name, list(arguments)
        self.room = room / name
        self.room.mkdir()
        self.env = dict(os.environ, GILSCOPE_TEST_KEEP_FAILED="1")
        self.few = few
        self.env.pop("GILSCOPE_TEST_LEFT_OUT", None)
        if few:
            self.env["GILSCOPE_TEST_LEFT_OUT"] = str(self.room / "left-out")
        if executable:
            self.env["GILSCOPE_BIN"] = executable
        self.passed = self.failed = self.skipped = self.left_out = 0
        self.output = ""

    def command(self, *options):
        return [sys.executable, "-m", "pytest", "-q", "-rs", "-o", f"cache_dir={self.room / 'cache'}",
                f"--basetemp={self.room / 'tmp'}", f"--junitxml={self.room / 'results.xml'}", *options, *self.arguments,
                *map(str, self.files)]

    def counts(self):
        """Of the last run: (passed, failed, skipped), or None where it gave no results."""
        try:
            suites = list(tree.parse(self.room / "results.xml").iter("testsuite"))
        except (OSError, tree.ParseError):
            return None
        total, failed, errors, skipped = (sum(int(s.get(key)) for s in suites)
                                          for key in ("tests", "failures", "errors", "skipped"))
        return total - failed - errors - skipped, failed + errors, skipped

    def run(self, capture):
        """The first run."""
        into = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if capture else {}
        done = subprocess.run(self.command(), cwd=REPO, env=self.env, encoding="utf-8", errors="replace", check=False,
                              **into)
        self.output = done.stdout or ""
        counts = self.counts()
        if counts is None:
            self.failed = 1
            self.output += f"FAIL  {self.name}: pytest gave no results (exit status {done.returncode})\n"
            return
        self.passed, self.failed, self.skipped = counts
        if self.few:
            self.left_out = int((self.room / "left-out").read_text())
        if not self.failed and done.returncode and not (done.returncode == NONE_SELECTED and "-m" in self.arguments):
            self.failed = 1
            self.output += f"FAIL  {self.name}: pytest ended with status {done.returncode}\n"

    def repeat(self):
        """Once more what failed the last time."""
        first = self.failed
        print(f"repeating the {first} of {self.name} that failed", flush=True)
        results = self.room / "results.xml"
        results.unlink(missing_ok=True)
        subprocess.run(self.command("--last-failed"), cwd=REPO, env=self.env, check=False)
        counts = self.counts()
        if counts is None or counts[0] + counts[1] < first:
            return  # not even run: what failed, fails
        self.passed, self.failed = self.passed + first - counts[1], counts[1]
        print(f"NOTE  {first - self.failed} of the {first} that failed passed when they were repeated", flush=True)


def side_by_side(jobs):
    """Runs them, one more at once than there are processors: they sleep and wait for a third of their time."""
    left, saying = list(jobs), threading.Lock()

    def work():
        while True:
            with saying:
                if not left:
                    return
                job = left.pop(0)
            start = time.monotonic()
            job.run(capture=True)
            with saying:
                if job.failed or job.skipped:
                    print(job.output, end="")
                print(f"{'FAIL ' if job.failed else 'ok   '} {job.name}: {job.passed} passed, {job.failed} failed, "
                      f"{job.skipped} skipped, {time.monotonic() - start:.0f} s", flush=True)

    workers = [threading.Thread(target=work) for _ in range(len(os.sched_getaffinity(0)) + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main():
    arguments, sanitized = sys.argv[1:], None
    if arguments[:1] == ["--sanitized"]:
        sanitized, arguments = arguments[1], arguments[2:]
    for build in filter(None, [REPO, sanitized and Path(sanitized).parent]):
        shutil.rmtree(build / "tests" / "work" / "failed", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="gilscope-tests-", ignore_cleanup_errors=True) as room:
        room = Path(room)
        if arguments:
            files = [] if any(Path(argument.split("::")[0]).exists() for argument in arguments) else [REPO / "tests"]
            jobs = [Job(room, files, "tests", arguments)]
            jobs[0].run(capture=False)
            print(jobs[0].output, end="")
        else:
            names = sorted(file.stem[len("test_"):] for file in (REPO / "tests").glob("test_*.py"))
            missing = (set(LONG) | set(SANITIZED)) - set(names)
            if missing:
                sys.exit(f"run.py: there is no test_{min(missing)}.py")
            names = LONG + [name for name in names if name not in LONG]

            few = os.environ.get("GILSCOPE_TEST_FULL") != "1"

            def file(name):
                return REPO / "tests" / f"test_{name}.py"

            beside = [Job(room, [file(name)], name, ["-m", "not measures"], few=few) for name in names]
            if sanitized:
                beside += [Job(room, [file(name)], f"{name}-sanitized", ["-m", "not measures"], sanitized, few)
                           for name in SANITIZED]
            alone = Job(room, [file(name) for name in names if "mark.measures" in file(name).read_text()], "measuring",
                        ["-m", "measures"], few=few)
            jobs = [*beside, alone]
            side_by_side(beside)
            alone.run(capture=False)
            print(alone.output, end="")
        for _ in range(REPEATS):
            if 0 < sum(job.failed for job in jobs) <= REPEATED_AT_MOST:
                for job in jobs:
                    if job.failed:
                        job.repeat()
        left_out = sum(job.left_out for job in jobs)
        if left_out:
            print(f"skip  {left_out} tests, nearly all on further interpreters of what is the same code for each: only with --full")
            jobs[0].skipped += 1
        print(*(sum(getattr(job, kind) for job in jobs) for kind in ("passed", "failed", "skipped")))


if __name__ == "__main__":
    main()
