# SPDX-License-Identifier: MIT
"""The list of calls that should release the GIL: those that keep it for long, whatever they do afterwards, and no others."""
import subprocess

import pytest

from helpers import gs, makerec, pythons, truth

PROGRAM = """
import hashlib, sys, threading, time, zlib
sys.path.insert(0, sys.argv[1])
import _keeps
BLOCK = bytes(range(256)) * 2000
def long_first():
    _keeps.computes_then_sleeps(50, 100)
def python_first():
    t = time.perf_counter() + 0.02
    while time.perf_counter() < t:
        pass
    _keeps.sleeps_soon(0.005, 20)
def small():
    for _ in range(30):
        hashlib.sha256(BLOCK)
        zlib.compress(BLOCK, 1)
    time.sleep(0.001)
def work(end):
    while time.perf_counter() < end:
        long_first(); python_first(); small()
done = []
def wait():
    while not done:
        time.sleep(0.0002)
waiters = [threading.Thread(target=wait, name="waiter") for _ in range(int(sys.argv[3]))]
for w in waiters: w.start()
work(time.perf_counter() + float(sys.argv[2]))
done.append(1)
for w in waiters: w.join()
"""


@pytest.fixture(scope="module")
def extension():
    """The directory of the extension; one build is for all interpreters."""
    include = next((p.include for p in pythons.SUPPORTED if p.has_headers), None)
    if not include:
        pytest.skip("no interpreter has C headers")
    return truth.compile_shared(gs.WORK / "truth" / "_keeps.abi3.so", "_keeps.c", f"-I{include}").parent


def calls_of(process):
    return {c["function"] or c["module"].rsplit("/", 1)[-1]: c for c in process["calls_that_should_release"]}


def check(process, waiters):
    """The long one is listed with its own time; none that lets go at once is, though Python code kept the GIL before it."""
    calls = calls_of(process)
    assert "computes_then_sleeps" in calls, calls
    call = calls["computes_then_sleeps"]
    assert call["lets_go"] and call["caller"]["function"] == "long_first"
    assert 20e6 < call["longest_hold_ns"] and not call["longest_hold_is_mean"], call
    if waiters:
        assert call["charged_ns"] > 0.3 * process["sampling"]["charged"]["total_ns"], call
    assert not [name for name in calls if name != "computes_then_sleeps"], calls


@pytest.mark.few_pythons
@pytest.mark.parametrize("waiters", [0, 2])
def test_what_lets_go_late_is_listed(python, where, extension, waiters):
    """Under `gilscope run`: 50 ms with the GIL, then 100 ms without it."""
    recording = gs.run_code(python, PROGRAM, where, args=(extension, 3, waiters))
    check(recording.process, waiters)
    text = gs.gilscope("report", recording.dir).stdout
    assert "computes_then_sleeps" in text.split("CALLS THAT SHOULD RELEASE THE GIL")[1].split("MODULES")[0]


@pytest.mark.few_pythons
def test_with_the_library_alone_waiters_tell(python, where, extension):
    """LD_PRELOAD alone: a request to let go that stays unanswered says how long the call has kept the GIL."""
    script, directory = where / "program.py", where / "rec"
    script.write_text(PROGRAM)
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={directory}"})
    subprocess.run([python.path, script, str(extension), "3", "2"], env=env, check=True)
    process, = gs.report(directory)["processes"]
    check(process, 2)


RELEASED = """
import ctypes, sys, time
function = ctypes.CDLL(sys.argv[1]).keeps       # which computes; CDLL lets go of the GIL for it
def train():
    function(ctypes.c_int64(10000))
end = time.time() + 2
while time.time() < end:
    train()
"""


@pytest.mark.few_pythons
def test_functions_that_ctypes_calls_without_the_gil_are_told(python, where):
    """What a function of a library does without the GIL, for which ctypes has let go of it, is that library's, though none of it
    is left on the stack where the GIL is taken again."""
    process = gs.run_code(python, RELEASED, where, args=[truth.places()]).process
    ns = {True: 0, False: 0}
    for s in process["stacks"]:
        names = [f["function"] for f in s["frames"]]
        if s["view"] == "released" and "train" in names:
            ns[names[-1] == "keeps" and s["frames"][-1]["native"]] += s["ns"]
    assert ns[True] > 2 * ns[False], ns             # the first walks prove that frames can be read, and ask for no more
    released = sum(m["released_ns"] for m in process["modules"] if m["path"].endswith("places.so"))
    assert released >= ns[True], (released, process["modules"])


KERNELS = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
import _keeps
class Compiled(_keeps.Kernel): pass
kernel, end = Compiled(), time.time() + 2
def work():
    while time.time() < end: kernel(8.0)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_objects_of_an_extension_that_are_called_are_told(python, where, extension):
    """What is called need not be a function: numba's compiled ones are objects of a type of its own.  Their time with the GIL
    is that type's, not the interpreter's."""
    if python.version[:2] < (3, 11):
        pytest.skip("an argument cannot be told from what is called")
    process = gs.run_code(python, KERNELS, where, args=(extension,)).process
    call, = (c for c in process["calls_that_should_release"] if c["function"] == "calls_kernel")
    assert call["caller"]["function"] == "work" and call["held_ns"] > 0.6 * process["wall_ns"], call
    held = sum(m["held_ns"] for m in process["modules"] if "_keeps" in m["path"])
    assert held > 0.6 * process["wall_ns"], process["modules"]


GLUE = """
import ctypes, sys, threading, time
function = ctypes.CDLL(sys.argv[1]).keeps       # for next to nothing each time: what is held is before the call and behind it
def score():
    function(ctypes.c_int64(0)); function(ctypes.c_int64(0)); function(ctypes.c_int64(0))
def work():
    while time.time() < end: score()
end = time.time() + 2
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_functions_that_ctypes_calls_without_the_gil_do_not_hold_it(python, where):
    """What ctypes does with the GIL in front of the call and behind it is not the function's, which is told neither to
    hold the GIL nor to release it."""
    process = gs.run_code(python, GLUE, where, args=[truth.places()]).process
    seen = [s for s in process["stacks"] if s["view"] == "held" and any(f["function"] == "score" for f in s["frames"])]
    assert sum(s["count"] for s in seen) > 50
    assert not [s for s in seen if s["frames"][-1]["function"] == "keeps"]
    assert not [c for c in process["calls_that_should_release"] if c["function"] == "keeps"]


MS = 1000 * 1000
LOOP = "_PyEval_EvalFrameDefault"


def listed(where, file, function, caller="/app/app.py", held_ms=200, charged_ms=100, longest_us=2000, wall_s=1.0):
    """Whether a call of a function in this file is listed, of a thread that others wait for: 500 ms of held time in all."""
    make = makerec.Maker(seconds=wall_s)
    python, functions = makerec.library(where, "libpython3.99.so", [LOOP])
    make.object(python, 0x7f0000000000, 0x100000, build_id=makerec.build_id(python))
    (where / file).parent.mkdir(parents=True, exist_ok=True)
    path, addresses = makerec.library((where / file).parent, (where / file).name, [function])
    make.object(path, 0x7e0000000000, 0x100000, build_id=makerec.build_id(path))
    loop, call = 0x7f0000000000 + functions[LOOP], 0x7e0000000000 + addresses[function]
    make.thread("one", held=0.5, charged=0.3)
    make.thread("two", held=0.1, blocked=0.3)
    frame = make.frame("main", file=caller, line=3) | makerec.ENTRY
    make.stack(1, [frame], [loop], held=(500 - held_ms) * MS, charged=(300 - charged_ms) * MS, samples=99)
    make.stack(1, [frame], [call, loop], held=held_ms * MS, charged=charged_ms * MS, samples=40,
               longest_hold=longest_us * 1000, longest_call_us=longest_us)
    process, = gs.report(make.write(where))["processes"]
    assert [m for m in process["modules"] if m["path"] == str(path)], "it is told among the modules, however"
    return [c["function"] for c in process["calls_that_should_release"]] == [function]


def test_only_calls_that_matter_are_listed(where):
    """One that is long, but had next to nothing of the time and of the waiting, gives nothing if it lets go."""
    small = dict(held_ms=4, charged_ms=2)
    for i, (expected, values) in enumerate([
            (True, {}),
            (False, small),
            (True, dict(small, longest_us=25000)),                  # others feel it
            (False, dict(small, longest_us=25000, charged_ms=0)),   # there are none
            (False, dict(held_ms=20, charged_ms=2, wall_s=60.0)),   # hardly anything of the time, though of what was held
            (True, dict(held_ms=20, charged_ms=2))]):
        directory = where / str(i)
        directory.mkdir()
        assert listed(directory, "_ext.so", "kernel", **values) is expected, values


def test_calls_that_cannot_let_go_are_not_listed(where):
    """Modules of CPython that work on Python objects, and what initialises a module, have to keep the GIL."""
    cases = [(False, "lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "scan", {}),
             (True, "lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so", "step", {}),
             (True, "site-packages/_json.so", "scan", {}),
             (False, "site-packages/orjson/orjson.cpython-312-x86_64-linux-gnu.so", "loads", {}),
             (False, "site-packages/pydantic_core/_pydantic_core.cpython-312-x86_64-linux-gnu.so", "validate", {}),
             (True, "site-packages/lxml/etree.cpython-312-x86_64-linux-gnu.so", "parse", {}),
             (False, "_ext.so", "PyInit__ext", {"caller": "<frozen importlib._bootstrap>"})]
    for i, (expected, file, function, values) in enumerate(cases):
        directory = where / str(i)
        directory.mkdir()
        assert listed(directory, file, function, **values) is expected, file
