# SPDX-License-Identifier: MIT
"""The parts of the source keep to their places: who may include whom, how files begin, what the manual must follow."""
import re
import subprocess
import sys

import pytest

from helpers import gs

CONTRACT = {"record.h", "hist.h", "cpu-limit.h", "cpython.h", "cpython-callee.h", "cpython-frames.h", "cpython-read.h"}
MADE = {"embedded.c", "profile.pb-c.c", "profile.pb-c.h", "gilscope.skel.h"} # by the build
SOURCES = sorted(p for folder in ("lib", "probes", "tools") for p in (gs.REPO / folder).glob("*.[ch]")
                 if p.name not in MADE)
ASSETS = sorted(p for folder in ("svg", "html") for p in (gs.REPO / "tools" / folder).glob("*"))
SCRIPTS = [gs.REPO / name for name in ("quickstart", "runtests", ".ci/run", "scripts/deps.sh")]


def own_includes(path):
    """What a file includes with quotes, without directories."""
    text = path.read_text(encoding="utf-8")
    return {name.split("/")[-1] for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M)}


def headers(folder):
    return {p.name for p in (gs.REPO / folder).glob("*.h")}


def names(paths):
    return [str(p.relative_to(gs.REPO)) for p in paths]


def test_the_source_was_found():
    """The checks below look at something: the shim, the commands, the reader and the views."""
    assert {"lib/record.h", "lib/shim.c", "tools/main.c", "tools/reader.c", "tools/model.h"} <= set(names(SOURCES))
    assert list((gs.REPO / "tools").glob("view-*.c"))


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name == "lib"], ids=lambda p: p.name)
def test_lib_includes_only_lib(path):
    """What runs in the program knows nothing of the tool."""
    assert own_includes(path) <= headers("lib") | {"config.h"}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name in ("tools", "probes")], ids=lambda p: p.name)
def test_tools_take_only_the_contract_from_lib(path):
    """Tool and probe see of lib/ the recording, the histogram, the layout table and the limit of control groups only."""
    assert not own_includes(path) & (headers("lib") - headers(path.parent.name)) - CONTRACT


@pytest.mark.parametrize("path", sorted((gs.REPO / "tools").glob("view-*.c")), ids=lambda p: p.name)
def test_views_know_the_model_only(path):
    """A view prints the model: it reads no files, and the recording's format is none of its business."""
    included = own_includes(path)
    assert not {name for name in included if name.startswith("reader")}
    assert not included & {"record.h", "hist.h", "recfile.h", "symbols.h", "model-build.h"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_files_open_with_licence_and_purpose(path):
    """The first line is the licence, the comment after it names the file and says what it is for; none is too long."""
    lines = path.read_text(encoding="utf-8").split("\n")
    assert "SPDX-License-Identifier: MIT" in lines[0]
    assert re.search(rf"{re.escape(path.name)} - \S", "\n".join(lines[1:4])), lines[:4]
    assert len(lines) <= 500


@pytest.mark.parametrize("path", sorted([*(gs.REPO / "tests").glob("**/*.py"), *(gs.REPO / "bench").glob("*.py"),
                                         *(gs.REPO / "examples").glob("*.py"), *(gs.REPO / "scripts").glob("*"),
                                         *SCRIPTS[:3]]), ids=lambda p: str(p.relative_to(gs.REPO)))
def test_scripts_open_with_licence(path):
    """Scripts and tests, too, say what licence they are under."""
    if "work" in path.relative_to(gs.REPO).parts or "__pycache__" in path.parts:
        pytest.skip("made by a test run")
    assert "SPDX-License-Identifier: MIT" in "\n".join(path.read_text(encoding="utf-8").split("\n")[:2])


@pytest.mark.parametrize("path", ASSETS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_assets_open_with_licence_and_load_nothing(path):
    """What reports take along says what licence it is under, is no longer than code, and asks no network for anything."""
    text = path.read_text(encoding="utf-8")
    assert "SPDX-License-Identifier: MIT" in text.split("\n")[0]
    assert len(text.split("\n")) <= 500
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|innerHTML|eval\(|document\.write|fetch\(", text)


def test_the_version_stands_in_one_place():
    """configure.ac has the version; no source repeats it, and the executable prints it."""
    version = re.search(r"AC_INIT\(\[gilscope\], \[([\d.]+)\]\)", (gs.REPO / "configure.ac").read_text()).group(1)
    assert not [p.name for p in SOURCES if f'"{version}"' in p.read_text(encoding="utf-8")]
    assert gs.gilscope("--version").stdout == f"gilscope {version}\n"


def test_the_manuals_tables_are_true():
    """gilscope-recording(5) has the fields of record.h, gilscope-report(1) the thresholds of the verdict."""
    done = subprocess.run([sys.executable, gs.REPO / "scripts" / "manual-tables.py", "--check"], check=False,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    report = (gs.REPO / "man" / "gilscope-report.1").read_text(encoding="utf-8")
    assert len(re.findall(r"^\w+\t[\d.e]+\tT\{$", report, re.M)) > 10


def test_the_pages_offsets_are_the_compilers(where):
    """The offsets that the page states are those that the compiler uses."""
    page = (gs.REPO / "man" / "gilscope-recording.5").read_text(encoding="utf-8")
    checks = []
    for struct, table in re.findall(r'\.\\" fields of struct (\w+)\n(.*?)\.\\" end of fields', page, re.S):
        for offset, size, field in re.findall(r"^(\d+)\t(\d*)\t(\w+)\tT\{$", table, re.M):
            checks.append(f"_Static_assert(offsetof(struct {struct}, {field}) == {offset}, \"{struct}.{field}\");")
            if size:
                checks.append(f"_Static_assert(sizeof(((struct {struct} *)0)->{field}) == {size}, \"{field}\");")
    assert len(checks) > 100
    source = where / "offsets.c"
    source.write_text('#include <stddef.h>\n#include "record.h"\n' + "\n".join(checks) + "\n")
    done = subprocess.run(["gcc", "-c", "-o", where / "offsets.o", f"-I{gs.REPO / 'lib'}", source], check=False,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
