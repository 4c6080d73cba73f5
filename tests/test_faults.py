# SPDX-License-Identifier: MIT
"""Faults around the recording, injected while threads work: the program does and says what it does without us, at most
one line is ours, and the report says what was lost."""
import errno
import os
import resource
import shutil

import pytest

from helpers import faults, gs, sums

NOBODY = 65534


def complete(outcome):
    """The recording is whole and its figures add up."""
    process = outcome.process()
    assert process["complete"] and not sums.check(process), sums.check(process)
    return process


def test_no_fault(python, where):
    """Without a fault nothing is said and nothing lost: what the tests below compare with."""
    outcome = faults.both(faults.command_line(python, faults.PLAIN, where), where)
    assert not outcome.lines
    losses = complete(outcome)["losses"]
    assert not set(losses) - {"names_unread", "stacks_unread", "stacks"}
    assert losses.get("stacks", 0) < 5 # a sample whose turn to be entered did not come, on a busy machine


# --- no space ---------------------------------------------------------------------------------------------------------
FILLS = faults.WORK + """
# A thread keeps the file system full to the last byte while others come and go, and their records with them.
full = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
done = False
def fill():
    size = 65536
    while not done:
        try: os.write(full, b"x" * size)
        except OSError: size = max(size // 2, 1); time.sleep(0.0005)
filler = threading.Thread(target=fill); filler.start()
for _ in range(6):
    many = [threading.Thread(target=work_a_little) for _ in range(60)]
    for t in many: t.start()
    for t in many: t.join()
run()
done = True
filler.join()
sys.stderr.write("own words\\n")
sys.exit(7)
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("size", ["64k", "68k", "100k", "132k", "200k", "400k"])
def test_disk_that_fills_up(python, size, where):
    """A file system that is full before or while the recording grows: no SIGBUS; what found no room is counted."""
    with faults.tmpfs(where, size) as mount:
        def empty():
            for path in mount.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        outcome = faults.both(faults.command_line(python, FILLS, where, [mount / "filler"]), where, before=empty,
                              output=mount / "r.gilscope")
        if outcome.lines:
            assert "No space left on device" in outcome.lines[0]
        else:
            process = outcome.process()
            assert process["losses"].get("no_space", 0) > 0
            assert process["complete"]


def test_file_system_without_room_for_a_directory(one_python, where):
    """Not even the directory can be made: one line."""
    with faults.tmpfs(where, "1m,nr_inodes=2") as mount:
        (mount / "only").write_text("")
        outcome = faults.both(faults.command_line(one_python, faults.PLAIN, where), where, output=mount / "r.gilscope")
        assert len(outcome.lines) == 1 and "No space left on device" in outcome.lines[0]


# --- the file is changed by others ------------------------------------------------------------------------------------
CHANGES = faults.WORK + """
# While threads work, something happens to the recording, if there is one.
def change():
    time.sleep(0.05)
    for root, _, names in os.walk(sys.argv[1]):
        for name in names:
            path = os.path.join(root, name)
            CHANGE
rounds = 600
changer = threading.Thread(target=change); changer.start()
run()
changer.join()
some_threads(100)
run()
sys.stderr.write("own words\\n")
sys.exit(7)
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("size", [0, 1, 4096, 8192, 30000])
def test_truncated_while_mapped(python, size, where):
    """Somebody cuts the recording short: the program runs on, one line says that measuring has ended."""
    code = CHANGES.replace("CHANGE", f"os.truncate(path, {size})")
    outcome = faults.both(faults.command_line(python, code, where, [where / "rec.gilscope"]), where)
    assert len(outcome.lines) == 1 and "stopped measuring" in outcome.lines[0], outcome.lines
    done = gs.gilscope("report", "-f", "json", outcome.recording)
    if size < 4096:
        assert done.returncode != 0 and len(done.stderr.splitlines()) == 1, done.stderr
    else:
        losses = outcome.process()["losses"]
        assert losses["storage"] == 1 and losses["truncated"] == 1
    assert [os.stat(file).st_size for file in outcome.recording.glob("*.gil")] == [size]


@pytest.mark.parametrize("change", [
    "os.unlink(path)", "__import__('shutil').rmtree(sys.argv[1])", "os.rename(path, path + '.old')",
    "os.unlink(path); open(path, 'w').write('something else')",
    "os.unlink(path); os.symlink('/dev/full', path)", "os.unlink(path); os.mkfifo(path)",
    "os.unlink(path); os.mkdir(path)", "os.chmod(sys.argv[1], 0); os.chmod(path, 0)",
], ids=["deleted", "directory deleted", "renamed", "replaced", "replaced by a link", "replaced by a pipe",
        "replaced by a directory", "permissions taken away"])
def test_deleted_or_replaced_while_mapped(one_python, change, where):
    """The recording's name goes or becomes something else's: the program runs on, and what took its place is left."""
    code = CHANGES.replace("CHANGE", change)
    outcome = faults.both(faults.command_line(one_python, code, where, [where / "rec.gilscope"]), where)
    assert not outcome.lines
    if "something else" in change:
        assert [path.read_text() for path in outcome.recording.glob("*.gil")] == ["something else"]
    if "rename" in change:
        for path in outcome.recording.glob("*.old"):
            path.rename(path.with_suffix(""))
        assert outcome.process()["complete"]


OVERWRITES = faults.WORK + """
# Others write into the recording of a process that works, all over it or again and again, here and there.
import random
kind, directory, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance, done = random.Random(seed), False
def anything(size):
    return chance.choice([os.urandom(8), b"\\xff" * 64, chance.randrange(size // 16).to_bytes(4, "little"),
                          chance.randrange(5).to_bytes(8, "little"), bytes(4096)])
def overwrite():
    for path in [os.path.join(root, name) for root, _, names in os.walk(directory) for name in names]:
        fd = os.open(path, os.O_RDWR)
        size = os.fstat(fd).st_size
        if kind == "another file":
            data = open(sys.executable, "rb").read(size)
            os.ftruncate(fd, 0)
            os.pwrite(fd, data, 0)
        elif kind == "ones": os.pwrite(fd, b"\\xff" * size, 0)
        elif kind == "noise": os.pwrite(fd, bytes(chance.getrandbits(8) for _ in range(size)), seed % 2 * 4096)
        while kind == "bits of it" and not done:
            for _ in range(chance.choice([1, 10, 100])):
                os.pwrite(fd, anything(size), chance.randrange(0 if chance.random() < 0.02 else 4096, size - 4096) & ~7)
            time.sleep(chance.choice([0, 0.0002, 0.002]))
        os.close(fd)
run()
writer = threading.Thread(target=overwrite); writer.start()
run()
some_threads(1200 if seed == 0 else 100)
run()
done = True
writer.join()
sys.exit(7)
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("kind, times", [("another file", 2), ("ones", 2), ("noise", 4), ("bits of it", 8)])
def test_overwritten_while_mapped(python, kind, times, where):
    """What others write into the recording does the program no harm, whatever it is."""
    command = faults.command_line(python, OVERWRITES, where)
    for seed in range(times):
        output = where / f"{seed}.gilscope"
        outcome = faults.both([*command, kind, output, seed], where, output=output)
        assert not outcome.lines or "stopped measuring" in outcome.lines[0]
        done = gs.gilscope("report", "-f", "json", output)
        assert done.returncode in (0, 1), done
        if kind == "another file":
            assert "it is not a recording of gilscope" in done.stderr


@pytest.mark.few_pythons
def test_holes_on_a_full_disk(python, where):
    """Storage that is taken away from under the mapping, where none can be had again, is like a file cut short."""
    code = CHANGES.replace("CHANGE", """
            if not path.endswith(".gil"): continue
            libc = __import__("ctypes").CDLL(None, use_errno=True)
            fd = os.open(path, os.O_RDWR)
            libc.fallocate(fd, 3, __import__("ctypes").c_long(8192), __import__("ctypes").c_long(1 << 20))
            os.close(fd)
            with open(os.path.join(sys.argv[1], "filler"), "wb", buffering=0) as filler:
                try:
                    while True: filler.write(b"x" * 4096)
                except OSError: pass
""")
    with faults.tmpfs(where, "1m") as mount:
        (mount / "filler").write_bytes(b"")
        output = mount / "r.gilscope"
        outcome = faults.both(faults.command_line(python, code, where, [output]), where, output=output)
        assert len(outcome.lines) == 1 and "stopped measuring" in outcome.lines[0], outcome.lines
        assert outcome.process()["losses"]["storage"] == 1


BUS = faults.WORK + r"""
import faulthandler, mmap, signal
before = signal.getsignal(signal.SIGBUS)
print(before is signal.SIG_DFL)
kind = sys.argv[1]
def fault():
    with open(sys.argv[2], "w+b") as f:
        f.truncate(4096)
        memory = mmap.mmap(f.fileno(), 4096)
        f.truncate(0)
        memory[0] = 1
run()
if kind == "faulthandler":
    faulthandler.enable(file=open(os.devnull, "w"))
elif kind == "handler":
    def handler(number, frame): print("handler", number, flush=True)
    print(signal.signal(signal.SIGBUS, handler) is before, signal.getsignal(signal.SIGBUS) is handler)
    os.kill(os.getpid(), signal.SIGBUS)
    time.sleep(0.01)
    print(signal.signal(signal.SIGBUS, signal.SIG_DFL) is handler, flush=True)
elif kind == "ignored":
    signal.signal(signal.SIGBUS, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGBUS)
    print(os.system("grep SigIgn /proc/self/status"), flush=True)
    sys.exit(7)
elif kind == "spawned":
    import subprocess
    faulthandler.enable()
    print(subprocess.run(["grep", "Sig[IC]", "/proc/self/status"], stdout=subprocess.PIPE).stdout, flush=True)
    print(os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, setsigdef=[signal.SIGBUS]), 0)[1])
    sys.exit(7)
elif kind == "child":
    child = os.fork()
    if child == 0:
        run()
        fault()
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
if kind == "sent":
    os.kill(os.getpid(), signal.SIGBUS)
    time.sleep(10)
fault()
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("kind", ["fault", "sent", "faulthandler", "handler", "ignored", "spawned", "child"])
def test_sigbus_of_the_program_itself(python, kind, where):
    """A SIGBUS that is none of ours does what it does without us, whatever the program has asked for."""
    command = faults.command_line(python, BUS, where, [kind, where / "mapped"])
    outcome = faults.both(command, where, expect=None)
    assert outcome.exit == (7 if kind in ("ignored", "spawned") else -7), outcome
    assert outcome.stdout.startswith("True\n") and not outcome.lines


# --- no permission ----------------------------------------------------------------------------------------------------
def as_nobody():
    faults.needs_root()
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    faults.needs([*command, "/usr/bin/python3", "-c", ""])
    return command


@pytest.mark.parametrize("kind", ["directory of another user", "no directory", "file system is read-only"])
def test_no_permission(kind, where):
    """A user who may not write where recordings are to go: one line."""
    nobody = as_nobody()
    with faults.everybodys_directory() as (directory, shim):
        output = {"directory of another user": directory / "theirs", "no directory": directory / "a" / "b",
                  "file system is read-only": "/proc/r.gilscope"}[kind]
        if kind == "directory of another user":
            output.mkdir(mode=0o755)
        outcome = faults.both([*nobody, *faults.command_line("/usr/bin/python3", faults.PLAIN, directory)], where,
                              output=output, shim=shim)
        assert len(outcome.lines) == 1 and str(output) in outcome.lines[0], outcome.lines


def test_link_of_another_user(where):
    """A directory for recordings in /tmp that somebody else has made a symbolic link: the files are the user's own."""
    nobody = as_nobody()
    with faults.everybodys_directory() as (directory, shim):
        directory.chmod(0o1777)
        victim = directory / "victim"
        victim.mkdir(mode=0o700)
        (directory / "rec.gilscope").symlink_to(victim)
        outcome = faults.both([*nobody, *faults.command_line("/usr/bin/python3", faults.PLAIN, directory)], where,
                              output=directory / "rec.gilscope", shim=shim)
        assert len(outcome.lines) == 1 and not list(victim.iterdir())


# --- limits -----------------------------------------------------------------------------------------------------------
@pytest.mark.few_pythons
@pytest.mark.parametrize("spare", range(4))
def test_descriptor_limit(python, spare, where):
    """Few descriptors, down to none: the shim's are closed again before the program wants one."""
    code = faults.WORK + f"""
import resource
some_threads(1); time.sleep(0.1)
n = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (n + {spare}, n + {spare}))
child = os.fork()
if child == 0:
    run()
    some_threads(200)
    got = []
    try:
        while True: got.append(os.dup(0))
    except OSError as error: print(error.errno, len(got), flush=True)
    os._exit(9)
print(os.WEXITSTATUS(os.waitpid(child, 0)[1]), flush=True)
sys.exit(7)
"""
    outcome = faults.both(faults.command_line(python, code, where), where)
    assert outcome.stdout.endswith(f" {spare}\n9\n"), outcome.stdout
    assert bool(outcome.lines) == (spare == 0)
    if spare:
        assert len(outcome.processes()) == 2


@pytest.mark.few_pythons
def test_address_space_limit(python, where):
    """RLIMIT_AS: with 4 MB more than the least that the program itself needs, it runs with us, too."""
    # All threads are there at once, whatever the machine does: what the program needs is the same each time.
    code = faults.PLAIN.replace("    digest = hashlib", "    everybody.wait()\n    digest = hashlib")
    code = code.replace("results = queue.Queue()", "results = queue.Queue()\neverybody = threading.Barrier(4)")
    # A thread that cannot be started must not leave the others waiting for it.
    code = code.replace("\nrun()\n", "\ntry: run()\nexcept BaseException: os._exit(1)\n")
    assert "everybody.wait" in code and "Barrier" in code and "_exit" in code
    command = faults.command_line(python, code, where)

    def limit(megabytes):
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    too_little, enough = 0, 1024
    while enough - too_little > 1:
        middle = (too_little + enough) // 2
        done = [faults.execute(command, None, preexec_fn=lambda: limit(middle)).returncode for _ in range(2)]
        too_little, enough = (too_little, middle) if done == [7, 7] else (middle, enough)
    # Not near a multiple of 64 MB: an arena of malloc, which is so large, may then leave the threads' stacks no room, and
    # the program fails without us, too, in one run of ten.
    for more in (4, 8, 16, 32, 96, 224):
        outcome = faults.both(command, where, preexec_fn=lambda: limit(enough + more), output=where / f"{more}.gilscope")
        if not outcome.lines:
            assert outcome.process()["complete"]


@pytest.mark.few_pythons
@pytest.mark.parametrize("kilobytes", [1, 63, 64, 100, 150])
def test_file_size_limit(python, kilobytes, where):
    """RLIMIT_FSIZE, at the start or in the way of the file's growth: no SIGXFSZ; a line, or losses counted."""
    code = faults.WORK + """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
some_threads(300)
run()
sys.exit(7)
"""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    outcome = faults.both(faults.command_line(python, code, where), where, preexec_fn=limit)
    assert bool(outcome.lines) == (kilobytes < 64), outcome.lines
    if not outcome.lines:
        process = outcome.process()  # threads that found no room leave holes in the sums
        assert process["complete"] and process["losses"]["no_space"] > 0


# --- system calls that are denied -------------------------------------------------------------------------------------
DENIED = [["fallocate"], ["fallocate", "pwrite"], ["create"], ["mkdir"], ["shared"], ["madvise"], ["process_vm_readv"],
          ["uname"], ["sched_getaffinity"], ["prlimit"], ["nanosleep"], ["sigaction"], ["fstat"],
          ["clock_gettime"], ["getcwd"], ["rename"], ["readlink"], ["mincore"], ["prctl"], ["sigprocmask"],
          ["getrusage"], ["msync"],
          ["memfd_create", "membarrier", "ftruncate", "process_vm_readv", "madvise", "fallocate", "uname",
           "sched_getaffinity", "prlimit", "nanosleep"]]


@pytest.fixture(scope="session")
def deny(tmp_path_factory):
    """The launcher that sets the filter."""
    return faults.compile_c(faults.FAULTS / "deny.c", tmp_path_factory.mktemp("deny"))


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM, errno.ENOMEM], ids=["ENOSYS", "EPERM", "ENOMEM"])
@pytest.mark.parametrize("calls", DENIED, ids="+".join)
def test_system_calls_that_fail(one_python, deny, calls, error, where):
    """A sandbox lets the system calls fail that the shim makes: a recording, or one line."""
    code = faults.PLAIN.replace("run()\nsys", "some_threads(200)\nrun()\nsys")
    command = [deny, error, *calls, "--", *faults.command_line(one_python, code, where)]
    if faults.execute(command, None).returncode != 7:
        pytest.skip("the interpreter itself does not start without them")
    outcome = faults.both(command, where)
    if not outcome.lines:
        process = complete(outcome)
        assert len(process["threads"]) > 100 or process["losses"]["no_space"]


@pytest.mark.few_pythons
@pytest.mark.parametrize("calls", [["fallocate", "pwrite"], ["create"], ["mkdir"], ["shared"]], ids="+".join)
def test_system_calls_that_fail_everywhere(python, deny, calls, where):
    """The same on every interpreter: no recording can be had, one line says so."""
    command = [deny, errno.EPERM, *calls, "--", *faults.command_line(python, faults.PLAIN, where)]
    assert len(faults.both(command, where).lines) == 1
    assert not list((where / "rec.gilscope").glob("*.gil"))


# --- standard streams -------------------------------------------------------------------------------------------------
CLOSED = faults.WORK + """
# What is written to a stream that is closed must go nowhere, not into the recording.
for fd in (0, 2): os.close(fd)
done, written = False, 0
def write(fd):
    global written
    while not done:
        try: written += os.write(fd, b"X" * 64)
        except OSError: time.sleep(0)
writers = [threading.Thread(target=write, args=(fd,)) for fd in (0, 2)]
for t in writers: t.start()
some_threads(600)
done = True
for t in writers: t.join()
run()
print(written)
sys.exit(7)
"""


@pytest.mark.few_pythons
def test_streams_that_are_closed(python, where):
    """A program closes its standard streams and writes to them all the same: it gets errors, the recording is whole."""
    outcome = faults.both(faults.command_line(python, CLOSED, where), where)
    assert outcome.stdout.endswith("\n0\n")
    complete(outcome)


NUMBER_TWO = faults.WORK + """
# A file of the program's is number 2, where standard error was.
import shutil
if sys.argv[2] == "later": os.close(2)
data = os.open(sys.argv[3], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
os.write(data, b"precious")
some_threads(1)
shutil.rmtree(sys.argv[1], ignore_errors=True)
open(sys.argv[1], "w").close()
if os.fork() == 0:
    some_threads(1)
    os._exit(0)
os.wait()
print(data, open(sys.argv[3], "rb").read())
sys.exit(7)
"""


@pytest.mark.parametrize("when", ["at the start", "later"])
def test_a_file_in_place_of_standard_error(one_python, when, where):
    """The line that a child cannot be measured is not written into what may be the program's data."""
    output = where / "rec.gilscope"
    close = {"preexec_fn": lambda: os.close(2)} if when == "at the start" else {}
    command = faults.command_line(one_python, NUMBER_TWO, where, [output, when, where / "data"])
    outcome = faults.both(command, where, output=output, before=lambda: output.is_file() and output.unlink(), **close)
    assert outcome.stdout == "2 b'precious'\n" and not outcome.lines


def test_only_one_of_a_family_speaks(one_python, where):
    """Of many forked children that cannot be measured, one says so."""
    code = faults.WORK + """
import shutil
some_threads(1)
shutil.rmtree(sys.argv[1], ignore_errors=True)
open(sys.argv[1], "w").close()
for _ in range(20):
    if os.fork() == 0:
        some_threads(1)
        if os.fork() == 0: some_threads(1)
        else: os.wait()
        os._exit(0)
    os.wait()
sys.exit(7)
"""
    output = where / "rec.gilscope"
    outcome = faults.both(faults.command_line(one_python, code, where, [output]), where, output=output,
                          options=",what-is-this", lines=2, before=lambda: output.is_file() and output.unlink())
    assert len(outcome.lines) == 2 and "option" in outcome.lines[0] and "Not a directory" in outcome.lines[1]
