# SPDX-License-Identifier: MIT
"""The stacks that the shim records: the right places, with the right shares of the right time."""
import json
import subprocess
import sys
import time
from collections import defaultdict

import pytest

from helpers import gs, stacks, truth

PROGRAMS = gs.REPO / "tests" / "frames"
# As many samples in 2 s as there are in 10 s by default.
SECONDS, FAST = 2, ("--sample-interval", "200us")
TRIES = 5  # the machine is never quite quiet
POINTS, TOTALS = 0.02, 0.02
patience = [15]  # how often a disturbed machine is waited for, in all tests together


def run(python, where, program, *args, options=FAST, name="rec", **kwargs):
    """Runs one of tests/frames; the recording, its stacks, and what the program says of itself."""
    out = where / f"{name}.json"
    recording = gs.run([python.path, PROGRAMS / program, truth.places(), *args, out], where, name=name,
                       options=options, env={"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}, **kwargs)
    return recording, stacks.read(recording), json.loads(out.read_text(encoding="utf-8"))


def disturbed():
    """Do two threads of work, which is what the programs need, get less than their processors just now?"""
    spinners = [subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) for _ in range(2)]
    return any(float(s.communicate()[0]) > 1.2 for s in spinners)


SPIN = """
import time
wall, cpu = time.perf_counter(), time.process_time()
while time.process_time() - cpu < 0.1: pass
print((time.perf_counter() - wall) / 0.1)
"""


def eventually(check):
    """check(i) returns what is wrong; one of a few tries must find nothing.  Waits for a quiet machine, but not for long:
    a machine that is never quiet is not waited for again in each test."""
    for i in range(TRIES):
        while patience[0] > 0 and disturbed():
            patience[0] -= 1
            time.sleep(0.5)
        wrong = check(i)
        if not wrong:
            return
    assert not wrong


def symbols():
    """(start, end, name) of the functions of places.so."""
    listing = subprocess.run(["nm", "-S", "--defined-only", truth.places()], check=True, stdout=subprocess.PIPE,
                             encoding="utf-8").stdout
    rows = [line.split() for line in listing.splitlines()]
    return [(int(r[0], 16), int(r[0], 16) + int(r[1], 16), r[3]) for r in rows if len(r) == 4 and r[2] in "tT"]


def by_symbol(found, view):
    """ns of a view by the function of places.so that is on the native stack, the innermost; "" = none."""
    table, sums = symbols(), defaultdict(float)
    for s in found.stacks:
        name = ""
        for address in s.native:
            o = found.object_at(address, s.generation)
            if o and o.path.endswith("places.so"):
                at = address - 1 - o.bias
                name = next((n for start, end, n in table if start <= at < end), "?")
                break
        sums[name] += s.ns[view]
    return sums


def share(sums, one, other):
    return sums[one] / (sums[one] + sums[other])


def exact_totals(process):
    """What the accounts say, by view."""
    def total(*keys):
        return sum(t[k] for t in process["threads"] for k in keys)
    return {"wait": total("wait_blocked_ns", "wait_wakeup_ns"), "charged": total("charged_ns"),
            "held": total("held_oncpu_ns", "held_offcpu_ns"), "released": total("released_oncpu_ns",
                                                                               "released_offcpu_ns")}


def wrong_totals(recording, found, views, limit=TOTALS):
    exact = exact_totals(recording.process)
    return [f"{v}: the samples stand for {found.total(v) / 1e6:.1f} ms of {exact[v] / 1e6:.1f} ms" for v in views
            if abs(found.total(v) - exact[v]) > limit * exact[v]]


def wrong_shares(pairs):
    """pairs: what -> (sums, name, other name, true share)."""
    return [f"{what}: {share(s, a, b):.3f}, not {true:.3f}" for what, (s, a, b, true) in pairs.items()
            if abs(share(s, a, b) - true) > POINTS]


@pytest.mark.measures
@pytest.mark.few_pythons
def test_waits_and_charges_have_their_places(python, where):
    """Of two functions that hold the GIL and make others wait, and of two that wait, each has its share."""
    def check(i):
        recording, found, true = run(python, where, "places.py", "contended", SECONDS, name=f"rec{i}")
        charged = found.by_function("charged", {"f_holds", "g_holds", "f_waits", "g_waits"})
        held = found.by_function("held", {"f_holds", "g_holds"})
        wait = found.by_function("wait", {"f_waits", "g_waits"})
        waited = true["f_waits"], true["g_waits"]
        return wrong_totals(recording, found, ("wait", "charged", "held", "released")) + wrong_shares({
            "charged": (charged, "f_holds", "g_holds", share(true, "f_charged", "g_charged")),
            "held": (held, "f_holds", "g_holds", share(true, "f_holds", "g_holds")),
            "wait": (wait, "f_waits", "g_waits", waited[0] / sum(waited))})
    eventually(check)


@pytest.mark.measures
@pytest.mark.skipif(not gs.FULL, reason="takes minutes: ./runtests --full")
def test_shares_are_right_in_ten_seconds(python):
    """As it is by default: shares within 2 points and sums within 2 % of the truth, in all views, by bench/shares.py."""
    done = subprocess.run([sys.executable, gs.REPO / "bench" / "shares.py", "--python", python.path, "--check", "contended",
                           "releases", "extension", "keeps"], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.measures
@pytest.mark.few_pythons
def test_released_time_has_its_places(python, where):
    """Of two functions that let go of the GIL, busy and asleep, each has its share, and only one is on a processor."""
    def check(i):
        recording, found, true = run(python, where, "places.py", "released", SECONDS, name=f"rec{i}")
        released = found.by_function("released", {"f_releases", "g_releases"})
        oncpu = found.by_function("released_oncpu", {"f_releases", "g_releases"})
        native = by_symbol(found, "released")
        right = true["f_releases"] / (true["f_releases"] + true["g_releases"])
        wrong = wrong_totals(recording, found, ("released",)) + wrong_shares({
            "released": (released, "f_releases", "g_releases", right),
            "released, native": (native, "lets_go", "sleeps", right)})
        for name, low, high in ("f_releases", 0.8, 1.05), ("g_releases", 0, 0.2):
            if not low <= oncpu[name] / released[name] <= high:
                wrong.append(f"{name}: {oncpu[name] / released[name]:.2f} of it on a processor")
        return wrong
    eventually(check)


@pytest.mark.measures
@pytest.mark.few_pythons
def test_python_code_that_is_asked_to_let_go(python, where):
    """Two functions of pure Python that compete for the GIL have their shares of holding it and waiting for it."""
    def check(i):
        recording, found, true = run(python, where, "places.py", "python", SECONDS * 2, name=f"rec{i}")
        both = defaultdict(float)
        for view in "held", "wait", "released":  # released: switched out between its release and its take
            for name, ns in found.by_function(view, {"f_runs", "g_runs"}).items():
                both[name] += ns
        return wrong_totals(recording, found, ("wait", "held")) + wrong_shares({
            "held, waiting": (both, "f_runs", "g_runs", share(true, "f_runs", "g_runs"))})
    eventually(check)


@pytest.mark.measures
@pytest.mark.few_pythons
def test_functions_of_extensions(python, where):
    """What one function of an extension keeps and another releases is told apart by their native frames."""
    def check(i):
        _, found, true = run(python, where, "places.py", "extension", SECONDS, name=f"rec{i}")
        charged, released = by_symbol(found, "charged"), by_symbol(found, "released")
        wrong = []
        if share(charged, "keeps_and_lets_go", "lets_go") < 0.95:
            wrong.append(f"charged: {dict(charged)}")
        right = share(true, "lets_go", "keeps_and_lets_go")
        return wrong + wrong_shares({"released": (released, "lets_go", "keeps_and_lets_go", right)})
    eventually(check)


def test_chains(python, where):
    """Frames of every kind have the names, files and lines that the interpreter gives them, all the way to the root."""
    _, found, chains = run(python, where, "chains.py")
    seen = {tuple((f.function, f.file, f.line, f.first_line) for f in s.frames) for s in found.stacks
            if s.ns["released"]}
    missing = [kind for kind, chain in chains if tuple(map(tuple, chain)) not in seen]
    assert len(chains) > 60 and not missing
    assert not found.losses["stacks_unread"] and not found.losses["stacks"]
    assert not any(s.flags & stacks.PYTHON_CUT for s in found.stacks)
    # What comes after a thread's last release has no Python frames.
    assert sum(s.ns["released"] for s in found.stacks if s.flags & stacks.NO_PYTHON) < 0.05 * found.total("released")


WHOLE = 8192  # bytes of an evaluation loop: less is a part, and the other one has no symbol in a stripped file


def test_entries_divide_native_from_python(python, where):
    """There are as many evaluation loops on the native stack as the Python frames say."""
    recording, found, _ = run(python, where, "chains.py")
    assert recording.process["sampling"]["unmatched_stacks"] == 0
    listing = {}
    checked = 0
    for s in found.stacks:
        if not s.native or s.flags & (stacks.NATIVE_CUT | stacks.PYTHON_CUT | stacks.CALLEE) or not s.frames:
            continue
        loops = 0
        for address in s.native:
            o = found.object_at(address, s.generation)
            if o is None:
                continue
            if o.path not in listing:
                text = subprocess.run(f"nm -S {o.path} 2>/dev/null; nm -DS {o.path} 2>/dev/null", shell=True, check=False,
                                      stdout=subprocess.PIPE, encoding="utf-8").stdout
                rows = [line.split() for line in text.splitlines()]
                listing[o.path] = [(int(r[0], 16), int(r[0], 16) + int(r[1], 16)) for r in rows
                                   if len(r) == 4 and r[3].startswith("_PyEval_EvalFrameDefault")
                                   and not r[3].endswith("cold") and int(r[1], 16) > WHOLE]
            loops += any(start < address - o.bias <= end for start, end in listing[o.path])
        if any(listing.values()):
            checked += 1
            assert loops == sum(f.entry for f in s.frames), (s.frames[-3:], loops)
    assert checked > 20 or not any(listing.values())


def test_no_stacks(one_python, where):
    """--no-stacks records none; --no-native records Python frames only."""
    _, found, _ = run(one_python, where, "chains.py", options=("--no-stacks",), name="none")
    assert not found.stacks and not found.objects
    _, found, _ = run(one_python, where, "chains.py", options=("--no-native",), name="python")
    assert found.stacks and not found.objects
    assert all(s.flags & stacks.NO_NATIVE and not s.native for s in found.stacks)


@pytest.mark.parametrize("interval", ["0", "1", "10us", "11s", "1m", "-1ms", "", "1.5ms"])
def test_intervals_without_meaning(where, one_python, interval):
    """Intervals that make no sense are refused before the program runs."""
    done = gs.gilscope("run", "-o", where / "rec.gilscope", f"--sample-interval={interval}", "--", one_python.path,
                       "-c", "print('ran')")
    assert done.returncode not in (0, None) and "ran" not in done.stdout and "--sample-interval" in done.stderr


@pytest.mark.measures
def test_long_calls_that_keep_the_gil(python, where):
    """What a call of a built-in function makes others wait for is charged to it, and nothing else is."""
    def check(i):
        out = where / f"rec{i}.json"
        recording = gs.run([python.path, PROGRAMS / "callees.py", truth.places(), 2 * SECONDS, out], where,
                           name=f"rec{i}")
        found, true = stacks.read(recording), json.loads(out.read_text())
        told, untold, wrong = defaultdict(float), defaultdict(float), []
        for s in found.stacks:
            leaf = s.frames[-1].function if s.frames else ""
            if leaf not in true or not s.ns["charged"] or not s.native:
                continue
            callees = [name for name, address in true.items() if address and s.native[0] == address + 1]
            (told if callees else untold)[leaf] += s.ns["charged"]
            if callees and leaf not in callees:
                wrong.append(f"{leaf}: said to call {callees}, {s.ns['charged'] / 1e6:.1f} ms")
        for name, address in true.items():
            # A call that is answered within one more interval has its Python line only.
            if address and told[name] < 0.5 * (told[name] + untold[name]):
                wrong.append(f"{name}: {told[name] / 1e6:.0f} ms told, {untold[name] / 1e6:.0f} ms not")
        return wrong
    eventually(check)


def test_holds_that_nobody_asked_to_end(python, where):
    """A thread that computes alone holds the GIL without an event: its stacks say where the hold ended, and no more."""
    code = """
def compute():
    total = 0
    for i in range(3000000): total += i
    return total
def main():
    print(compute(), flush=True)
    compute()
main()
"""
    recording = gs.run_code(python, code, where)
    found = stacks.read(recording)
    held = found.by_leaf("held")
    before = sum(ns for leaf, ns in held.items() if leaf and leaf[0] == "[held until here]")
    last = sum(ns for leaf, ns in held.items() if leaf and leaf[0] == "[until the end of the program]")
    total = exact_totals(recording.process)["held"]
    assert before > 0.25 * total and last > 0.25 * total, (held, total)
    assert abs(found.total("held") - total) < 0.1 * total
    assert any(f.function == "main" for s in found.stacks for f in s.frames if s.frames[-1].function.startswith("["))


def test_doctor_says_whether_native_frames_can_be_taken(where):
    """Doctor looks for libunwind in the way in which the shim opens it."""
    done = gs.gilscope("doctor", env=gs.clean_env({"PATH": str(where)}), cwd=where)
    (line,) = [line for line in done.stdout.splitlines() if "native frames" in line]
    there = subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL('libunwind.so.8')"], check=False,
                           stderr=subprocess.DEVNULL).returncode == 0
    assert line.split()[2] == ("ok" if there else "note") and ("install" in line) == (not there)
