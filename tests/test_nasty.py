# SPDX-License-Identifier: MIT
"""Programs that do what no program should, and come to the same end with the shim as without."""
import subprocess

import pytest

from helpers import faults, gs, pythons

SOME = pythons.SUPPORTED if gs.FULL else pythons.SUPPORTED[-1:]
BEGIN = faults.WORK + """
import contextlib, ctypes, signal, subprocess
libc = ctypes.CDLL(None, use_errno=True)
with contextlib.suppress(OSError): ctypes.CDLL("libgcc_s.so.1") # libc opens it to end a thread: there may be no way, later
def new_lock(): # at a fork, another thread may have had it
    global lock
    lock = threading.Lock()
os.register_at_fork(after_in_child=new_lock)
def child(status=0):
    '''Forks; the child works in threads, too; its exit status.'''
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            some_threads(3)
            code = status
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] >> 8
def beside(function):
    '''Runs it in the main thread while three others work.'''
    done = threading.Event()
    def busy():
        while not done.is_set(): work_a_little(); sum(range(200))
    others = [threading.Thread(target=busy) for _ in range(3)]
    for t in others: t.start()
    try: function()
    finally:
        done.set()
        for t in others: t.join()
"""
END = """
run()
sys.exit(7)
"""
PROGRAMS = {
    # --- processes
    "forks in a signal handler": """
statuses = []
def handle(*_):
    statuses.append(child(5))
    if len(statuses) < 12: signal.setitimer(signal.ITIMER_REAL, 0.003) # no handler on top of a handler
signal.signal(signal.SIGALRM, handle)
def wait():
    signal.setitimer(signal.ITIMER_REAL, 0.003)
    while len(statuses) < 12: time.sleep(0.001)
beside(wait)
print(set(statuses))
""",
    "a storm of exec": """
left = int(os.environ.get("LEFT", "25"))
some_threads(2)
if left:
    os.environ["LEFT"] = str(left - 1)
    threading.Thread(target=lambda: os.execv(sys.executable, [sys.executable, *sys.argv])).start()
    time.sleep(60)
""",
    "handlers around forks that use Python": """
calls = []
for name in ("before", "after_in_parent", "after_in_child"):
    os.register_at_fork(**{name: lambda: (some_threads(2), calls.append(1))})
def forks():
    for _ in range(10): assert child(3) == 3
beside(forks)
print(len(calls))
""",
    "a daemon without descriptors": """
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.dup2(w, 100)
        os.closerange(0, 100)
        os.chdir("/")
        os.umask(0)
        some_threads(5)
        pid = os.fork()
        if pid == 0: some_threads(2); os._exit(3)
        os.write(100, b"%d" % (os.waitpid(pid, 0)[1] >> 8))
    os._exit(0)
os.wait()
os.close(w)
print(os.read(r, 10))
""",
    "commands that do not exist": """
def spawn():
    for _ in range(20):
        with contextlib.suppress(OSError): subprocess.Popen(["/nothing/here"])
        assert subprocess.call(["/bin/true"]) == 0
beside(spawn)
""",
    # --- what is taken away while it is measured
    "descriptors closed from below": """
def close():
    for _ in range(30): os.closerange(3, 65536); child()
beside(close)
""",
    "limits that come later": """
for limit, value in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(limit, (value, value))
print(child(4))
some_threads(20)
""",
    "no address space left": """
def used(): return int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used() + (300 << 20), -1))
some_threads(20)
print(child(4))
""",
    "its directory deleted while it forks": """
import shutil
def forks():
    for _ in range(10):
        shutil.rmtree(sys.argv[1], ignore_errors=True)
        assert child(3) == 3
beside(forks)
""",
    "another directory, another root": """
os.chdir("/")
assert child(3) == 3
if os.geteuid() == 0:
    os.chroot("/tmp")
    assert child(3) == 3
""",
    "rights given up": """
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
assert libc.prctl(4, 0, 0, 0, 0) == 0 # PR_SET_DUMPABLE
some_threads(20)
assert child(3) == 3
""",
    "the environment emptied": """
os.environ.clear()
assert child(3) == 3
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], stdout=subprocess.PIPE).stdout)
""",
    # --- threads
    "threads that end in C": """
import _thread
libc.pthread_exit.argtypes = [ctypes.c_void_p]
for _ in range(20):
    _thread.start_new_thread(libc.pthread_exit, (None,)) # ctypes has let go of the GIL
time.sleep(0.1)
""",
    "threads that C has made": """
libc.pthread_create.argtypes = [ctypes.c_void_p] * 4
libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
seen = []
call = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: seen.append(sum(range(1000))))
def make():
    for _ in range(50):
        thread = ctypes.c_ulong()
        assert libc.pthread_create(ctypes.byref(thread), None, call, None) == 0
        libc.pthread_join(thread, None)
beside(make)
print(len(seen))
""",
    "the smallest stacks": """
for size in range(32768, 1 << 20, 4096): # 3.15 asks for more than the others
    with contextlib.suppress(ValueError):
        threading.stack_size(size)
        break
some_threads(30)
threading.stack_size(0)
""",
    "switch intervals of all sizes": """
for interval in (1e-6, 1000.0, 0.005):
    sys.setswitchinterval(interval)
    some_threads(30)
    run()
""",
    "signals of all kinds": """
for n in set(range(1, signal.NSIG)) - {9, 19, 17, 18, 7, 11, 8, 4, 32, 33}:
    with contextlib.suppress(OSError, ValueError): signal.signal(n, lambda *_: sum(range(100)))
def send():
    for n in (1, 2, 3, 10, 12, 13, 14, 15, 34, 40) * 20: os.kill(os.getpid(), n)
beside(send)
""",
    "deep recursion": """
def deep(n): return n and 1 + deep(n - 1)
def endless(): return endless()
sys.setrecursionlimit(6000)
threading.stack_size(256 << 20)
def both():
    print(deep(5000))
    try: endless()
    except RecursionError: print("RecursionError")
beside(both)
""",
    "stopped and continued": """
script = f"for i in 1 2 3 4 5 6 7 8; do kill -STOP {os.getpid()}; sleep 0.05; kill -CONT {os.getpid()}; sleep 0.05; done"
def stops(): assert subprocess.call(["/bin/sh", "-c", script]) == 0
beside(stops)
""",
    "names of all kinds": """
for name in ("x" * 5_000_000, "\\ud800", "\\0zero\\0", "\\u00e9" * 5000, "\\U0001f600" * 3000, "", 5, None, threading):
    t = threading.Thread(target=work_a_little)
    t._name = name
    t.start(); t.join()
def unnamed():
    me = threading.current_thread()
    del me._name
    for _ in range(200): time.sleep(0)
    me._name = "again"
t = threading.Thread(target=unnamed); t.start(); t.join()
""",
    # --- those who look over its shoulder
    "traced and profiled": """
import cProfile, tracemalloc, faulthandler
tracemalloc.start(20)
faulthandler.dump_traceback_later(1000)
threading.settrace(lambda *_: None); sys.settrace(lambda *_: None)
some_threads(10)
sys.settrace(None); threading.settrace(None)
profile = cProfile.Profile()
profile.runcall(beside, lambda: some_threads(20))
faulthandler.cancel_dump_traceback_later()
print(tracemalloc.get_traced_memory()[0] > 0, profile.getstats() != [])
tracemalloc.stop()
""",
    "a debugger": """
import pdb, io
class Quiet(pdb.Pdb):
    def __init__(self): super().__init__(stdin=io.StringIO("next\\nstep\\np 6*7\\ncontinue\\n"), stdout=sys.stdout, nosigint=True)
    def print_stack_entry(self, *_, **__): pass
Quiet().runcall(some_threads, 5)
""",
}
OPTIONS = {
    "debug allocator": ({"PYTHONMALLOC": "debug"}, []),
    "developer mode": ({}, ["-X", "dev"]),
    "a large environment": ({f"LARGE_{n}": "x" * 100000 for n in range(12)}, []),
    "import times": ({"PYTHONPROFILEIMPORTTIME": ""}, ["-I", "-S", "-B"]),
}
IDS = [p.name for p in SOME]
IMPORTS = "import resource\n"


def without_stacks():
    return ["", ",no-stacks"] if gs.FULL else [""]


@pytest.mark.parametrize("interpreter", SOME, ids=IDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(interpreter, name, where):
    """Output, errors and exit status are what they are without the shim, and at most a line comes from it."""
    code = IMPORTS + BEGIN + PROGRAMS[name] + END
    for n, options in enumerate(without_stacks()):
        place = where / str(n)
        place.mkdir()
        output = place / "rec.gilscope"
        command = faults.command_line(interpreter, code, place, args=(output,))
        outcome = faults.both(command, place, output=output, options=options, timeout=100)
        if any(output.glob("*.gil")) if output.is_dir() else False:
            assert outcome.processes()


@pytest.mark.parametrize("interpreter", SOME, ids=IDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_option(interpreter, name, where):
    """The same, of interpreters that are told to be careful, or have much to carry."""
    env, options = OPTIONS[name]
    script = where / "program.py"
    script.write_text(faults.PLAIN)
    outcome = faults.both([interpreter.path, *options, script], where, env=env)
    assert sum(g["acquisitions"] for g in outcome.process()["gils"]) > 100


def test_relative_directory(one_python, where):
    """A relative output directory is that of the start, wherever the program goes and forks."""
    code = BEGIN + "os.chdir('/')\nassert child(3) == 3\n" + END
    outcome = faults.both(faults.command_line(one_python, code, where), where, output="rec.gilscope", cwd=where)
    assert not outcome.lines and len(gs.report(where / "rec.gilscope")["processes"]) == 2


def test_addresses_that_are_not_random(one_python, where):
    """Under another personality: addresses that are the same each time."""
    faults.needs(["setarch", "-R", "true"])
    outcome = faults.both(["setarch", "-R", *faults.command_line(one_python, faults.PLAIN, where)], where)
    assert outcome.process()["complete"]


def test_ten_thousand_processes(one_python, where):
    """Ten thousand children, each with a recording of its own."""
    if not gs.FULL:
        pytest.skip("only with --full: it takes a while, and 3 GB")
    code = BEGIN + "for n in range(10000):\n    assert child(3) == 3\n" + END
    with faults.tmpfs(where, "8g") as room:
        outcome = faults.both(faults.command_line(one_python, code, where), where, output=room / "rec.gilscope",
                              timeout=900)
        assert not outcome.lines
        assert len(list((room / "rec.gilscope").glob("*.gil"))) == 10001


def test_memory_limit_of_a_group(one_python, where):
    """Under a memory limit that the program reaches, it is killed as it is without us, and the recording can be read."""
    faults.needs_root()
    for root in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        limit = {"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"}[root]
        group = f"{root}/gilscope-test-{where.name}"
        try:
            subprocess.run(["mkdir", group], check=True, stderr=subprocess.PIPE)
            with open(f"{group}/{limit}", "w", encoding="ascii") as out:
                out.write(str(120 << 20))
            break
        except (OSError, subprocess.CalledProcessError):
            subprocess.run(["rmdir", group], check=False, stderr=subprocess.PIPE)
    else:
        pytest.skip("no memory controller that can be used here")
    code = BEGIN + f"open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\nkept = []\n" + """
def grow():
    while True: kept.append(b'x' * (1 << 20) * 4); work_a_little()
beside(grow)
"""
    try:
        outcome = faults.both(faults.command_line(one_python, code, where), where, expect=-9, timeout=60)
        assert not outcome.process()["complete"]
    finally:
        subprocess.run(["rmdir", group], check=False)
