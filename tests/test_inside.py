# SPDX-License-Identifier: MIT
"""What holds the GIL is told, wherever the hold ends: the views "held" and "charged" under `gilscope run`."""
import json
import os
import signal
import stat
import subprocess
import time

import pytest

from helpers import gs, makerec, stacks, truth
from test_stacks import eventually

PROGRAM = gs.REPO / "tests" / "frames" / "inside.py"
SECONDS = 2
SIGMAS = 4          # of chance, by the number of samples
SYSTEMATIC = 0.012  # what else may be wrong, of a share of 1
KINDS = {"sleeps": ("f_runs", "g_runs"), "hashes": ("f_runs", "g_runs"), "alone": ("f_runs", "g_runs"),
         "extension": ("f_keeps", "g_keeps"), "builtin": ("f_sorts", "g_sorts")}


def run(python, where, kind, seconds, name="rec", options=()):
    """The recording and what the program says of itself."""
    out = where / f"{name}.json"
    recording = gs.run([python.path, PROGRAM, truth.places(), kind, seconds, out], where, name=name, options=options)
    return recording, json.loads(out.read_text())


def shares(process, view, names):
    """ns and samples of a view by the innermost of these functions."""
    found = {name: [0, 0] for name in names}
    for s in process["stacks"]:
        if s["view"] != view:
            continue
        inner = (f["function"].split(".")[-1] for f in reversed(s["frames"]))
        name = next((f for f in inner if f in found), None)
        if name:
            found[name][0] += s["ns"]
            found[name][1] += s["count"]
    return found


def wrong_share(process, view, names, true, points=None):
    """What is wrong with the first one's share."""
    (f, n_f), (g, n_g) = (shares(process, view, names)[name] for name in names)
    n, right = n_f + n_g, true["f"] / (true["f"] + true["g"])
    if n < 50:
        return [f"{view}: {n} samples"]
    limit = points or SIGMAS * (right * (1 - right) / n) ** 0.5 + SYSTEMATIC
    told = f / (f + g)
    return [f"{view}: {told:.3f}, not {right:.3f} (±{limit:.3f}, {n} samples)"] if abs(told - right) > limit else []


def wrong_looks(recording, names, true):
    """What is wrong with the looks from outside by themselves, before the report does anything with them."""
    file, = recording.dir.glob("*.holds")
    looks = stacks.Stacks(file)
    n = sum(s.samples["held"] for s in looks.stacks)
    found, right = looks.by_function("held", names), true["f"] / (true["f"] + true["g"])
    told = found[names[0]] / max(1, found[names[0]] + found[names[1]])
    limit = SIGMAS * (right * (1 - right) / max(1, n)) ** 0.5 + SYSTEMATIC
    spent, seen = true["f"] + true["g"], found[names[0]] + found[names[1]]
    wrong = [f"looks: {told:.3f}, not {right:.3f} (±{limit:.3f}, {n})"] if abs(told - right) > limit or n < 50 else []
    if not 0.5 * spent < seen < 1.1 * spent:  # they may begin late
        wrong.append(f"the looks stand for {seen / 1e6:.0f} ms of {spent / 1e6:.0f} ms")
    return wrong


@pytest.mark.measures
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind == "sleeps" else pytest.mark.few_pythons)
                                  for kind in KINDS])
def test_holds_are_divided_by_what_they_were_spent_on(python, where, kind):
    """Of two functions, each has its share of the time held, and all of it, though the hold ends in neither."""
    def check(i):
        recording, true = run(python, where, kind, SECONDS, f"rec{i}")
        names, process = KINDS[kind], recording.process
        held = shares(process, "held", names)
        sampling = process["sampling"]["held"]
        wrong = wrong_share(process, "held", names, true)
        both, spent = sum(ns for ns, _ in held.values()), true["f"] + true["g"]
        if not 0.93 * spent < both < 1.05 * spent:  # the rest is what is in between, and the start
            wrong.append(f"{both / 1e6:.0f} ms are theirs, not {spent / 1e6:.0f}")
        # How many looks there are depends on whether the launcher gets a processor; what they found does not.
        if sampling["inside_samples"] < 0.5 * sampling["samples"]:
            wrong.append(f"{sampling}")
        return wrong + wrong_looks(recording, names, true)
    eventually(check)


@pytest.mark.measures
def test_within_two_points_in_ten_seconds(one_python, where):
    """As it is by default, in 10 s."""
    def check(i):
        recording, true = run(one_python, where, "sleeps", 10, f"rec{i}")
        return wrong_share(recording.process, "held", KINDS["sleeps"], true, points=0.02)
    eventually(check)


@pytest.mark.measures
@pytest.mark.few_pythons
def test_charges_belong_to_what_ran_while_others_waited(python, where):
    """Others wait only while g runs: what they wait for is g, though f holds the GIL as well and the hold ends in neither."""
    def check(i):
        recording, true = run(python, where, "waited", SECONDS, f"rec{i}")
        process = recording.process
        charged = shares(process, "charged", ("f_keeps", "g"))
        wrong = wrong_share(process, "held", ("f_keeps", "g"), true)
        if charged["g"][0] < 0.95 * process["sampling"]["charged"]["total_ns"]:
            wrong.append(f"charged: {charged}")
        if "g (inside.py:" not in " ".join(process["verdict"]["advice"]):
            wrong.append(f"{process['verdict']['advice']}")
        return wrong
    eventually(check)


@pytest.mark.measures
@pytest.mark.few_pythons
def test_forked_children_are_looked_at(python, where):
    """Each child of a fork has its own."""
    def check(i):
        recording, _ = run(python, where, "children", SECONDS, f"rec{i}")
        wrong = []
        for file in where.glob(f"rec{i}.json.*"):
            process = recording.by_pid(int(file.suffix[1:]))
            wrong += wrong_share(process, "held", ("f_runs", "g_runs"), json.loads(file.read_text()))
        return wrong if len(list(where.glob(f"rec{i}.json.*"))) == 2 else ["children are missing"]
    eventually(check)


@pytest.mark.measures
def test_the_example_names_the_tokenizer(one_python, where):
    """The README's program: what to look at first is tokenize, not the call behind it that lets go of the GIL."""
    recording = gs.run([one_python.path, gs.REPO / "examples" / "modelserver.py", 2], where)
    advice = " ".join(recording.process["verdict"]["advice"])
    assert "Look first at tokenize (modelserver.py:" in advice, advice
    text = gs.gilscope("report", recording.dir).stdout
    assert "lets the GIL go" not in text and "taken while it was held" in text


@pytest.mark.measures
def test_functions_of_extensions_are_told(python, where):
    """Which C function a line of Python was in is known without anybody's asking for the GIL."""
    code = """
import time
data = [i * 7919 % 100003 for i in range(100003)]
def f():
    sorted(data)
def g():
    data.count(1)
end = time.time() + 1
while time.time() < end:
    f(); g(); g(); g()
"""
    recording = gs.run_code(python, code, where)
    found = [f for f in recording.dir.glob("*.holds")]
    assert len(found) == 1
    seen = stacks.Stacks(found[0])
    for name in ("f", "g"):
        ns = {bool(s.native): 0 for s in seen.stacks}
        for s in seen.stacks:
            if s.frames and s.frames[-1].function == name:
                ns[bool(s.native)] = ns.get(bool(s.native), 0) + s.ns["held"]
        assert ns.get(True, 0) > 5 * ns.get(False, 0), (name, ns)  # the rest: what the call has made is freed behind it
    assert all(s.flags & 32 for s in seen.stacks if s.native)
    assert len({s.native for s in seen.stacks if s.native and s.frames[-1].function in "fg"}) == 2


@pytest.mark.measures
@pytest.mark.few_pythons
def test_functions_that_ctypes_calls_are_told(python, where):
    """What a function of a library keeps the GIL for is that library's, with the function's name and the line of Python."""
    def check(i):
        recording, _ = run(python, where, "extension", SECONDS, f"rec{i}")
        process, ns = recording.process, {True: 0, False: 0}
        for s in process["stacks"]:
            names = [f["function"] for f in s["frames"]]
            if s["view"] == "held" and {"f_keeps", "g_keeps"} & set(names):
                ns[names[-1] == "keeps" and s["frames"][-1]["native"]] += s["ns"]
        calls = {(c["function"], c["caller"]["function"]) for c in process["calls_that_should_release"]}
        held = sum(m["held_ns"] for m in process["modules"] if m["path"].endswith("places.so"))
        wrong = [] if ns[True] > 9 * ns[False] and held >= ns[True] else [f"{ns}, {held}"]
        return wrong + [f"{name} is not listed: {calls}" for name in ("f_keeps", "g_keeps") if ("keeps", name) not in calls]
    eventually(check)


@pytest.mark.measures
def test_libraries_that_are_loaded_later_are_known_soon(one_python, where):
    """What the process has mapped is not read at each look; a library that has just been loaded is not left out for it."""
    code = """
import ctypes, sys, time
data, end = [i * 7919 % 100003 for i in range(100003)], time.time() + 0.1
while time.time() < end:
    sorted(data)
def late():
    keeps(ctypes.c_int64(3000))
keeps, end = ctypes.PyDLL(sys.argv[1]).keeps, time.time() + 1
while time.time() < end:
    late()
"""
    recording = gs.run_code(one_python, code, where, args=[truth.places()])
    found, = recording.dir.glob("*.holds")
    ns = {True: 0, False: 0}
    for s in stacks.Stacks(found).stacks:
        if s.frames and s.frames[-1].function == "late":
            ns[bool(s.native)] += s.ns["held"]
    assert ns[True] > 5 * ns[False], ns


@pytest.mark.measures
def test_a_library_has_one_name(one_python, where):
    """It is loaded by the name of a link, and who looks from outside sees the file's: that is one module all the same."""
    file, link = where / "libkeeps.so.1.2", where / "libkeeps.so.1"
    file.write_bytes(truth.places().read_bytes())
    link.symlink_to(file)
    code = """
import ctypes, sys, time
library = ctypes.PyDLL(sys.argv[1])
end = time.time() + 1
while time.time() < end:
    library.keeps(ctypes.c_int64(3000)); library.lets_go(ctypes.c_int64(3000))
"""
    p = gs.run_code(one_python, code, where, args=[link]).process
    module, = (m for m in p["modules"] if "libkeeps" in m["path"])
    assert module["path"] == str(link)
    assert min(module["held_ns"], module["released_ns"]) > 0.2 * p["wall_ns"], module


# Each thread's records begin at cache lines, with room in front of them, and come before those of the second GIL.
OWN_GIL = """
import threading, time
try:
    import _interpreters as interpreters
    make = lambda: interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    make = lambda: interpreters.create(isolated=True)
go = threading.Event()
threads = [threading.Thread(target=go.wait) for _ in range(60)]
for t in threads: t.start()
interpreters.run_string(make(), '''
import time
def inside():
    end = time.monotonic() + 1.5
    while time.monotonic() < end: pass
inside()
''')
go.set()
for t in threads: t.join()
"""


@pytest.mark.measures
def test_holds_of_a_gil_that_is_made_later_are_seen_soon(python, where):
    """However many threads there are by then: of one long hold only looks from outside tell what it was spent on."""
    if python.version[:2] < (3, 12):
        pytest.skip("interpreters share the GIL before 3.12")
    program = where / "program.py"
    program.write_text(OWN_GIL)
    process = gs.run([python.path, program], where).process
    assert len(process["gils"]) == 2, process["gils"]
    ns, count = shares(process, "held", ["inside"])["inside"]
    assert ns > 1e9 and count > 50, (ns, count)


def test_without_the_launcher_the_ends_of_holds_remain(one_python, where):
    """LD_PRELOAD alone: nobody looks from outside, and the report says what it knows."""
    directory = where / "rec"
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={directory}"})
    subprocess.run([one_python.path, gs.REPO / "examples" / "modelserver.py", "2"], env=env, check=True,
                   stdout=subprocess.DEVNULL)
    assert not list(directory.glob("*.holds"))
    process, = gs.report(directory)["processes"]
    assert process["sampling"]["charged"]["inside_samples"] == 0
    assert any("lets the GIL go" in advice for advice in process["verdict"]["advice"])


@pytest.mark.parametrize("option", ["--no-stacks", "--no-native"])
def test_options_hold_for_it_too(one_python, where, option):
    """--no-stacks looks at nothing; --no-native at Python frames only."""
    recording, _ = run(one_python, where, "builtin", 0.5, options=(option,))
    files = list(recording.dir.glob("*.holds"))
    assert len(files) == (option == "--no-native")
    for file in files:
        seen = stacks.Stacks(file)
        assert seen.stacks and not any(s.native for s in seen.stacks) and not seen.objects


def test_files_are_private(one_python, where):
    """What was seen is the user's own, whatever the umask."""
    before = os.umask(0)
    try:
        recording, _ = run(one_python, where, "alone", 0.3)
    finally:
        os.umask(before)
    file, = recording.dir.glob("*.holds")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_in_the_way_is_left_alone(one_python, where):
    """A file of that name that is there already, or a link, is not written to, and the program is measured as ever."""
    target = where / "precious"
    target.write_text("precious")
    code = """
import glob, os, subprocess, sys, time
name, = glob.glob("rec.gilscope/*.gil")
os.symlink(sys.argv[1], name[:-4] + ".holds")
subprocess.run([sys.argv[2], "resume", str(os.getpid())], check=True)
end = time.time() + 0.5
while time.time() < end: pass
"""
    recording = gs.run([one_python.path, "-c", code, target, gs.BIN], where, options=("--paused",), cwd=where)
    file, = recording.dir.glob("*.holds")
    assert file.is_symlink() and target.read_text() == "precious"
    file.unlink()
    assert recording.process["gils"][0]["held_ns"] > 4e8


def test_a_killed_launcher_leaves_a_file_that_can_be_read(one_python, where):
    """SIGKILL to gilscope in the middle: what was seen until then is there."""
    process = subprocess.Popen([gs.BIN, "run", "-q", "-o", where / "rec", "--", one_python.path, PROGRAM,
                                truth.places(), "alone", "3", where / "out.json"], env=gs.clean_env())
    time.sleep(1.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while not (where / "out.json").exists():
        time.sleep(0.05)
    time.sleep(0.2)
    report, = gs.report(where / "rec")["processes"]
    assert report["sampling"]["held"]["total_ns"] > 2e9
    file, = (where / "rec").glob("*.holds")
    assert gs.gilscope("dump", file).returncode == 0


def test_exec_begins_anew(one_python, where):
    """A program that execs another one has a file for each."""
    code = """
import os, sys, time
def spin():
    end = time.time() + 0.4
    while time.time() < end: pass
spin()
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, "-c", open(%r).read(), "again"])
"""
    code = code.replace("%r", repr(str(where / "code.py")))
    (where / "code.py").write_text(code)
    recording = gs.run([one_python.path, "-c", code], where)
    assert len(recording.processes) == 2 and len(list(recording.dir.glob("*.holds"))) == 2
    for process in recording.processes:
        held = shares(process, "held", ("spin",))["spin"][0]
        assert held > 0.7 * process["sampling"]["held"]["total_ns"]


def spoiled(where, change):
    """A recording with something beside it."""
    maker = makerec.Maker()
    maker.thread("one", held=0.6, blocked=0.1, charged=0.3)
    maker.stack(1, [maker.frame("main")], held=1000000, charged=1000000)
    file = maker.write(where) / "one.gil"
    change(file, file.with_suffix(".holds"))
    return file.parent


BAD = {
    "text": (lambda gil, holds: holds.write_text("no recording"), "it is not a recording of gilscope"),
    "a FIFO": (lambda gil, holds: os.mkfifo(holds), "it is not a regular file"),
    "a link to nothing": (lambda gil, holds: holds.symlink_to("nothing"), "No such file or directory"),
    "a process's recording": (lambda gil, holds: holds.write_bytes(gil.read_bytes()), "does not belong to"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_such_file_is_told(where, what):
    """It is said in one line, and the recording is reported without it."""
    change, expected = BAD[what]
    done = gs.gilscope("report", "-f", "json", spoiled(where, change), timeout=20)
    lines = done.stderr.splitlines()
    assert done.returncode == 4 and len(lines) == 1 and expected in lines[0], done.stderr
    assert '"pid": 4242' in done.stdout


def write_holds(where, pid=4242):
    """A recording, and what was seen from outside, made by hand."""
    maker = makerec.Maker()
    maker.thread("one", held=0.6, blocked=0.1, charged=0.3)
    maker.thread("two", held=0.2, charged=0.0)
    end = maker.frame("ends_it", line=9)
    maker.stack(1, [end], held=600 * 10**6, charged=300 * 10**6, samples=600)
    maker.stack(2, [end], held=200 * 10**6, samples=200)
    directory = maker.write(where)
    seen = makerec.Maker(pid=pid)
    seen.put_header(source=4, n_threads=0)
    f, g = seen.frame("f", line=3), seen.frame("g", line=5)
    seen.stack(1, [f], held=150 * 10**6, charged=30 * 10**6, samples=30)
    seen.stack(1, [g], held=350 * 10**6, charged=270 * 10**6, samples=70)
    seen.stack(2, [g], held=9 * 10**6, samples=5)
    (where / "other").mkdir()
    file = seen.write(where / "other") / "one.gil"
    file.rename(directory / "one.holds")
    return directory


def test_looks_divide_what_is_exact(where):
    """A thread's looks stand for all that it held and was charged; a thread with too few keeps its ends of holds."""
    process, = gs.report(write_holds(where))["processes"]
    by = {(s["view"], s["tid"], s["frames"][-1]["function"]): s["ns"] for s in process["stacks"]}
    ms = {key: round(ns / 1e6) for key, ns in by.items()}
    assert ms == {("held", 101, "f"): 180, ("held", 101, "g"): 420, ("charged", 101, "f"): 30,
                  ("charged", 101, "g"): 270, ("held", 102, "ends_it"): 200}
    held = process["sampling"]["held"]
    assert held["inside_samples"] == 100 and held["samples"] == 300 and held["sampled_ns"] == 700 * 10**6


def test_damaged_files_do_no_harm(where):
    """Cells, counts and lengths that lead anywhere, in what was seen from outside."""
    directory = write_holds(where)
    holds = directory / "one.holds"
    good = holds.read_bytes()
    random = __import__("random").Random(11)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(random.randrange(1, 60)):
            at = random.randrange(makerec.HEADER_BYTES, len(bad) - 4)
            bad[at:at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", random.randbytes(4), b"\xff\xff\0\0"])
        holds.write_bytes(bad[:random.randrange(makerec.HEADER_BYTES, len(bad))] if random.randrange(4) == 0 else bad)
        for format in ("json", "text", "html", "pprof"):
            done = subprocess.run([gs.BIN, "report", "-f", format, directory], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=20, check=False)
            assert done.returncode in (0, 4), (format, done.returncode, done.stderr)
