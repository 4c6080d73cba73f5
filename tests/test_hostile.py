# SPDX-License-Identifier: MIT
"""Names of threads, functions, files, objects and commands are hostile input: each view keeps them what they are."""
import gzip
import html.parser
import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as tree

import pytest

from helpers import gs, makerec

# Terminal escapes, markup, ends of strings and of scripts, separators, other directions of writing, broken UTF-8.
NASTY = [b"\x1b[2J\x1b]0;owned\x07", b"</script><script>alert(1)</script>", b"\"];}'<b onload=x>&amp;]]>", b"a;b;c 99999",
         "\u202ereversed\u2066\u200b".encode(), b"\xff\xfe\xed\xa0\x80", b"line\nbreak\r\ttab", b"\x9b31m\x85", b"-->",
         "${jndi:x}\\u003c\\".encode(), b"%s%n%d", b"x" * 3000]
# None of these, as bytes, may be in any output for people.  The text view keeps its line ends.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A recording in which every name is one of the nasty ones."""
    maker = makerec.Maker()
    text = b"".join(n[:200] + b"\0" for n in [b"python3", *NASTY])
    maker.record("rec_text", text, kind=1, length=len(text))
    inert = b" ".join(NASTY)[:900]
    maker.record("rec_text", inert, kind=2, length=len(inert))
    maker.parts[0][8] = 9 # the command that every recording has: of a kind that nobody knows
    makerec._put(maker.header, "rec_header", host=NASTY[0][:60], python_version=NASTY[1][:60], tool_version=NASTY[2][:30])
    threads = []
    for i, name in enumerate(NASTY):
        threads.append(maker.thread("x", held=0.05, blocked=0.2, charged=0.2, cpu=0.01))
        maker.threads[-1]["name"] = name[:63]
        path = maker.string(b"/" + name)
        maker.record("rec_object", path=path, build_id_bytes=0, start=0x10000 * (i + 1), end=0x10000 * (i + 1) + 0xf000,
                     bias=0x10000 * (i + 1), build_id=b"")
    for i, thread in enumerate(threads):
        frames = [maker.frame(name, b"/dir/" + other, 3, 1) for name, other in zip(NASTY, reversed(NASTY))]
        maker.stack(thread, [frames[i] | makerec.ENTRY, frames[-1 - i] | makerec.ENTRY],
                    [0x10000 * (i + 1) + 0x10], wait=1e8, charged=2e8, held=5e7, released=1e8, samples=50,
                    longest_hold=10 ** 8)
    return maker.write(tmp_path_factory.mktemp("hostile"))


def report(recording, kind, *options):
    done = gs.gilscope("report", "-f", kind, *options, recording)
    assert done.returncode == 0, done.stderr
    return done.stdout


def no_control(text, what):
    found = CONTROL.search(text)
    assert not found, f"{what}: {text[max(0, found.start() - 40):found.end() + 20]!r}"


def test_text(recording):
    """No control character reaches the terminal, with colours or without, and every line is a line of the report's."""
    plain = report(recording, "text")
    no_control(plain, "text")
    assert "owned" in plain
    done = gs.gilscope("report", recording, env=gs.clean_env({"CLICOLOR_FORCE": 1, "LC_ALL": "C.UTF-8", "COLUMNS": 200}))
    no_control(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), "text with colours")
    assert re.search(r"\x1b\[[0-9;]*m", done.stdout) and "\x1b[2J" not in done.stdout


def test_dump(recording):
    """The dump is ASCII, whatever the names."""
    done = gs.gilscope("dump", recording)
    assert done.returncode == 0 and done.stdout.isascii()
    no_control(done.stdout, "dump")


def test_json(recording):
    """JSON is JSON, and has the names as they are, as far as they are UTF-8."""
    text = report(recording, "json")
    no_control(text, "json")
    process = json.loads(text)["processes"][0]
    names = {t["name"] for t in process["threads"]}
    for nasty in NASTY:
        try:
            assert nasty[:63].decode() in names
        except UnicodeDecodeError:
            pass
    assert any("\ufffd" in name for name in names)
    assert all(len(t["name"]) <= 63 for t in process["threads"])


def test_folded(recording):
    """A line has as many frames as the stack, and ends in one number: no name adds a separator or a line."""
    for view in ("wait", "charged", "held", "released"):
        lines = report(recording, "folded", "--view", view).splitlines()
        assert len(lines) == len(NASTY)
        for line in lines:
            no_control(line, "folded")
            stack, _, number = line.rpartition(" ")
            assert number.isdigit() and 4 <= len(stack.split(";")) <= 5, line[:200]


class Elements(html.parser.HTMLParser):
    """Tags, attributes and scripts of a document."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.inside = [], set(), [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def harmless_recording(where):
    maker = makerec.Maker()
    thread = maker.thread("main", held=0.05, blocked=0.2, charged=0.2)
    maker.stack(thread, [maker.frame("f") | makerec.ENTRY], [], charged=2e8, wait=1e8, held=5e7, released=1e8)
    return maker.write(where)


def test_html(recording, where):
    """The page has the scripts of any page, no attribute that it would not have, and no control character."""
    seen = []
    for one in (recording, harmless_recording(where)):
        text = report(one, "html")
        no_control(text.replace("\t", " "), "html")
        elements = Elements()
        elements.feed(text)
        seen.append(elements)
    assert seen[0].tags.count("script") == seen[1].tags.count("script")
    assert not {a for a in seen[0].attributes if a.startswith("on")} and "alert(1)" not in seen[0].tags
    assert all("<script>" not in script for script in seen[0].scripts)


def test_svg(recording):
    """The SVG is XML with one script, ours, and no handler that a name brought along."""
    text = report(recording, "svg")
    no_control(text, "svg")
    root = tree.fromstring(text)
    assert sum(e.tag.endswith("script") for e in root.iter()) <= 1
    for element in root.iter():
        assert not element.tag.endswith("}b") and "onload" not in element.attrib
    assert text.count("alert(1)</script>") == 0


def test_speedscope(recording):
    """Speedscope's file is JSON that could stand in a page."""
    text = report(recording, "speedscope")
    no_control(text, "speedscope")
    assert "</script" not in text
    names = [f["name"] for f in json.loads(text)["shared"]["frames"]]
    assert any("alert(1)" in name for name in names)


def test_pprof(recording, where):
    """pprof's file has no control character in any of its texts."""
    assert gs.gilscope("report", "-f", "pprof", "-o", where / "p", recording).returncode == 0
    data = gzip.decompress((where / "p").read_bytes())
    assert b"\x1b[2J" not in data and b"alert(1)" in data


def test_doctor(where, one_python):
    """What doctor says of a process whose paths were chosen by somebody else is lines of its own, and no more."""
    name = "py\x1b[2J\x9b31m\u202ethon3"
    place = where / "\x1b]0;owned\x07\nattach        ok       everything"
    place.mkdir()
    shutil.copy("/bin/sleep", place / name)
    env = gs.clean_env({"GILSCOPE": f"output={place}/no/such"})
    with subprocess.Popen([str(place / name), "60"], env=env) as process:
        try:
            for _ in range(500):
                if os.readlink(f"/proc/{process.pid}/exe").endswith(name):
                    break
                time.sleep(0.01)
            said = gs.gilscope("doctor", process.pid).stdout
        finally:
            process.kill()
    no_control(said, "doctor")
    assert "owned" in said and not re.search("^ *attach +ok +everything", said, re.M), said


def test_error_lines(where):
    """An error line has no control character of a file's name."""
    for nasty in NASTY[:8]:
        done = subprocess.run([str(gs.BIN), "report", os.fsencode(where) + b"/" + nasty], stderr=subprocess.PIPE,
                              env=gs.clean_env(), check=False)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1
        no_control(done.stderr.decode(), "error")


PROGRAM = r'''
import sys, threading, time
names = ["\x1b[2J\x1b]0;owned\x07", "</script><b>", "a;b", "\u202erev", "new\nline", "\udc80"]
scope = {"threading": threading, "time": time}
def work(name):
    code = compile("def f():\n end = time.monotonic() + 0.15\n while time.monotonic() < end: sum(range(500))\nf()",
                   "/d/" + name + ".py", "exec")
    consts = tuple(c.replace(co_name=name) if hasattr(c, "co_name") else c for c in code.co_consts)
    exec(code.replace(co_consts=consts), dict(scope))
threads = [threading.Thread(target=work, args=(n.encode("utf-8", "replace").decode(),), name=n) for n in names]
for t in threads: t.start()
for t in threads: t.join()
'''


def test_a_real_program(python, where):
    """The same of a program that calls its threads, functions, files and arguments so."""
    recording = gs.run_code(python, PROGRAM, where, args=("\x1b[2J", "<script>", "new\nline"))
    for kind in ("text", "json", "html", "folded", "svg", "speedscope"):
        no_control(report(recording.dir, kind).replace("\t", " "), kind)
    for line in report(recording.dir, "folded").splitlines():
        assert re.fullmatch(r"[^;]+(;[^;]+)+ \d+", line), line
    tree.fromstring(report(recording.dir, "svg"))
    assert len(recording.process["threads"]) == 7
