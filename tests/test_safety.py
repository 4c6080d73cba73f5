# SPDX-License-Identifier: MIT
"""The page of promises keeps up with the library and the tests; doctor finds what the library stays inert for."""
import contextlib
import errno
import os
import re
import resource
import shutil
import subprocess

import pytest

from helpers import faults, gs, pythons

PAGE = (gs.REPO / "man" / "gilscope-safety.7").read_text(encoding="utf-8").replace("\\-", "-")


def test_each_promise_has_its_test():
    """Every test that gilscope-safety(7) names is there."""
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", PAGE)
    assert len(named) > 15
    for file, test in named:
        assert f"\ndef {test}(" in (gs.REPO / "tests" / file).read_text(encoding="utf-8"), (file, test)


def reasons():
    """What the library says when it stays inert or stops, by its source: the first words of each reason."""
    source = "".join(path.read_text(encoding="utf-8") for path in (gs.REPO / "lib").glob("shim-*.c"))
    found = re.findall(r'stay_inert\(\s*"([^"]+)"', source) + re.findall(r'\*why = "([^"]+)"', source) + \
        re.findall(r'"stopped measuring", "([^":]+)', source)
    assert len(found) >= 9
    return {re.split(r"[;,]", reason)[0] for reason in found}


def test_each_reason_is_in_the_manual():
    """Every reason for which the library stays inert is in gilscope-safety(7)."""
    for reason in reasons():
        assert reason in PAGE, reason


# What the library takes from libc without a system call, or only where the first GIL is created.
QUIET = """__cxa_finalize __errno_location __register_atfork __sched_cpucount dl_iterate_phdr dladdr dladdr1 dlclose dlopen dlsym
dlvsym getauxval getenv memchr memcmp memcpy memmove memset pthread_key_create pthread_mutex_trylock pthread_self
pthread_setcancelstate pthread_setspecific sigaddset sigemptyset strchr strchrnul strcmp strcspn strlen strncmp strnlen
strrchr strstr strtol syscall sysconf""".split()
# What the C library makes of some calls.
MADE = {"getrlimit": "prlimit", "prlimit64": "prlimit", "openat": "open", "newfstatat": "stat", "pread64": "pread",
        "pwrite64": "pwrite"}


def listed_calls():
    """The system calls that gilscope-safety(7) says are the library's."""
    text = re.search(r"which are made while the program runs:(.*?);", PAGE, re.S).group(1)
    return set(re.findall(r"\w+", text)) - {"and"}


def test_each_system_call_is_in_the_manual():
    """gilscope-safety(7) lists every system call for which the library has a function of libc or a number."""
    done = subprocess.run(["nm", "-D", "--undefined-only", gs.preload()], stdout=subprocess.PIPE, check=True, text=True)
    taken = set(re.findall(r"^ +U (\w+)", done.stdout, re.M)) - set(QUIET)
    source = "".join(path.read_text(encoding="utf-8") for path in (gs.REPO / "lib").glob("*.c"))
    calls = {MADE.get(name, name) for name in taken} | set(re.findall(r"\bSYS_(\w+)", source))
    assert {"open", "renameat2", "getrusage"} <= calls
    assert calls <= listed_calls(), calls - listed_calls()


def test_no_other_system_call_is_made(python, where):
    """What a program with the library calls that it does not call without is in that list: libunwind's, too."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("there is no strace")
    code = faults.WORK + """
print("from here", flush=True)
run()
some_threads(30)
child = os.fork()
if child == 0:
    run()
    os._exit(0)
os.waitpid(child, 0)
time.sleep(0.2)
run()
sys.exit(7)
"""
    calls = []
    for way in ("bare", "with"):
        env = {"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={where / 'rec'}"} if way == "with" else {}
        env["PYTHONWARNINGS"] = "ignore" # by chance 3.12 still sees a thread that has been joined, and warns of the fork
        trace = where / way
        done = faults.execute([strace, "-f", "-o", trace, *faults.command_line(python, code, where)], env)
        if "ptrace" in done.stderr:
            pytest.skip(f"strace may not trace: {done.stderr.splitlines()[0]}")
        assert done.returncode == 7, done.stderr
        lines = trace.read_text(errors="replace").split("from here", 1)[1]
        calls.append({MADE.get(name, name) for name in re.findall(r"^\d+ +(\w+)\(", lines, re.M)})
    bare, shimmed = calls
    assert "process_vm_readv" in shimmed - bare
    # Python's own, by chance: its allocators', and the thread's that was interrupted.
    assert shimmed - bare - {"mprotect", "restart_syscall", "mremap", "brk"} <= listed_calls(), shimmed - bare


def doctor(where, pid=None, **kwargs):
    env = gs.clean_env({"PATH": str(where)})
    return gs.gilscope("doctor", *([pid] if pid else []), env=env, cwd=where, **kwargs).stdout


def test_doctor_says_why_not_here(where):
    """A limit of the file's size, and a directory without room, are named before a program is started."""
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY))
    assert re.search(r"^  file size +missing .*64", doctor(where, preexec_fn=small), re.M)
    with faults.tmpfs(where, "32k") as mount:
        assert re.search(r"^  output +missing .*space", doctor(mount), re.M)
    assert "file size" not in doctor(where)


def test_doctor_says_why_not_that_process(where, one_python):
    """Of a process that was started with the library and is not measured, doctor PID names the cause."""
    script = where / "sleep.py"
    script.write_text("print('on', flush=True); __import__('time').sleep(60)")
    for output, why in ((where / "no" / "such", "No such file"), (where / "sleep.py", "Not a directory")):
        env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={output}"})
        with subprocess.Popen([one_python.path, str(script)], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            try:
                process.stdout.readline()
                said = doctor(where, process.pid)
            finally:
                process.kill()
        assert re.search(rf"^  output +missing .*{re.escape(str(output))}.*{why}", said, re.M), said


def test_doctor_knows_somebody_elses_rights(where):
    """Of a process with another user's rights, doctor PID says that the library ignores the environment there."""
    faults.needs_root()
    with faults.everybodys_directory() as (directory, _):
        program = directory / "sleep"
        program.write_bytes(open(os.path.realpath("/bin/sleep"), "rb").read())
        program.chmod(0o4755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "60"]
        faults.needs([*command[:-2], "/bin/true"])
        with subprocess.Popen(list(map(str, command))) as process:
            try:
                for _ in range(500):
                    if os.readlink(f"/proc/{process.pid}/exe") == str(program):
                        break
                    subprocess.run(["sleep", "0.01"], check=True)
                said = doctor(where, process.pid)
            finally:
                process.kill()
        if "AT_SECURE" not in said and os.statvfs(directory).f_flag & os.ST_NOSUID:
            pytest.skip("the file system gives no such rights")
        assert re.search(r"^  rights +missing .*AT_SECURE", said, re.M), said


# --- every reason -----------------------------------------------------------------------------------------------------
# (the reason's first words in lib/, how it comes about) -> what doctor PID says.  A child's recording is its own: what
# the parent does in front of the fork keeps it from having one.
CREATE, SPACE, MAP = "cannot create a recording in", "no space for a recording in", "cannot map a recording in"
NAME, CUT = "cannot name the recording in", "the file was cut short"
NO_FILE_IN_PLACE = "import shutil; shutil.rmtree(output); open(output, 'w').close()"
INERT = {
    (CREATE, "a file in its place"): (NO_FILE_IN_PLACE, "output +missing .*Not a directory"),
    (CREATE, "no descriptor left"): ("""
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True: os.dup(0)
except OSError: pass
""", "descriptors +missing +all 64 "),
    (CREATE, "no permission"): ("os.chmod(os.path.dirname(output), 0o755); os.chmod(output, 0o755); child = 65534",
                                "output +missing .*Permission denied"),
    (CREATE, "another user's link"): ("""
os.rename(output, output + '.old'); os.symlink(output + '.old', output); os.lchown(output, 65533, 65533)
""", "output +missing .*symbolic link of another user"),
    (SPACE, "a limit of the file's size"): ("resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))",
                                            "file size +missing .*30000"),
    (SPACE, "a full disk"): ("""
with open(output + "/filler", "wb", buffering=0) as f:
    try:
        while True: f.write(b"x" * 4096)
    except OSError: pass
""", "output +missing .*no space"),
    (CREATE, "no inodes"): ("""
try:
    for n in range(1000): open(f"{output}/{n}", "w").close()
except OSError: pass
""", "output +missing .*inodes"),
    (MAP, "no address space"): ("""
used = int(open("/proc/self/statm").read().split()[0]) * 4096
for line in open("/proc/self/maps"): # the parent's recording, which the child has not
    if ".gil" in line:
        begin, end = (int(n, 16) for n in line.split()[0].split("-"))
        used -= end - begin
resource.setrlimit(resource.RLIMIT_AS, (used + (700 << 10), -1))
""", "address space +missing .*1088 KiB"),
    (CUT, "somebody truncates it"): ("""
for name in os.listdir(output): os.truncate(f"{output}/{name}", 4096)
threads(50)
child = None
""", r"storage +missing .*\.gil was cut short"),
}
MADE_INERT = """
import os, resource, sys, threading, time
output, child = sys.argv[1], 0
def threads(n):
    for _ in range(n):
        t = threading.Thread(target=sum, args=((),)); t.start(); t.join()
threads(3)
os.waitpid # looked up while there are descriptors
HOW
pid = 0
if child is not None:
    if child: os.setresgid(child, child, child); os.setresuid(child, child, child)
    pid = os.fork()
if pid:
    os.write(1, b"%d\\n" % pid)
    os.wait()
else:
    if child is None: os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
"""


@pytest.mark.parametrize("reason, how", INERT, ids=[" - ".join(key) for key in INERT])
def test_doctor_names_the_reason(reason, how, one_python):
    """Of a process that is inert for this reason, doctor PID names it; a measured one has no such line."""
    faults.needs_root()
    code, expected = INERT[reason, how]
    with faults.everybodys_directory() as (directory, shim), faults.tmpfs(directory, "4m,nr_inodes=60") as mount:
        mount.chmod(0o755)
        output = mount / "rec.gilscope"
        env = gs.clean_env({"LD_PRELOAD": shim, "GILSCOPE": f"output={output}"})
        command = faults.command_line(one_python, MADE_INERT.replace("HOW", code), directory, [output])
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            pid = 0
            try:
                pid = int(process.stdout.readline())
                said, healthy = doctor(directory, pid), doctor(directory, os.getpid())
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid or process.pid, 9)
                process.kill()
            line = process.stderr.read().decode()
    assert reason in line, line
    assert re.search(f"^  {expected}", said, re.M), said
    assert not re.search(f"^  {expected}", healthy, re.M), healthy


def test_doctor_names_a_filter(one_python, where, tmp_path_factory):
    """Where a filter of system calls denies what gives a recording its name, doctor PID says that there is one."""
    deny = faults.compile_c(faults.FAULTS / "deny.c", tmp_path_factory.mktemp("deny"))
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={where / 'rec.gilscope'}"})
    command = [deny, errno.EPERM, "rename", "--", one_python.path, "-c",
               "import os, time; os.write(1, b'on\\n'); time.sleep(60)"]
    with subprocess.Popen(list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            said = doctor(where, process.pid)
        finally:
            process.kill()
        assert NAME in process.stderr.read().decode()
    assert re.search(r"^  filter +note .*seccomp", said, re.M), said


INTERPRETERS = {"PyPy's GIL is not CPython's": lambda p: p.implementation == "PyPy",
                "CPython 3.8 or newer is needed": lambda p: p.implementation == "CPython" and p.version < (3, 8),
                "a free-threaded build has no GIL to measure": lambda p: p.free_threaded,
                "the GIL of this build has an unknown layout": lambda p: False,
                "the program's C library is not glibc": lambda p: False}


@pytest.mark.parametrize("reason", INTERPRETERS)
def test_doctor_names_what_is_wrong_with_an_interpreter(reason, where):
    """doctor tries the Pythons that it finds and says why one is not measured: what the library said. Of kinds that are
    not here, an interpreter that says so stands for them."""
    odd = [p for p in pythons.ALL if INTERPRETERS[reason](p)]
    python = where / "python3"
    if odd and odd[-1].version >= (3, 3):
        python.symlink_to(os.path.realpath(odd[-1].path))
    else:
        python.write_text(f"""#!/bin/sh
echo "gilscope: not measuring process $$: {reason}" >&2
echo "gilscope|cpython|3.14.0|0|$0"
""")
        python.chmod(0o755)
    said = doctor(where)
    assert re.search(rf"^  python +(missing|note) +{python}: .*not measured: {reason}", said, re.M), said


def test_every_reason_is_tried():
    """The tests above leave out no reason that is in the source."""
    tried = {reason for reason, _ in INERT} | {NAME} | set(INTERPRETERS)
    assert tried == reasons()
