# SPDX-License-Identifier: MIT
"""Programs that gilscope cannot measure, and places that it cannot write to: the program runs on unharmed."""
import os
import re
import shutil
import stat
import subprocess

import pytest

from helpers import gs, pythons

HELLO = """
import sys, threading
def hello():
    sys.stdout.write("hello\\n")
t = threading.Thread(target=hello)
t.start()
t.join()
sys.stderr.write("own words\\n")
sys.exit(9)
"""


def own_lines(stderr):
    """What gilscope said, without what the program said."""
    lines = [line for line in stderr.splitlines() if line != "own words"]
    for line in lines:
        assert re.match(r"gilscope: .{10,300}$", line), stderr
    return lines


def preloaded(command, where, options=None, **kwargs):
    """Runs a command with the shim but without the launcher; the recording goes to where/rec.gilscope."""
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": options or f"output={where}/rec.gilscope"})
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                          timeout=60, check=False, **kwargs)


@pytest.mark.parametrize("command", [
    ["/bin/true"], ["/bin/ls", "/"], ["/bin/bash", "-c", "for i in 1 2 3; do /bin/echo $i; done | cat; exit 4"],
    ["/usr/bin/perl", "-e", "fork; print 'x'; exit 2"], ["/bin/sh", "-c", "sort -u /etc/passwd | head -3"],
    ["/bin/tar", "--version"],
], ids=lambda c: c[0].split("/")[-1])
def test_programs_that_are_not_python(command, where):
    """Output, errors and status are those without the shim, and no file appears."""
    bare = subprocess.run(command, env=gs.clean_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", check=False)
    shimmed = preloaded(command, where)
    assert (shimmed.returncode, shimmed.stdout, shimmed.stderr) == (bare.returncode, bare.stdout, bare.stderr)
    assert not list(where.rglob("*.gil")) and not list(where.rglob("*.gilscope"))


@pytest.mark.parametrize("is_python", [False, True], ids=["helper", "Python"])
def test_programs_of_another_c_library(is_python, where):
    """A program that is linked with musl, such as a helper that a Python starts, runs on with the library in it. If it is
    a CPython, one line says that it is not measured."""
    if not shutil.which("musl-gcc"):
        pytest.skip("no musl-gcc (package musl-tools)")
    source, program = where / "other.c", where / "other"
    version = 'const char *Py_GetVersion(void); const char *Py_GetVersion(void) { return "3.12.0 (main)"; }'
    source.write_text("""
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
""" + version * is_python + r"""
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int done, loaded;
static void *work(void *unused)
{
    pthread_mutex_lock(&mutex);
    done = 1;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
    return unused;
}
int main(void)
{
    char line[4096];
    pthread_t thread;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        loaded |= !!strstr(line, "libgilscope-preload");
    pthread_create(&thread, NULL, work, NULL);
    pthread_mutex_lock(&mutex);
    while (!done)
        pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    if (!fork())
        _exit(3);
    wait(&done);
    fprintf(stderr, "own words\n");
    return 10 * loaded + WEXITSTATUS(done);
}
""")
    subprocess.run(["musl-gcc", "-rdynamic", source, "-o", program], check=True)
    done = preloaded([program], where)
    lines = own_lines(done.stderr)
    assert done.returncode == 13 and "own words" in done.stderr
    assert not is_python or len(lines) == 1 and "C library is not glibc, CPython '3.12.0'" in lines[0], done.stderr
    assert is_python or not lines
    assert not list(where.rglob("*.gil"))


def test_threaded_program_that_is_not_python(where):
    """A C program with its own mutexes, condition variables and semaphores is not taken for Python."""
    source, program = where / "threads.c", where / "threads"
    source.write_text(r"""
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>
/* The same kinds of objects as CPython's GIL, in another order. */
static struct { pthread_cond_t cond; pthread_mutex_t mutex; pthread_cond_t other; pthread_mutex_t more; } like;
static sem_t sem;
static int turns;
static void *turn(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&like.mutex);
        while (turns % 2 != (int)(long)arg) {
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            t.tv_sec++;
            pthread_cond_timedwait(&like.cond, &like.mutex, &t);
        }
        turns++;
        pthread_cond_signal(&like.cond);
        pthread_mutex_unlock(&like.mutex);
    }
    sem_post(&sem);
    return NULL;
}
int main(void)
{
    pthread_t a, b;
    pthread_cond_init(&like.cond, NULL);
    pthread_mutex_init(&like.mutex, NULL);
    pthread_cond_init(&like.other, NULL);
    pthread_mutex_init(&like.more, NULL);
    sem_init(&sem, 0, 0);
    pthread_create(&a, NULL, turn, (void *)0);
    pthread_create(&b, NULL, turn, (void *)1);
    sem_wait(&sem);
    sem_wait(&sem);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    printf("%d\n", turns);
    return 6;
}
""")
    subprocess.run(["gcc", "-O1", "-pthread", str(source), "-o", str(program)], check=True)
    done = preloaded([str(program)], where)
    assert (done.returncode, done.stdout, done.stderr) == (6, "4000\n", "")
    assert not list(where.rglob("*.gil"))


def test_run_of_a_program_that_is_not_python(where):
    """`gilscope run` of such a program exits with its status, and says in one line that there was no Python."""
    done = gs.gilscope("run", "-o", where / "r.gilscope", "--", "/bin/sh", "-c", "echo out; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert len(own_lines(done.stderr)) == 1, done.stderr
    quiet = gs.gilscope("run", "-q", "-o", where / "q.gilscope", "--", "/bin/sh", "-c", "echo out; exit 3")
    assert (quiet.returncode, quiet.stdout) == (3, "out\n")
    assert len(own_lines(quiet.stderr)) <= 1, quiet.stderr


def test_odd_interpreters(odd_python, where):
    """One clear line at most; output, errors and status are the program's."""
    script = where / "hello.py"
    script.write_text(HELLO)
    recording = gs.run([odd_python.path, str(script)], where, expect=9)
    assert recording.stdout == "hello\n"
    assert recording.stderr.splitlines().count("own words") == 1
    lines = own_lines(recording.stderr)
    assert len(lines) == 1, recording.stderr
    if odd_python.implementation == "CPython" and odd_python.version >= (3, 7):
        assert re.search(r"\b3\.\d+", lines[0]), lines[0]


def test_pypy(where):
    """PyPy has a GIL of another kind: the program runs unharmed, one line says that it is not measured."""
    pypy = [p for p in pythons.ODD if p.implementation == "PyPy"]
    if not pypy:
        pytest.skip("no PyPy here: apt-get install pypy3")
    test_odd_interpreters(pypy[0], where)


def unwritable(where, kind):
    """A directory for recordings that cannot be written to, by kind."""
    if kind == "file in the way":
        (where / "file").write_text("x")
        return where / "file"
    if kind == "parent missing":
        return where / "no" / "such" / "r.gilscope"
    if kind == "dangling link":
        (where / "link").symlink_to(where / "nowhere" / "at all")
        return where / "link"
    if kind == "proc":
        return "/proc/r.gilscope"
    raise ValueError(kind)


@pytest.mark.parametrize("kind", ["file in the way", "parent missing", "dangling link", "proc"])
def test_output_that_cannot_be_written(python, kind, where):
    """Under LD_PRELOAD the program runs on unharmed and one line says why there is no recording."""
    script = where / "hello.py"
    script.write_text(HELLO)
    target = unwritable(where, kind)
    done = preloaded([python.path, str(script)], where, options=f"output={target}")
    assert (done.returncode, done.stdout) == (9, "hello\n")
    assert done.stderr.splitlines().count("own words") == 1
    lines = own_lines(done.stderr)
    if kind == "parent missing" and not lines:
        assert list(where.rglob("*.gil")), "neither a recording nor a word about it"
    else:
        assert len(lines) == 1 and str(target) in lines[0], done.stderr


@pytest.mark.parametrize("kind", ["file in the way", "proc"])
def test_run_cannot_write(one_python, kind, where):
    """`gilscope run` that cannot make its recording fails with 125 before it starts the program."""
    target = unwritable(where, kind)
    done = gs.gilscope("run", "-q", "-o", target, "--", one_python.path, "-c", "print('ran')")
    assert (done.returncode, done.stdout) == (125, "")
    assert len(own_lines(done.stderr)) == 1 and str(target) in done.stderr


def test_full_disk(python, where):
    """On a full file system the program runs on unharmed, and one line says so."""
    mount = where / "full"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], stderr=subprocess.PIPE,
                          encoding="utf-8", check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {made.stderr.strip()}")
    try:
        (mount / "filler").write_bytes(b"x" * 60 * 1024)
        script = where / "hello.py"
        script.write_text(HELLO)
        done = preloaded([python.path, str(script)], where, options=f"output={mount}/r.gilscope")
        assert (done.returncode, done.stdout) == (9, "hello\n")
        assert len(own_lines(done.stderr)) == 1, done.stderr
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_FSIZE"])
def test_limits(python, limit, where):
    """No descriptor or no file size left: the program runs on unharmed, and one line says so."""
    script = where / "hello.py"
    script.write_text(HELLO)
    value = 3 if limit == "RLIMIT_NOFILE" else 1024
    inner = f"""
import os, resource, sys, threading, time
# Loads what libc needs to end a thread, while there are descriptors; it may end a little after the join.
first = threading.Thread(target=len, args=((),))
first.start(); first.join(); time.sleep(0.1)
resource.setrlimit(resource.{limit}, ({value}, {value}))
"""
    # The limit binds a forked child, which opens its own recording.
    script.write_text(inner + """
child = os.fork()
if child == 0:
    t = threading.Thread(target=sys.stdout.write, args=("hello\\n",))
    t.start(); t.join()
    sys.stdout.flush()
    os._exit(9)
sys.exit(os.WEXITSTATUS(os.waitpid(child, 0)[1]))
""")
    done = preloaded([python.path, str(script)], where)
    assert (done.returncode, done.stdout) == (9, "hello\n"), done.stderr
    assert len(own_lines(done.stderr)) == 1, done.stderr


def test_options_that_are_wrong(one_python, where):
    """A GILSCOPE variable that cannot be understood: one line, the program runs on."""
    script = where / "hello.py"
    script.write_text(HELLO)
    for options in ("nonsense", "pasued", f"output={where}/r.gilscope,colour=blue"):
        done = preloaded([one_python.path, str(script)], where, options=options, cwd=where)
        assert (done.returncode, done.stdout) == (9, "hello\n")
        assert len(own_lines(done.stderr)) == 1, (options, done.stderr)


def test_recordings_are_private(one_python, where):
    """A recording's files can be read by their owner only, whatever the umask."""
    recording = gs.run_code(one_python, "import os", where)
    for file in recording.files:
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert len(recording.files) == 1


def test_directories_with_odd_names(one_python, where):
    """Directories with spaces, commas and letters beyond ASCII work."""
    directory = where / "a b, ü"
    directory.mkdir()
    recording = gs.run_code(one_python, HELLO, directory, expect=9, cwd=directory)
    assert recording.process["complete"]
    assert recording.stderr == "own words\n"
