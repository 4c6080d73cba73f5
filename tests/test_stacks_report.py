# SPDX-License-Identifier: MIT
"""What reports make of the stacks in a recording: frames put together, weights scaled, modules and calls named."""
import ctypes
import json
import re
import subprocess

import pytest

from helpers import gs, made, makerec
from helpers.makerec import ENTRY

MS = 1000 * 1000
PYTHON = ["_PyEval_EvalFrameDefault", "cfunction_call", "_PyObject_Vectorcall", "take_gil", "PyEval_RestoreThread",
          "time_sleep", "Py_BytesMain"]


class World:
    """A recording with an interpreter, an extension that has a helper, a C library and the shim, all mapped."""

    def __init__(self, where):
        self.maker = makerec.Maker()
        self.base = {}
        self.at = {}
        for i, (name, functions) in enumerate([("libpython3.99.so", PYTHON),
                                               ("_ext.so", ["kernel", "helper", "other", "third", "Py_DECREF"]),
                                               ("libc.so.6", ["qsort", "nanosleep", "pthread_mutex_unlock",
                                                              "start_thread"]),
                                               ("_ctypes.so", ["call_procedure"]),
                                               ("libgilscope-preload.so", ["wrapper"])]):
            path, addresses = makerec.library(where, name, functions)
            base = 0x7f0000000000 + i * 0x1000000
            self.maker.object(path, base, 0x100000, build_id=makerec.build_id(path))
            self.at.update({f: base + a for f, a in addresses.items()})
            self.base[name] = base, path

    def native(self, *names):
        return [self.at[n] if isinstance(n, str) else n for n in names]

    def python(self, *names):
        """Cells of frames; a name that ends with '!' was entered from native code."""
        return [self.maker.frame(n.rstrip("!"), line=10 + i, first_line=5) | (ENTRY if n.endswith("!") else 0)
                for i, n in enumerate(names)]


@pytest.fixture
def world(where):
    return World(where)


def functions(stack):
    return [f["function"] for f in stack["frames"]]


def only_stack(world, where, native, python, **kwargs):
    """The frames of a recording's only stack, root first."""
    world.maker.thread("one", held=0.5)
    world.maker.stack(1, world.python(*python), world.native(*native), held=MS, **kwargs)
    process = gs.report(world.maker.write(where))["processes"][0]
    assert len(process["stacks"]) == 1
    return functions(process["stacks"][0]), process


LOOP = "_PyEval_EvalFrameDefault"
MERGES = {
    "an evaluation loop stands for the frames that it ran":
        ([LOOP, "Py_BytesMain", "start_thread"], ["g", "f", "main!"], ["main", "f", "g"]),
    "each loop takes the frames up to the one that entered it":
        ([LOOP, "cfunction_call", LOOP, "Py_BytesMain"], ["g", "f!", "b", "main!"], ["main", "b", "f", "g"]),
    "frames of extensions stay between those of Python":
        (["helper", "kernel", "cfunction_call", LOOP, "_PyObject_Vectorcall", "kernel", "_PyObject_Vectorcall", LOOP],
         ["callback!", "main!"], ["main", "kernel", "callback", "kernel", "helper"]),
    "the C library stays under an extension that called it, and at the leaf":
        (["nanosleep", "time_sleep", "cfunction_call", LOOP, "qsort", "kernel", LOOP, "start_thread"],
         ["compare!", "main!"], ["main", "kernel", "qsort", "compare", "time_sleep", "nanosleep"]),
    "gilscope and the taking of the GIL are left out":
        (["pthread_mutex_unlock", "wrapper", "take_gil", "PyEval_RestoreThread", "kernel", LOOP], ["main!"],
         ["main", "kernel"]),
    "an interrupted taking of the GIL is left out":
        (["pthread_mutex_unlock", "take_gil", "PyEval_RestoreThread", "kernel", LOOP], ["main!"], ["main", "kernel"]),
    "a thread of C is there without what started it":
        (["helper", "kernel", "start_thread"], [], ["kernel", "helper"]),
}


@pytest.mark.parametrize("case", MERGES, ids=lambda c: c.replace(" ", "-"))
def test_native_and_python_frames_become_one_stack(world, where, case):
    """Loops of the interpreter are replaced by the Python frames that they ran; what others wrote stays."""
    native, python, expected = MERGES[case]
    found, process = only_stack(world, where, native, python)
    assert found == expected
    assert process["sampling"]["unmatched_stacks"] == 0


def test_frames_that_do_not_fit_are_kept_and_marked(world, where):
    """More Python frames than loops, as greenlets have them: all Python frames are there, and the stack is marked."""
    found, process = only_stack(world, where, ["helper", "kernel", LOOP], ["g!", "f!", "main!"])
    assert found == ["main", "f", "g", "kernel", "helper"]
    assert process["stacks"][0]["unmatched"] is True
    assert process["sampling"]["unmatched_stacks"] == 1


def test_without_the_loop_nothing_is_at_the_leaf_that_was_not_called(world, where):
    """An interpreter whose evaluation loop is not found: what started the program is not put behind its Python frames."""
    outer = ["_PyObject_Vectorcall", "Py_BytesMain", "start_thread"]
    found, process = only_stack(world, where, ["nanosleep", *outer], ["f", "main!"])
    assert found == ["main", "f", "nanosleep"] and process["sampling"]["unmatched_stacks"] == 1
    (where / "extension").mkdir()
    world = World(where / "extension")
    found, _ = only_stack(world, where / "extension", ["helper", "kernel", *outer], ["f", "main!"])
    assert found == ["main", "f", "kernel", "helper"]


DIVIDED = """
__attribute__((cold, noinline)) void seldom(int n) { __asm__ volatile("" : : "r"(n)); }
int _PyEval_EvalFrameDefault(int *a)
{
    int sum = 0;
    for (int i = 0; a[i]; i++)
        switch (a[i] & 15) {
#define CASE(n) case n: if (__builtin_expect(a[i] > 1000 * n, 0)) { seldom(n); sum ^= n; } else sum += a[i] * n; break;
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9)
        }
    return sum;
}
"""


def test_the_loop_of_a_stripped_interpreter_in_two_parts(world, where):
    """What the compiler has put elsewhere of the evaluation loop is known as the loop, without a symbol of its own."""
    source, path = where / "divided.c", where / "libpython3.98.so"
    source.write_text(DIVIDED)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-Wl,--build-id", "-o", path, source], check=True)
    listing = subprocess.run(["nm", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    part = re.search(r"^(\w+) t _PyEval_EvalFrameDefault\.cold$", listing, re.M)
    if not part:
        pytest.skip("this compiler leaves the function in one part")
    subprocess.run(["strip", path], check=True)
    base = 0x7f5000000000
    world.maker.object(path, base, 0x100000, build_id=makerec.build_id(path))
    found, process = only_stack(world, where, ["helper", "kernel", base + int(part.group(1), 16) + 8, "start_thread"],
                                ["g", "main!"])
    assert found == ["main", "g", "kernel", "helper"] and process["sampling"]["unmatched_stacks"] == 0


def test_a_cut_native_stack_fits(world, where):
    """Where the native frames were cut, the Python frames nearer to the root follow as they are."""
    found, process = only_stack(world, where, ["kernel", LOOP], ["h!", "g!", "f", "main!"],
                                flags=makerec.NATIVE_CUT)
    assert found == ["main", "f", "g", "h", "kernel"]
    assert process["sampling"]["unmatched_stacks"] == 0
    assert process["sampling"]["cut_stacks"] == 1


def test_without_native_frames_python_remains(world, where):
    """Stacks of Python frames only are reported as they are, and belong to no module."""
    found, process = only_stack(world, where, [], ["f", "main!"])
    assert found == ["main", "f"]
    assert process["modules"] == []


def test_an_object_that_changed_has_no_symbols(where):
    """A file with another build id than recorded is not asked: its frames are object and offset."""
    path, addresses = makerec.library(where, "_other.so", ["kernel"])
    maker = makerec.Maker()
    maker.object(path, 0x7f0000000000, 0x100000, build_id=b"\1" * 20)
    maker.object(where / "libgone.so", 0x7f1000000000, 0x100000, build_id=b"\1" * 20)
    maker.thread("one", held=0.5)
    maker.stack(1, [], [0x7f0000000000 + addresses["kernel"], 0x7f1000001234, 0x1234], held=MS)
    stack = gs.report(maker.write(where))["processes"][0]["stacks"][0]
    assert functions(stack) == ["[code without a file]", "[libgone.so+0x1234]",
                                f"[_other.so+{addresses['kernel']:#x}]"]
    assert [f["native"] for f in stack["frames"]] == [True] * 3


@pytest.mark.parametrize("how", ["symtab", "dynsym", "build id", "debug link"])
def test_symbols_are_found_wherever_they_are(where, how):
    """.symtab, .dynsym of a stripped file, and separate debug files beside it."""
    path, addresses = makerec.library(where, "_sym.so", ["kernel"])
    if how == "dynsym":
        subprocess.run(["strip", path], check=True)
    elif how in ("build id", "debug link"):
        # A function that is not exported has its name in the debug file only.
        source = where / "_hidden.c"
        source.write_text("__attribute__((noinline,visibility(\"hidden\"))) int kernel(int a){volatile int b=a;return b;}"
                          "int user(int a); int user(int a){return kernel(a) + 1;}")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-Wl,--build-id", "-o", path, source], check=True)
        listing = subprocess.run(["nm", path], check=True, stdout=subprocess.PIPE, text=True).stdout
        addresses["kernel"] = int([line for line in listing.splitlines() if line.endswith(" kernel")][0].split()[0],
                                  16) + 4
        debug = where / "_sym.so.debug"
        if how == "build id":
            number = makerec.build_id(path).hex()
            debug = gs.Path(f"/usr/lib/debug/.build-id/{number[:2]}/{number[2:]}.debug")
            try:
                debug.parent.mkdir(parents=True, exist_ok=True)
            except PermissionError:
                pytest.skip("/usr/lib/debug cannot be written here")
        subprocess.run(["objcopy", "--only-keep-debug", path, debug], check=True)
        subprocess.run(["strip", path], check=True)
        if how == "debug link":
            subprocess.run(["objcopy", f"--add-gnu-debuglink={debug.name}", path.name], cwd=where, check=True)
    maker = makerec.Maker()
    maker.object(path, 0x7f0000000000, 0x100000, build_id=makerec.build_id(path))
    maker.thread("one", held=0.5)
    maker.stack(1, [], [0x7f0000000000 + addresses["kernel"]], held=MS)
    try:
        assert functions(gs.report(maker.write(where))["processes"][0]["stacks"][0]) == ["kernel"]
    finally:
        if how == "build id":
            debug.unlink()


def test_names_of_cplusplus_are_readable(where):
    """Mangled names are shown as they were written, where the C++ library is installed."""
    try:
        ctypes.CDLL("libstdc++.so.6")
    except OSError:
        pytest.skip("libstdc++.so.6 is not installed")
    source = where / "_mangled.c"
    source.write_text('int f(int a) __asm__("_ZN5space8functionEi"); int f(int a) { return a + 1; }')
    path = where / "_mangled.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, source], check=True)
    listing = subprocess.run(["nm", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    address = int(re.search(r"^(\w+) T _ZN5space8functionEi$", listing, re.M).group(1), 16)
    maker = makerec.Maker()
    maker.object(path, 0x7f0000000000, 0x100000)
    maker.thread("one", held=0.5)
    maker.stack(1, [], [0x7f0000000000 + address + 4], held=MS)
    stack = gs.report(maker.write(where))["processes"][0]["stacks"][0]
    assert functions(stack) == ["space::function(int)"]


def test_views_are_scaled_to_the_exact_totals(world, where):
    """Each view's weights add up to the time that was measured of the same state, and the factor is told."""
    make = world.maker
    make.thread("one", held=0.6, blocked=0.1, wakeup=0.1, charged=0.3)
    make.thread("two", held=0.3, blocked=0.3, charged=0.1)
    for i in range(10):
        make.stack(1, world.python(f"f{i}", "main!"), wait=19 * MS, charged=29 * MS, held=61 * MS, held_oncpu=60 * MS,
                   released=10 * MS, samples=4)
        make.stack(2, world.python(f"g{i}", "main!"), wait=31 * MS, charged=11 * MS, held=31 * MS, held_oncpu=30 * MS,
                   released=10 * MS, samples=4)
    process = gs.report(make.write(where))["processes"][0]
    exact = {"wait": 500 * MS, "charged": 400 * MS, "held": 900 * MS, "released": 600 * MS}
    for view, total in exact.items():
        assert abs(sum(s["ns"] for s in process["stacks"] if s["view"] == view) - total) < 100
        sampling = process["sampling"][view]
        assert sampling["total_ns"] == total
        assert sampling["samples"] == 80
        assert sampling["scale"] == pytest.approx(total / sampling["sampled_ns"], rel=1e-4)
        assert sampling["error"] == pytest.approx(80 ** -0.5, rel=1e-4)
    assert process["sampling"]["held"]["sampled_ns"] == 920 * MS
    assert {"stacks", "modules"} <= set(process["estimated"])


def test_modules_and_calls_are_those_that_python_called(world, where):
    """Time counts for the extension that Python called, also through ctypes; the calls name symbol and Python line."""
    make = world.maker
    make.thread("one", held=0.64, blocked=0.06, charged=0.4)
    main = world.python("main!")
    make.stack(1, main, world.native("helper", "kernel", LOOP), charged=250 * MS, held=400 * MS, longest_hold=90 * MS)
    make.stack(1, main, world.native("helper", "call_procedure", LOOP), charged=50 * MS, held=100 * MS, samples=20)
    path, addresses = makerec.library(where, "_waits.so", ["waits"])
    make.object(path, 0x7e0000000000, 0x100000, build_id=makerec.build_id(path))
    make.stack(1, main, world.native(0x7e0000000000 + addresses["waits"], LOOP), wait=5 * MS)
    make.stack(1, main, world.native("nanosleep", "time_sleep", LOOP), released=288 * MS)
    # This one lets go of the GIL: the hold that ended there was spent before.
    make.stack(1, main, world.native("other", LOOP), released=10 * MS)
    make.stack(1, main, world.native("nanosleep", "other", LOOP), held=MS)
    make.stack(1, main, world.native("third", LOOP), held=80 * MS, charged=70 * MS)
    make.stack(1, main, world.native("nanosleep", "third", LOOP), released=2 * MS)
    make.stack(1, main, world.native(LOOP), held=19 * MS)
    # Its copy of an inline function of Python.h: the extension's time, but no call that could let go.
    make.stack(1, main, world.native("Py_DECREF", LOOP), charged=30 * MS, held=40 * MS)
    recording = make.write(where)
    process = gs.report(recording)["processes"][0]
    modules = {m["path"]: m for m in process["modules"]}
    extension = modules[str(where / "_ext.so")]
    assert extension["charged_ns"] == 330 * MS and extension["held_ns"] == 540 * MS
    assert extension["released_ns"] == 12 * MS
    assert len(modules) == 2, "one that only waited has no row"
    assert modules[""]["interpreter"] and modules[""]["released_ns"] == 288 * MS
    calls = process["calls_that_should_release"]
    assert [(c["function"], c["caller"]["function"], c["caller"]["line"], c["charged_ns"], c["longest_hold_ns"])
            for c in calls] == [("kernel", "main", 10, 250 * MS, 90 * MS), ("helper", "main", 10, 50 * MS, 5 * MS)]
    assert not calls[0]["longest_hold_is_mean"] and calls[1]["longest_hold_is_mean"]
    # In the table for people the rows add up to the whole: what is no module's is told as such.
    page = gs.gilscope("report", "-f", "html", recording).stdout
    table = re.search(r'data-part="modules".*?</section>', page, re.S).group()
    shares = [float(share) for share in re.findall(r">([\d.]+) %</td>", table)]
    assert "not known" in table and abs(sum(shares) - 100) < 0.2, shares
    text = gs.gilscope("report", recording).stdout.split("MODULES")[1].split("\n\n")[0]
    rows = [re.split(r"  +", line.strip())[:4] for line in text.splitlines()[1:]]
    assert [row[0] for row in rows] == ["_ext.so", "the interpreter itself", "Python, native frames not known"], text
    for column, total in (1, 400), (2, 640), (3, 300):
        assert sum(float(row[column][:-3]) for row in rows if row[column] != "-") == pytest.approx(total, rel=0.01), text


@pytest.mark.parametrize("samples, share, longest_us, listed", [
    (1, 0.3, None, False),  # one look stands for the distance to the next: that is not how long the call was
    (40, 0.03, None, False),  # nobody has ever seen it twice, and it is not much
    (40, 0.3, None, True),
    (40, 0.03, 30, False),  # it is short
    (40, 0.03, 2000, True),
    (40, 0.3, 30, True),  # many short calls that others wait for
])
def test_calls_are_long_or_much(world, where, samples, share, longest_us, listed):
    """A call is listed for its length, if that is known, or for a share that more than the odd sample shows."""
    make = world.maker
    make.thread("one", held=0.5, charged=0.4)
    main = world.python("main!")
    longest = {"longest_hold": longest_us * MS // 1000} if longest_us else {}
    make.stack(1, main, world.native(LOOP), held=int((1 - share) * 500 * MS), charged=int((1 - share) * 400 * MS), samples=99)
    make.stack(1, main, world.native("kernel", LOOP), held=int(share * 500 * MS), charged=int(share * 400 * MS),
               samples=samples, **longest)
    make.thread("two", held=0.1, blocked=0.4)
    make.stack(2, main, world.native(LOOP), held=100 * MS, samples=20)
    process = gs.report(make.write(where))["processes"][0]
    assert [c["function"] for c in process["calls_that_should_release"]] == ["kernel"] * listed


def test_modules_of_one_name_are_told_apart(world, where):
    """Packages often have a module of the same file name as others."""
    make = world.maker
    make.thread("one", held=0.5)
    for i, package in enumerate(("pandas", "pyarrow")):
        (where / package).mkdir()
        path, addresses = makerec.library(where / package, "lib.so", [f"work{i}"])
        start = 0x7e0000000000 + i * 0x10000000
        make.object(path, start, 0x100000, build_id=makerec.build_id(path))
        make.stack(1, world.python("f", "main!"), world.native(start + addresses[f"work{i}"], LOOP), held=250 * MS)
    text = gs.gilscope("report", make.write(where)).stdout
    rows = [line.split()[0] for line in text.split("MODULES")[1].splitlines()[1:3]]
    assert sorted(rows) == ["pandas/lib.so", "pyarrow/lib.so"], text


@pytest.mark.parametrize("n, told", [(7, None), (8, "2 others, together")])
def test_modules_beyond_the_sixth_are_told_together(world, where, n, told):
    """Their rows add up whatever the number of modules; one more than there is room for has its own."""
    make = world.maker
    make.thread("one", held=0.8)
    for i in range(n):
        path, addresses = makerec.library(where, f"_m{i}.so", [f"work{i}"])
        start = 0x7e0000000000 + i * 0x10000000
        make.object(path, start, 0x100000, build_id=makerec.build_id(path))
        make.stack(1, world.python("f", "main!"), world.native(start + addresses[f"work{i}"], LOOP), held=100 * MS)
    table = gs.gilscope("report", make.write(where)).stdout.split("MODULES")[1].split("\n\n")[0]
    assert len(table.splitlines()) == 1 + min(n, 7)
    assert ("together" in table) is bool(told) and (told or "") in table


def test_names_of_rust_are_readable_and_tables_keep_their_width(world, where):
    """Names of generics may be as long as a page; they do not make tables wider than the terminal."""
    make, symbol = world.maker, "_RNvNtC3app6module" + "300" + "x" * 300
    path, addresses = makerec.library(where, "_rust.so", [symbol])
    make.object(path, 0x7e0000000000, 0x100000, build_id=makerec.build_id(path))
    make.thread("one", held=0.5, charged=0.4)
    make.stack(1, world.python("f", "main!"), world.native(0x7e0000000000 + addresses[symbol], LOOP), held=500 * MS,
               charged=400 * MS, longest_hold=5 * MS, samples=100)
    make.thread("two", held=0.1, blocked=0.4)
    recording = make.write(where)
    name = "app::module::" + "x" * 300
    assert gs.report(recording)["processes"][0]["calls_that_should_release"][0]["function"] == name
    text = gs.gilscope("report", recording).stdout
    tables = text[text.index("THREAD "):text.index("MODULES")]
    assert "app::module::xxx" in tables and "_RNv" not in text
    assert max(map(len, tables.splitlines())) <= 120, tables


def folded(recording, *options):
    done = gs.gilscope("report", "-f", "folded", *options, recording)
    assert done.returncode == 0, done.stderr
    return [line.rsplit(" ", 1) for line in done.stdout.splitlines()]


def test_folded_stacks_have_one_line_each(world, where):
    """process;thread;frame;frame N, in ns, for the view that is asked for."""
    world.maker.thread("wor;ker", held=0.6, charged=0.2)
    world.maker.stack(1, world.python("f", "main!"), world.native("kernel", LOOP), charged=5 * MS, held=7 * MS)
    recording = world.maker.write(where)
    assert folded(recording) == [["app.py (4242);wor\\x3bker (101);main (app.py:5);f (app.py:5);kernel (_ext.so)",
                                  str(200 * MS)]]
    assert folded(recording, "--view", "held")[0][1] == str(600 * MS)
    assert folded(recording, "--view", "wait") == []


def test_names_cannot_break_folded_lines(where):
    """Separators, control characters, broken UTF-8 and marks of direction in names are spelled out."""
    maker = makerec.Maker()
    maker.thread("one", held=0.5)
    maker.stack(1, [maker.frame(b"a;b\nc\x1b[31m\xff\xe2\x80\xae 12", line=0, first_line=0)], held=MS)
    line, = folded(maker.write(where), "--view", "held")
    assert line[0].split(";")[2:] == ["a\\x3bb\\x0ac\\x1b[31m\ufffd\\u202e 12 (app.py)"]


def test_unknown_views_are_refused():
    """--view takes four names."""
    done = gs.gilscope("report", "--view", "cpu", "x.gilscope")
    assert done.returncode == 2 and "wait, charged, held, released" in done.stderr


def test_stacks_of_damaged_recordings_do_no_harm(world, where):
    """Cells, counts and lengths that lead anywhere: whatever is left is reported."""
    make = world.maker
    make.thread("one", held=0.6, blocked=0.1, charged=0.3)
    for i in range(20):
        make.stack(1, world.python(f"f{i}", "main!"), world.native("helper", "kernel", LOOP), charged=MS, held=MS)
    file = make.write(where) / "one.gil"
    good = file.read_bytes()
    random = __import__("random").Random(7)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(random.randrange(1, 60)):
            at = random.randrange(makerec.HEADER_BYTES, len(bad) - 4)
            bad[at:at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", random.randbytes(4), b"\xff\xff\0\0"])
        file.write_bytes(bad)
        for form in ("json", "folded", "text"):
            done = gs.gilscope("report", "-f", form, file)
            assert done.returncode == 0, (done.returncode, done.stderr)
            if form == "json":
                json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return made.model_server(tmp_path_factory.mktemp("server"))


def test_the_text_report_names_functions(server):
    """The advice names the function that others waited for most and its share; the sections list functions, calls and
    modules, and say how the samples were scaled."""
    process = gs.report(server)["processes"][0]
    assert re.fullmatch(r"Look first at tokenize \(features.py:91\): 42 % of the waiting behind a holder was for it "
                        r"\(11.8 s of 28.0 s\).", process["verdict"]["advice"][0])
    text = gs.gilscope("report", server, env=gs.clean_env({"LC_ALL": "C.UTF-8", "COLUMNS": "120"})).stdout
    for pattern in (r"→ Look first at tokenize", r"LOOK FIRST AT +line +which calls +made wait +share\n"
                    r"tokenize +features.py:91 +- +11.8 s +42.1 %", r"load +features.py:30 +parse_rows +3.72 s +13.3 %",
                    r"CALLS THAT SHOULD RELEASE THE GIL +of +called by .*\nparse_rows +_features.so +features.py:30 ",
                    r"MODULES +made wait +held +released +on a CPU\n_features.so +5.54 s ",
                    r"STACKS  of what made others wait: 12,105 samples, ±0.9 %, scaled by 0.92 to the exact total"):
        assert re.search(pattern, text), pattern


def test_without_stacks_nothing_is_said_of_them(where):
    """A recording without stacks has none of the sections."""
    maker = makerec.Maker()
    maker.thread("one", held=0.5, charged=0.4)
    maker.thread("two", held=0.1, blocked=0.4)
    text = gs.gilscope("report", maker.write(where)).stdout
    assert not re.search(r"LOOK FIRST|CALLS THAT|MODULES|STACKS|Look first", text)


@pytest.mark.parametrize("form", ["text", "html", "svg", "folded", "json", "speedscope", "pprof"])
def test_a_hundred_thousand_stacks_fit_into_memory(form, many, where):
    """Whatever the format, a report on 100,000 distinct stacks needs less than 200 MB."""
    _, _, megabytes = gs.measure("report", "-f", form, "-o", where / "report", many)
    assert megabytes < 200


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return made.many_stacks(tmp_path_factory.mktemp("many"), 100000)


def test_holds_that_end_where_the_gil_is_let_go_are_told_so(world, where):
    """A function that is mostly without the GIL is where holds end, not what they are spent on: the advice says so.
    Marks that the collector puts in place of code are no functions."""
    make = world.maker
    main = make.thread("one", held=0.3, charged=0.3)
    make.thread("two", held=0.3, blocked=0.6)
    make.stack(main, world.python("send", "main!"), world.native("kernel", LOOP), charged=200 * MS, held=100 * MS,
               released=400 * MS, samples=300)
    mark = make.frame("[held until here]", file="", line=0, first_line=0)
    make.stack(main, [mark, *world.python("compute", "main!")], [], charged=50 * MS, held=100 * MS, samples=60)
    recording = make.write(where)
    process = gs.report(recording)["processes"][0]
    advice = [a for a in process["verdict"]["advice"] if "Look first" in a]
    assert advice == ["Look first at what runs before send (app.py:10) lets the GIL go: holds that end there had 80 % of "
                      "the waiting behind a holder (240 ms of 300 ms)."]
    text = gs.gilscope("report", recording).stdout
    assert re.search(r"^compute +app.py:10 ", text, re.M) and not re.search(r"^\[held", text, re.M)
    assert not process["calls_that_should_release"]
