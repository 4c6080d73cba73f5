# SPDX-License-Identifier: MIT
"""The shim under ThreadSanitizer, in real interpreters: threads that meet anywhere in its accounts, and in its wrappers
at moments that chance would not choose, race only where that is meant to be; and what they counted adds up."""
import os
import re
import shutil
import subprocess
from collections import Counter, namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import gs, pythons, sums

HERE = gs.REPO / "tests" / "race"
SOME = pythons.SUPPORTED if gs.FULL else pythons.SUPPORTED[-1:]
WITH_OWN_GILS = [p for p in pythons.SUPPORTED if (3, 12) <= p.version[:2] <= (3, 13)] # by the private module

Access = namedtuple("Access", "kind functions")  # the innermost function of the shim first
BEGIN = """
import os, random, subprocess, sys, threading, time
end = time.monotonic() + float(sys.argv[1])
lock = threading.Lock()
def until_the_end(f, *args):
    while time.monotonic() < end: f(*args)
def together(*work):
    threads = [threading.Thread(target=until_the_end, args=w) for w in work]
    for t in threads: t.start()
    for t in threads: t.join()
def python(n=300): sum(range(n))
def locking():
    with lock: python(100)
def sleeping(): time.sleep(0.0003); python(30)
"""
PROGRAMS = {
    "everything": BEGIN + """
sys.setswitchinterval(0.0005)
together(*[(f,) for f in (python, python, locking, locking, locking, sleeping, sleeping)])
""",
    # More than a thousand have ended, and their records serve others.
    "short threads": BEGIN + """
def short():
    some = [threading.Thread(target=locking) for _ in range(8)]
    for t in some: t.start()
    for t in some: t.join()
for n in range(150):
    short()
together((short,), (short,), (sleeping,), (python,))
""",
    "daemon threads": BEGIN + """
def for_ever(f):
    while True: f()
for f in (python, python, locking, sleeping, sleeping):
    threading.Thread(target=for_ever, args=(f,), daemon=True).start()
together((python,), (sleeping,))
""",
    "pauses": BEGIN + """
tool = sys.argv[2]
def toggle():
    for word in ("pause", "resume"):
        subprocess.run([tool, word, str(os.getpid())], check=True, stdout=subprocess.DEVNULL,
                       env={k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "GILSCOPE")})
        time.sleep(random.uniform(0, 0.01))
together((toggle,), (python,), (python,), (locking,), (locking,), (sleeping,))
""",
    "forks": BEGIN + """
def fork():
    pid = os.fork()
    if pid == 0:
        python(); os._exit(7)
    assert os.waitpid(pid, 0)[1] == 7 << 8
together((fork,), (fork,), (python,), (locking,), (sleeping,))
""",
}
OWN_GILS = BEGIN + """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
code = f"import time\\nend = {end}\\nwhile time.monotonic() < end - 0.5: sum(range(300)); time.sleep(0.0002)"
def one():
    try: number = interpreters.create("isolated")
    except TypeError: number = interpreters.create(isolated=True)
    (interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string)(number, code)
    interpreters.destroy(number)
together((one,), (one,), (one,), (one,), (python,), (sleeping,))
"""


def build(source, where, others=None):
    """The shim of the sources in a directory, with ThreadSanitizer, and what goes with it: the libraries to preload.

    others: a directory of objects; what is there is not compiled.
    """
    found = subprocess.run(["gcc", "-print-file-name=libtsan.so"], stdout=subprocess.PIPE, text=True, check=True)
    runtime = found.stdout.strip()
    if "/" not in runtime:
        pytest.skip("this gcc has no ThreadSanitizer")
    # Only ThreadSanitizer's own condition variables tell it of waits: versions are not asked for (shim-real.c).
    flags = ["-std=gnu11", "-D_GNU_SOURCE=", "-Ddlvsym=gilscope_no_dlvsym", "-O1", "-g", "-fPIC", "-fvisibility=hidden",
             "-ftls-model=initial-exec", "-fexceptions", "-fsanitize=thread", "-Wno-tsan", f"-I{gs.BIN.parent}",
             f"-I{gs.REPO}", f"-I{source}"]

    def compile_one(file):
        if others and (others / f"{file.stem}.o").exists():
            return others / f"{file.stem}.o"
        subprocess.run(["gcc", *flags, "-c", str(file), "-o", str(where / f"{file.stem}.o")], check=True)
        return where / f"{file.stem}.o"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sorted(Path(source).glob("*.c"))))
    shim = where / "libgilscope-preload.so"
    subprocess.run(["gcc", "-shared", "-fsanitize=thread", "-Wl,-z,nodelete,-z,now", "-o", str(shim),
                    *map(str, objects)], check=True)
    library("jitter.c", where / "outer.so")
    library("jitter.c", where / "inner.so")
    library("late-destructor.c", where / "late.so")
    return [where / "late.so", where / "outer.so", shim, where / "inner.so", Path(os.path.realpath(runtime))]


def library(source, target):
    gs.compile_c(HERE / source, target, "-D_GNU_SOURCE=", "-shared", "-fPIC")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    where = tmp_path_factory.mktemp("race")
    yield build(gs.REPO / "lib", where)
    shutil.rmtree(where, ignore_errors=True)


def execute(python, code, where, preload, seed, seconds=3 if gs.FULL else 1):
    """Runs a program; what ThreadSanitizer had to say, of all its processes."""
    script = where / "program.py"
    script.write_text(code, encoding="utf-8")
    env = {"LD_PRELOAD": " ".join(map(str, preload)), "GILSCOPE": f"output={where / 'rec.gilscope'}",
           "JITTER_SEED": seed, "PYTHONWARNINGS": "ignore",
           "TSAN_OPTIONS": f"log_path={where / 'tsan'} exitcode=0 history_size=7 die_after_fork=0 "
                           "report_signal_unsafe=0 report_thread_leaks=0 atexit_sleep_ms=100"}
    done = subprocess.run([python.path, str(script), str(seconds), str(gs.BIN)], env=gs.clean_env(env), timeout=120,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if "FATAL: ThreadSanitizer" in done.stderr and "memory mapping" in done.stderr:
        pytest.skip(f"ThreadSanitizer does not work here: {done.stderr.splitlines()[0]}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
    return "".join(f.read_text(errors="replace") for f in where.glob("tsan.*"))


def read_races(text, source):
    """A pair of accesses for each race in which the shim has part; the second may be unknown."""
    for one in text.split("=================="):
        if "WARNING: ThreadSanitizer: data race" not in one:
            continue
        pair = []
        for kind, stack in re.findall(r"^  (?:Previous )?((?:atomic )?(?:[Rr]ead|[Ww]rite)) of size \d+ at .*\n((?:    #.*\n)*)",
                                      one, re.MULTILINE):
            frames = re.findall(r"#\d+ (\S+) (\S+)", stack)
            # What a function of libc's or ThreadSanitizer's does for the shim is the shim's.
            while frames and "sanitizer" in frames[0][1]:
                frames.pop(0)
            pair.append(Access("read" if "ead" in kind else "write",
                               [f for f, place in frames[:1] if place.startswith(f"{source}/")]))
        if any(a.functions for a in pair):
            yield pair, one


def exceptions():
    """[(kind, function, the other function or None)] of unlocked.txt."""
    lines = (HERE / "unlocked.txt").read_text().splitlines()
    matches = [re.match(r"(read|write) (\w+)(?:, (\w+))?", line) for line in lines if line and not line.startswith("#")]
    return [m.groups() for m in matches]


def meant_to(pair, allowed):
    """The function by which a race is meant to be, or None."""
    for access, other in (pair[:2], pair[1::-1]) if len(pair) == 2 else ((pair[0], Access("", [])),):
        for kind, function, with_ in allowed:
            if function in access.functions and kind in (access.kind, "write") and (not with_ or with_ in other.functions):
                return function
    return None


def judge(text, source=gs.REPO / "lib"):
    """(how many races were meant to be, by function; those that were not, as text)."""
    meant, allowed, wrong = Counter(), exceptions(), []
    for pair, report in read_races(text, source):
        function = meant_to(pair, allowed)
        if function:
            meant[function] += 1
        elif len(pair) == 2: # else ThreadSanitizer has forgotten who the other one was
            wrong.append(report)
    return meant, wrong


def check(python, code, where, libraries, seed, source=gs.REPO / "lib"):
    """Runs a program; nobody raced who was not meant to, and the sums are right. The races that were meant to be."""
    where.mkdir()
    meant, wrong = judge(execute(python, code, where, libraries, seed), source)
    assert not wrong, f"{len(wrong)} races\n" + "\n".join(wrong)[:6000]
    processes = gs.report(where / "rec.gilscope")["processes"]
    assert processes
    for process in processes:
        # Threads that wait at the end, or at a pause, have a wait that is in no histogram.
        wrong = sums.check(process, open_intervals=True)
        assert not wrong
        assert not {"unexplained", "truncated", "damaged_bytes", "clock"} & set(process["losses"]), process["losses"]
    return meant


@pytest.mark.parametrize("program", PROGRAMS)
def test_races(libraries, where, program):
    """No two threads touch the same word of the shim's without a lock, but where unlocked.txt says why; what they
    counted adds up."""
    seen = Counter()
    for seed, python in enumerate(SOME):
        seen += check(python, PROGRAMS[program], where / python.name, libraries, seed)
    # ThreadSanitizer was at work: what is meant to race has been seen to.
    assert seen


def test_races_of_interpreters(libraries, where):
    """The same, of interpreters with GILs of their own that several threads create and end."""
    if not WITH_OWN_GILS:
        pytest.skip("no CPython 3.12 or 3.13 here")
    for python in WITH_OWN_GILS if gs.FULL else WITH_OWN_GILS[-1:]:
        check(python, OWN_GILS, where / python.name, libraries, 1)


def test_a_lock_that_is_missing(libraries, where):
    """A shim that counts something in two threads without a lock does not pass."""
    source = where / "lib"
    shutil.copytree(gs.REPO / "lib", source)
    text = (source / "shim.c").read_text()
    name = "SHIM_EXPORT int pthread_mutex_lock"
    assert text.count(name) == 1
    wrong = "static uint64_t n_calls;\nvoid count_calls(void);\nvoid count_calls(void) { n_calls++; }\n"
    begin = text.index("{\n", text.index(name)) + 2
    text = text[:text.index(name)] + wrong + text[text.index(name):begin] + "    count_calls();\n" + text[begin:]
    (source / "shim.c").write_text(text)
    with pytest.raises(AssertionError, match="count_calls"):
        # Who locks gil->mutex has not got it yet.
        others = libraries[0].parent
        (others / "shim.o").rename(others / "shim.o.right")
        check(SOME[-1], BEGIN + "together((python,), (locking,), (locking,), (sleeping,))", where / "rec",
              build(source, where, others), 1, source)


AT_ONCE = BEGIN + """
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
made, start = [], threading.Barrier(5)
def make():
    start.wait()
    for _ in range(9):
        try: number = interpreters.create("isolated")
        except TypeError: number = interpreters.create(isolated=True)
        made.append(number)
        (interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string)(number, "sum(range(1000))")
threads = [threading.Thread(target=make) for _ in range(5)]
for t in threads: t.start()
for t in threads: t.join()
for number in made: interpreters.destroy(number)
"""


@pytest.mark.skipif(not WITH_OWN_GILS, reason="no CPython 3.12 or 3.13 here")
@pytest.mark.parametrize("own_gils", WITH_OWN_GILS, ids=[p.name for p in WITH_OWN_GILS])
def test_interpreters_created_at_once(own_gils, where):
    """Each of 45 interpreters with a GIL of its own is measured, though five threads create them at the same time."""
    for n in range(3):
        process = gs.run_code(own_gils, AT_ONCE, where, args=(1,), name=str(n)).process
        assert len(process["gils"]) == 46 and min(g["acquisitions"] for g in process["gils"]) > 0, process["gils"]
