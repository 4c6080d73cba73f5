# SPDX-License-Identifier: MIT
"""Beside other software: libraries, allocators, debuggers and sanitizers come to the same results with the shim."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from helpers import beside, gs

LIBRARIES = [
    ("numpy", "python3-numpy", "numpy_threads.py", False),
    ("scipy", "python3-scipy", "scipy_threads.py", True),
    ("pandas", "python3-pandas", "pandas_threads.py", True),
    ("sklearn", "python3-sklearn", "sklearn_jobs.py", True),
    ("torch", "python3-torch", "torch_train.py", True),
    ("greenlet", "python3-greenlet", "greenlets_in_threads.py", False),
    ("gevent", "python3-gevent", "gevent_mix.py", False),
]
ALLOCATORS = [("libjemalloc.so.2", "libjemalloc2"), ("libtcmalloc.so.4", "libgoogle-perftools4"),
              ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4")]

THREADS = """
import hashlib, json, os, queue, subprocess, sys, threading, time

def work(number, seconds=0.0):
    total, end = 0, time.monotonic() + seconds
    while True:
        for turn in range(60):
            total += len(json.dumps([str(i) * number for i in range(300)]))
            total += hashlib.sha256(bytes([number]) * 50000).digest()[0]
        if time.monotonic() >= end:
            return total if not seconds else number

def run(seconds=0.0):
    results = {}
    def one(number):
        results[number] = work(number, seconds)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(results.items())
"""


@pytest.mark.parametrize("name, package, program, heavy", LIBRARIES, ids=[x[0] for x in LIBRARIES])
def test_libraries(name, package, program, heavy, where):
    """A library's threads, processes and switched stacks give the same results, and are measured."""
    if heavy and not gs.FULL:
        pytest.skip("only with --full")
    beside.need_module(name, package)
    status, output, _ = beside.same([beside.SYSTEM_PYTHON, beside.PROGRAMS / program], where)
    assert status == 0 and output


@pytest.mark.parametrize("shim_last", [False, True], ids=["shim first", "shim last"])
@pytest.mark.parametrize("library, package", ALLOCATORS, ids=[a[0] for a in ALLOCATORS])
def test_allocators(library, package, shim_last, where):
    """Another allocator, preloaded in front of the shim or behind it."""
    path = beside.need_library(library, package)
    script = where / "program.py"
    script.write_text(THREADS + """
print(run())
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], stdout=subprocess.PIPE, check=True).stdout)
child = os.fork()
if child == 0:
    print(run())
    sys.stdout.flush()
    os._exit(3)
print(os.waitpid(child, 0)[1])
""")
    status, output, errors = beside.same([beside.SYSTEM_PYTHON, script], where, [path], shim_last=shim_last)
    assert (status, errors) == (0, "") and output.count("\n") == 4


COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
static unsigned long locks, unlocks, signals;
#define REAL(name, type) static int (*real)(type *); if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)
int pthread_mutex_lock(pthread_mutex_t *m)
{ REAL("pthread_mutex_lock", pthread_mutex_t); __atomic_add_fetch(&locks, 1, 0); return real(m); }
int pthread_mutex_unlock(pthread_mutex_t *m)
{ REAL("pthread_mutex_unlock", pthread_mutex_t); __atomic_add_fetch(&unlocks, 1, 0); return real(m); }
int pthread_cond_signal(pthread_cond_t *c)
{ REAL("pthread_cond_signal", pthread_cond_t); __atomic_add_fetch(&signals, 1, 0); return real(c); }
__attribute__((destructor)) static void tell(void)
{ fprintf(stderr, "%lu %lu %lu\n", locks, unlocks, signals); }
"""


def test_another_library_sees_all_calls(python, where):
    """What stands between the shim and libc, another profiler or a sanitizer, is called as often as without the shim."""
    counter = where / "libcounter.so"
    (where / "counter.c").write_text(COUNTER)
    gs.compile_c(where / "counter.c", counter, "-shared", "-fPIC")
    program = "import os; f = os.open('/dev/zero', os.O_RDONLY); [os.read(f, 1) for _ in range(20000)]"
    counts = []
    for preload in (str(counter), f"{gs.preload()}:{counter}"):
        done = subprocess.run([python.path, "-S", "-c", program], stderr=subprocess.PIPE, check=True, text=True,
                              env=dict(gs.clean_env(), LD_PRELOAD=preload, GILSCOPE=f"output={where / 'rec'}"))
        counts.append([int(n) for n in done.stderr.split()])
    assert list((where / "rec").glob("*.gil"))
    bare, measured = counts
    assert bare[0] >= 60000 and bare[2] >= 40000
    assert all(b <= m <= b + 500 for b, m in zip(bare, measured)), counts


OWN_LZMA = """
int own(void) { return 42; }
#define STUB(name) int lzma_##name(void) { return 1; }
STUB(index_buffer_decode) STUB(index_end) STUB(index_size) STUB(index_uncompressed_size) STUB(stream_buffer_decode)
STUB(stream_footer_decode)
"""


def test_a_library_of_the_programs_own(python, where):
    """An interpreter that has a liblzma of its own beside it finds that one, not the one that came with libunwind."""
    for folder in ("bin", "lib"):
        (where / folder).mkdir()
    interpreter, lzma, user = where / "bin" / "python3", where / "lib" / "liblzma.so.5", where / "lib" / "libuser.so"
    shutil.copy(os.path.realpath(python.path), interpreter)
    (where / "lzma.c").write_text(OWN_LZMA)
    (where / "versions").write_text("XZ_5.0 { global: *; };\n")
    gs.compile_c(where / "lzma.c", lzma, "-shared", "-fPIC", "-Wl,-soname,liblzma.so.5",
                 f"-Wl,--version-script={where / 'versions'}")
    (where / "user.c").write_text("int own(void);\nint use(void) { return own(); }\n")
    gs.compile_c(where / "user.c", user, "-shared", "-fPIC", lzma, f"-Wl,-rpath,{where / 'lib'}")
    script = where / "program.py"
    # For a while: of young threads hardly any has its native frames taken.
    script.write_text(THREADS + f"import ctypes\nprint(run(0.3))\nprint(ctypes.CDLL('{user}').use())\n")
    prefix = subprocess.run([python.path, "-c", "import sys; print(sys.base_prefix)"], stdout=subprocess.PIPE,
                            check=True, env=gs.clean_env(), text=True).stdout.strip()
    # Without what else is installed: that may load _lzma, which is not made for this place.
    status, output, _ = beside.same([interpreter, "-S", script], where, env={"PYTHONHOME": prefix})
    assert status == 0 and output.endswith("\n42\n")
    (process,) = beside.measured(where)
    assert any(f["native"] for s in process["stacks"] for f in s["frames"])


def test_faulthandler_of_a_crash(python, where):
    """faulthandler's dump of a crash with waiting threads names the same functions, and the signal is the same."""
    script = where / "program.py"
    script.write_text("""
import faulthandler, threading, time
faulthandler.enable()
lock = threading.Lock()
lock.acquire()
def wait_here():
    lock.acquire()
threads = [threading.Thread(target=wait_here, daemon=True) for _ in range(3)]
for t in threads:
    t.start()
time.sleep(0.2)
faulthandler._sigsegv()
""")
    bare = beside.run([python.path, script], where)
    shimmed = beside.run([python.path, script], where, [""])
    functions = [(status, sorted(re.findall(r"line \d+ in \S+", errors))) for status, _, errors in (bare, shimmed)]
    assert functions[1] == functions[0]
    assert bare[0] == -signal.SIGSEGV and sum("wait_here" in f for f in functions[0][1]) == 3
    beside.measured(where)


def test_faulthandler_while_it_runs(one_python, where):
    """Dumps of all threads, every few ms, while they fight for the GIL: the same result."""
    script = where / "program.py"
    script.write_text(THREADS + """
import faulthandler, signal
out = open(os.devnull, "w")
faulthandler.register(signal.SIGUSR1, file=out, all_threads=True)
stop = threading.Event()
def send():
    while not stop.wait(0.005):
        os.kill(os.getpid(), signal.SIGUSR1)
sender = threading.Thread(target=send)
sender.start()
print(run())
stop.set()
sender.join()
""")
    assert beside.same([one_python.path, script], where)[0] == 0


def attached(where, attach):
    """Starts a threaded program with the shim, attaches to it, and checks that it ends as it should once it may."""
    script, enough = where / "program.py", where / "enough"
    until = THREADS.replace("time.monotonic() >= end", "not seconds or os.path.exists(sys.argv[1])")
    assert until != THREADS
    script.write_text(until + "print(os.getpid(), flush=True)\nprint(run(True))\n")
    process = subprocess.Popen([beside.SYSTEM_PYTHON, str(script), str(enough)], env=beside.environment(where, [""]),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               encoding="utf-8")
    try:
        pid = int(process.stdout.readline())
        time.sleep(0.5)
        words = attach(pid)
        enough.touch()
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, output, errors) == (0, "[(0, 0), (1, 1), (2, 2), (3, 3)]\n", "")
    assert beside.measured(where)[0]["complete"]
    return words


def test_gdb_attached(where):
    """gdb attaches, walks all stacks, through the shim, too, and lets go: the program ends as it should."""
    gdb = beside.need_program("gdb", "gdb")

    def look(pid):
        done = subprocess.run([gdb, "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all backtrace", "-ex",
                               "detach"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", errors="replace", timeout=120, check=False)
        if "ptrace: Operation not permitted" in done.stdout:
            pytest.skip("gdb may not attach here")
        assert len(re.findall(r"^Thread \d+", done.stdout, re.MULTILINE)) == 5, done.stdout
        return done.stdout

    def attach(pid):
        for _ in range(6):  # at most moments, but not at all, one of the threads waits for the GIL
            words = look(pid)
            if "pthread_cond_timedwait" in words:
                break
        return words
    words = attached(where, attach)
    assert "pthread_cond_timedwait" in words, words


def test_strace_attached(where):
    """strace attaches to all threads for a second: the program ends as it should."""
    strace = beside.need_program("strace", "strace")
    trace = where / "trace"

    def attach(pid):
        tracer = subprocess.Popen([strace, "-f", "-o", str(trace), "-p", str(pid)], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, encoding="utf-8")
        time.sleep(1.5)
        tracer.send_signal(signal.SIGINT)
        words = tracer.communicate(timeout=30)[1]
        if "Operation not permitted" in words:
            pytest.skip("strace may not attach here")
        return trace.read_text()
    assert "futex(" in attached(where, attach)


EMBEDS = r"""
#include <Python.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    for (int turn = 0; turn < 2; turn++) {
        char *own = malloc(100);
        Py_Initialize();
        FILE *f = fopen(argv[1], "r");
        if (!f || PyRun_SimpleFile(f, argv[1]) != 0)
            return 9;
        fclose(f);
        if (Py_FinalizeEx() != 0)
            return 8;
        ((volatile char *)own)[argc > 2 ? 100 : 99] = 1;
        free(own);
    }
    return 5;
}
"""


@pytest.mark.parametrize("how", ["runtime first", "order unchecked"])
def test_address_sanitizer(how, where):
    """A program built with AddressSanitizer that embeds Python, twice in a row: nothing is found, with the shim in
    front of the sanitizer's runtime or behind it; its own bug is found both ways."""
    version = subprocess.run([beside.SYSTEM_PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                             stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout.strip()
    options = subprocess.run(["pkg-config", "--cflags", "--libs", f"python-{version}-embed"], stdout=subprocess.PIPE,
                             encoding="utf-8", check=False).stdout.split()
    if not options:
        pytest.skip("Python cannot be embedded here: apt-get install python3-dev")
    source, program, script = where / "embeds.c", where / "embeds", where / "program.py"
    source.write_text(EMBEDS)
    script.write_text(THREADS + "print(run())\n")
    gs.compile_c(source, program, "-fsanitize=address", *options)
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], stdout=subprocess.PIPE, encoding="utf-8",
                             check=True).stdout.strip()
    env = {"ASAN_OPTIONS": "detect_leaks=0" + (":verify_asan_link_order=0" if how == "order unchecked" else "")}
    others = [runtime] if how == "runtime first" else []
    status, output, errors = beside.same([program, script], where, others, env, shim_last=True)
    assert (status, errors) == (5, "") and output.count("\n") == 2
    for preload in (others, [*others, ""]):
        status, _, errors = beside.run([program, script, "overflow"], where, preload, env)
        assert status == 1 and "heap-buffer-overflow" in errors, errors


def test_valgrind(where):
    """Under valgrind the results are the same, and it finds no error in the shim or in what the shim calls."""
    if not gs.FULL:
        pytest.skip("only with --full")
    valgrind = beside.need_program("valgrind", "valgrind")
    script = where / "program.py"
    script.write_text(THREADS.replace("range(60)", "range(1)") + "print(run())\n")
    log = where / "log"
    command = [valgrind, "--trace-children=no", f"--log-file={log}", beside.SYSTEM_PYTHON, script]
    status, output, _ = beside.same(command, where, env={"PYTHONMALLOC": "malloc"}, timeout=500)
    assert status == 0 and output
    blocks = re.split(r"\n==\d+== \n", log.read_text())
    ours = [b for b in blocks if re.search(r"gilscope-preload|\bshim_|libunwind", b) and " at 0x" in b]
    assert not ours, "\n\n".join(ours)
