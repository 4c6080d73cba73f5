# SPDX-License-Identifier: MIT
"""Reports for other tools are read by these tools themselves: flamegraph.pl, inferno, speedscope, go tool pprof, a
browser."""
import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import urllib.request
import xml.dom.minidom
from pathlib import Path

import pytest

from helpers import browser, gs, made, makerec

VIEWS = {"wait": "wait", "charged": "charged", "held": "held", "released": "released"}
HOSTILE = ["<script>document.title='owned'</script>", "\"'><img src=x onerror=document.title='owned'>",
           "a\x1b[31m\u202eevil\u2066\n;x", "</script><script>document.title='owned'</script>", "]]><b>&amp;", "<lambda>"]
FLAMEGRAPH = Path("/usr/share/perl5/Devel/NYTProf/flamegraph.pl")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return made.model_server(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return made.model_server(tmp_path_factory.mktemp("hostile"), HOSTILE)


def report(form, recording, where, *options):
    """The path of a report in a form."""
    path = where / f"report.{form}"
    done = gs.gilscope("report", "-f", form, *options, "-o", path, recording)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return path


def totals(recording):
    """{view: ns}, as the JSON report has them."""
    sampling = gs.report(recording)["processes"][0]["sampling"]
    return {view: sampling[view]["total_ns"] for view in VIEWS}


# --- folded

def flamegraph_tools():
    found = {}
    if shutil.which("flamegraph.pl"):
        found["flamegraph.pl"] = ["flamegraph.pl"]
    elif FLAMEGRAPH.exists() and shutil.which("perl"):
        found["flamegraph.pl"] = ["perl", str(FLAMEGRAPH)]
    inferno = shutil.which("inferno-flamegraph", path=f"{os.environ.get('PATH')}:{Path.home()}/.cargo/bin")
    if inferno:
        found["inferno"] = [inferno]
    return found


@pytest.mark.parametrize("tool", ["flamegraph.pl", "inferno"])
@pytest.mark.parametrize("names", ["plain", "hostile"])
def test_folded_stacks_are_accepted(tool, names, recording, hostile, where):
    """flamegraph.pl and inferno draw all of the folded stacks, whatever is in the names."""
    command = flamegraph_tools().get(tool)
    if not command:
        pytest.skip(f"{tool} is not installed")
    source = hostile if names == "hostile" else recording
    done = subprocess.run([*command, "--countname", "ns"], stdin=open(report("folded", source, where), "rb"), check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert not done.stderr
    xml.dom.minidom.parseString(done.stdout)
    drawn = int(re.search(r"all \(([\d,]+) ns, 100%\)", done.stdout).group(1).replace(",", ""))
    assert abs(drawn - totals(source)["charged"]) < 100
    assert "tokenize (features.py:88)" in done.stdout


# --- pprof

def go():
    path = shutil.which("go", path=f"{os.environ.get('PATH')}:/usr/local/go/bin")
    if not path:
        pytest.skip("go is not installed")
    return path


def pprof_env(where):
    # Newer versions of Go build pprof when it is first used.
    return dict(os.environ, HOME=str(where), PPROF_TMPDIR=str(where), GOCACHE=str(gs.WORK / "go-cache"), GOFLAGS="",
                GOTOOLCHAIN="local")


def top(path, where, *options):
    done = subprocess.run([go(), "tool", "pprof", "-top", "-unit=ms", *options, path], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=pprof_env(where))
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("view", VIEWS)
def test_pprof_reads_each_view(view, recording, where):
    """`go tool pprof -top` shows each of the sample types with its total; charged is shown first."""
    path = report("pprof", recording, where)
    assert gzip.decompress(path.read_bytes())
    text = top(path, where, f"-sample_index={view}")
    total = float(re.search(r"Total samples = ([\d.]+)ms", text).group(1))
    assert abs(total - totals(recording)[view] / 1e6) < 1
    if view == "charged":
        assert "Type: charged" in top(path, where)
        assert re.search(r"%  tokenize$", text, re.M) and re.search(r"%  parse_rows$", text, re.M)
        assert "<genexpr>" in text
    if view != "charged":
        assert f"Type: {view}" in top(report("pprof", recording, where, "--view", view), where)


def test_pprof_knows_lines_and_threads(recording, where):
    """Samples are labelled with their thread, places have file and line."""
    path = report("pprof", recording, where)
    tags = subprocess.run([go(), "tool", "pprof", "-tags", path], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=pprof_env(where)).stdout
    assert "worker-0 (101)" in tags and "thread: " in tags
    comments = subprocess.run([go(), "tool", "pprof", "-comments", path], check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=pprof_env(where)).stdout
    assert "charged: 12105 samples, scaled by 0.917 to the exact total" in comments
    assert "/srv/app/features.py:91" in top(path, where, "-lines")
    only = top(path, where, "-tagfocus=thread=worker-0.*", "-sample_index=held")
    assert float(re.search(r"for ([\d.]+)ms", only).group(1)) < 3500


def test_pprof_serves_its_pages(recording, where):
    """`go tool pprof -http` shows the flame graph with the functions."""
    path = report("pprof", recording, where)
    port = 20000 + os.getpid() % 20000
    with subprocess.Popen([go(), "tool", "pprof", f"-http=127.0.0.1:{port}", "-no_browser", path],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=pprof_env(where)) as server:
        try:
            def page():
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ui/flamegraph", timeout=5) as answer:
                        return answer.read().decode()
                except OSError:
                    return None
            assert "tokenize" in browser.wait_for(page, "the page of pprof")
        finally:
            server.terminate()
            # pprof's server is a child of `go tool`.
            subprocess.run(["fuser", "-k", f"{port}/tcp"], check=False, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)


def test_binary_reports_do_not_go_to_terminals(recording):
    """pprof's compressed bytes are refused where they would end on a terminal."""
    import pty  # pylint: disable=import-outside-toplevel
    master, slave = pty.openpty()
    try:
        done = subprocess.run([gs.BIN, "report", "-f", "pprof", recording], stdout=slave, stderr=subprocess.PIPE,
                              check=False, text=True)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 1 and "-o FILE" in done.stderr


# --- speedscope

def test_speedscope_files_have_a_profile_for_each_view_and_thread(recording, where):
    """The weights of each profile add up to its end, and each thread has one for each view."""
    document = json.loads(report("speedscope", recording, where).read_text(encoding="utf-8"))
    frames = document["shared"]["frames"]
    names = [p["name"] for p in document["profiles"]]
    assert names[0] == "charged: all threads"
    assert {f"{view}: all threads" for view in VIEWS} | {"wait: worker-0 (101)"} <= set(names)
    for profile in document["profiles"]:
        assert profile["type"] == "sampled" and profile["unit"] == "nanoseconds"
        assert len(profile["samples"]) == len(profile["weights"])
        assert abs(sum(profile["weights"]) - profile["endValue"]) < 100
        assert all(i < len(frames) for sample in profile["samples"] for i in sample)
    assert {"name": "tokenize", "file": "/srv/app/features.py", "line": 88} in frames


def test_speedscope_draws_what_is_called_from_one_place_as_one_box(where):
    """Whatever has the same callers stands together, in the order in which speedscope draws first."""
    recording = made.many_stacks(where, 500)
    document = json.loads(report("speedscope", recording, where).read_text(encoding="utf-8"))
    for profile in document["profiles"]:
        closed, last = set(), []
        for sample in profile["samples"]:
            paths = [tuple(sample[:n + 1]) for n in range(len(sample))]
            assert not closed & set(paths), profile["name"]
            closed |= set(last) - set(paths)
            last = paths


def test_hostile_names_are_plain_text_in_speedscope_files(hostile, where):
    """No control character and no mark of direction gets to whoever shows the file."""
    document = json.loads(report("speedscope", hostile, where).read_text(encoding="utf-8"))
    names = [f["name"] for f in document["shared"]["frames"]]
    assert "a\\x1b[31m\\u202eevil\\u2066\\x0a;x" in names and "<script>document.title='owned'</script>" in names
    assert not re.search("[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "".join(names))


@pytest.mark.parametrize("names", ["plain", "hostile"])
def test_speedscope_opens_its_files(names, recording, hostile, where):
    """The speedscope application itself loads the file and shows the first profile."""
    application = browser.speedscope()
    source = hostile if names == "hostile" else recording
    content = base64.b64encode(report("speedscope", source, where).read_bytes()).decode()
    # As speedscope's own command line does it: a script that hands the profile over.
    script = where / "profile.js"
    script.write_text(f'speedscope.loadFileFromBase64("report.speedscope.json", "{content}")')
    page = browser.start()
    try:
        page.get(f"file://{application}/index.html#localProfilePath={script}")
        browser.wait_for(lambda: "modelserver.py" in page.title, "a profile in speedscope")
        browser.wait_for(lambda: "charged: all threads" in page.find_element("tag name", "body").text, "its name")
        page.save_screenshot(str(gs.WORK / f"speedscope-{names}.png"))
        assert not [c for c in browser.complaints(page) if "WebGL" not in c]
        assert page.execute_script("return document.querySelectorAll('canvas').length") > 0
    finally:
        page.quit()


# --- svg

def test_the_picture_is_whole_and_well_formed(hostile, where):
    """The SVG parses as XML, needs nothing from elsewhere, and has each label as text."""
    path = report("svg", hostile, where)
    document = xml.dom.minidom.parse(str(path))
    assert len(document.getElementsByTagName("script")) == 1
    titles = [t.firstChild.data for t in document.getElementsByTagName("title")]
    assert any(t.startswith("<script>document.title='owned'</script>") for t in titles)
    assert not re.search(r"(href|src|url\()\s*=?\s*[\"']?(https?:|//|data:)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", ["svg", "html"])
def test_small_shares_are_well_formed(where, form):
    """"<0.1 %" is not the begin of an element."""
    maker = makerec.Maker()
    maker.thread("one", held=0.5, blocked=0.1, charged=1.0)
    for name, ns in ("most", 999.6e6), ("least", 0.4e6):
        maker.stack(1, [maker.frame(name)], charged=int(ns), samples=100)
    text = report(form, maker.write(where), where).read_text(encoding="utf-8")
    assert "&lt;0.1 %" in text or form == "html"
    assert not re.search("<[^!/?a-zA-Z]", text.split("<script>")[0].split("<script><![CDATA[")[0])
    if form == "svg":
        titles = [t.firstChild.data for t in xml.dom.minidom.parseString(text).getElementsByTagName("title")]
        assert any(t.startswith("least") and "<0.1 %" in t for t in titles), titles


def test_the_picture_zooms_and_searches(hostile, where):
    """In a browser a click zooms, Escape zooms out, and typing finds functions and says their share."""
    page = browser.start()
    from selenium.webdriver import ActionChains, Keys  # pylint: disable=import-outside-toplevel
    try:
        page.get(f"file://{report('svg', hostile, where)}")

        def rect(name):
            return page.execute_script(
                "return Array.from(document.querySelectorAll('g.f')).find(g => "
                "g.textContent.startsWith(arguments[0])).querySelector('rect')", name)

        def width(name):
            return float(rect(name).get_attribute("width"))

        before = width("tokenize")
        rect("tokenize").click()
        assert width("tokenize") > 3 * before
        assert page.find_element("id", "reset").is_displayed()
        page.find_element("id", "reset").click()
        assert abs(width("tokenize") - before) < 0.02
        page.find_element("id", "search").click()
        ActionChains(page).send_keys("tokenize" + Keys.ENTER).perform()
        text = page.find_element("id", "info").text
        share = float(re.search(r"matched: ([\d.]+) %", text).group(1))
        expected = [s for s in gs.report(hostile)["processes"][0]["stacks"] if s["view"] == "charged"]
        true = 100 * sum(s["ns"] for s in expected if any(f["function"] == "tokenize" for f in s["frames"])) / \
            sum(s["ns"] for s in expected)
        assert abs(share - true) < 0.1
        assert len(page.find_elements("css selector", "g.found")) == 4
        ActionChains(page).send_keys(Keys.ESCAPE).perform()
        assert not page.find_elements("css selector", "g.found")
        assert "owned" not in page.title and not browser.complaints(page)
    finally:
        page.quit()
