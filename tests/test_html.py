# SPDX-License-Identifier: MIT
"""The HTML report: complete in one file, harmless whatever the names are, and usable by mouse and keyboard."""
import html.parser
import re

import pytest

from helpers import browser, gs, made, makerec
from test_exports import HOSTILE

VIEWS = ["wait", "charged", "held", "released"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return made.model_server(tmp_path_factory.mktemp("made"), HOSTILE)


@pytest.fixture(scope="module")
def page_path(recording):
    path = recording.parent / "report.html"
    done = gs.gilscope("report", "-f", "html", "-o", path, recording)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return path


@pytest.fixture
def page(page_path, request):
    window = browser.start(*getattr(request, "param", (1280, 900, False)))
    try:
        window.get(f"file://{page_path}")
        yield window
        assert not browser.complaints(window)
        assert "owned" not in window.title
    finally:
        window.quit()


class Outline(html.parser.HTMLParser):
    """Elements, attributes and text of a document."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.parts, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)
        self.parts += [value for name, value in attrs if name == "data-part"]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


def test_the_document_is_whole(page_path):
    """Every element is closed, every section is there, two scripts only, and nothing is loaded from elsewhere."""
    text = page_path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert not outline.open
    assert outline.parts == ["verdict", "threads", "flames", "calls", "modules", "matrix", "measuring"]
    assert outline.tags.count("script") == 2
    names = {name for name, _ in outline.attributes}
    assert not {n for n in names if n.startswith("on")} and not names & {"src", "srcset", "action"}
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text


def test_hostile_names_are_text(page_path):
    """Tags, quotes, control characters and marks of direction of the recording never reach the document as such."""
    text = page_path.read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert "<script>document" not in text and "<img" not in text and "<b>&amp;" not in text
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in text


def test_hostile_names_stay_text_on_the_page(page):
    """Nor does the script bring them to life: the page shows no control characters and no marks of direction."""
    for view in VIEWS:
        page.find_element("css selector", f".views [data-view={view}]").click()
        text = page.execute_script("return document.body.textContent + Array.from(document.querySelectorAll('.f')).map("
                                   "f => f.getAttribute('aria-label')).join()")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
        assert "a\\x1b[31m\\u202eevil\\u2066\\x0a;x" in text
    assert not page.find_elements("tag name", "img") and len(page.find_elements("tag name", "script")) == 2


def shown(page, name):
    """The frames on the page whose label starts so."""
    return page.execute_script("return Array.from(document.querySelectorAll('.f')).filter("
                               "f => f.getAttribute('aria-label').startsWith(arguments[0]))", name)


def what(page):
    return page.find_element("css selector", ".what").text


def share_of(process, view, name, tid=None):
    stacks = [s for s in process["stacks"] if s["view"] == view and tid in (None, s["tid"])]
    part = sum(s["ns"] for s in stacks if any(f["function"] == name for f in s["frames"]))
    return 100 * part / sum(s["ns"] for s in stacks)


def share_said(element):
    return float(re.search(r", ([\d.]+) %", element.get_attribute("aria-label")).group(1))


def test_the_conclusion_comes_first(page):
    """Verdict, figures and where to look first are on the first screen, in plain words."""
    verdict = page.find_element("css selector", ".verdict")
    assert verdict.location["y"] + verdict.size["height"] < 900
    assert "GIL-BOUND" in verdict.text and "Look first at tokenize (features.py:91)" in verdict.text
    assert len(page.find_elements("css selector", "[data-part=threads] .bar")) == 7
    assert "parse_rows" in page.find_element("css selector", "[data-part=calls]").text
    assert "Nothing was lost." in page.find_element("css selector", "[data-part=measuring]").text


def test_views_are_switched_by_clicks_and_keys(page, recording):
    """Each view shows its own shares; the arrow keys go from one to the next."""
    from selenium.webdriver import Keys  # pylint: disable=import-outside-toplevel
    process = gs.report(recording)["processes"][0]
    for view in VIEWS:
        page.find_element("css selector", f".views [data-view={view}]").click()
        assert page.find_element("css selector", ".views [aria-checked=true]").text == view
        assert abs(share_said(shown(page, "Server.handle")[0]) - share_of(process, view, "Server.handle")) < 0.11
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert page.switch_to.active_element.text == "held"
    assert "What holds the GIL" in what(page)


def test_clicks_zoom_and_escape_zooms_out(page):
    """A click makes a frame as wide as the graph, Escape and the button go back."""
    from selenium.webdriver import Keys  # pylint: disable=import-outside-toplevel
    before = shown(page, "Model.predict")[0].size["width"]
    whole = shown(page, "all")[0].size["width"]
    shown(page, "Model.predict")[0].click()
    assert shown(page, "Model.predict")[0].size["width"] > 0.99 * whole
    assert not shown(page, "tokenize") and shown(page, "softmax")
    assert "Model.predict" in page.find_element("css selector", ".detail").text
    page.find_element("css selector", ".out").click()
    assert abs(shown(page, "Model.predict")[0].size["width"] - before) < 1
    shown(page, "tokenize")[0].click()
    page.execute_script("arguments[0].focus()", shown(page, "tokenize")[0])
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert shown(page, "Model.predict")


def test_the_graph_is_walked_with_the_keyboard(page):
    """Tab reaches the graph, arrows go to parents, children and neighbours, Enter zooms."""
    from selenium.webdriver import Keys  # pylint: disable=import-outside-toplevel
    page.find_element("css selector", ".search").click()
    page.switch_to.active_element.send_keys(Keys.TAB)
    def at():
        return page.switch_to.active_element.get_attribute("aria-label").split(" ")[0].rstrip(",")
    assert at() == "all"
    walk = [(Keys.ARROW_DOWN, "Thread._bootstrap"), (Keys.ARROW_DOWN, "Thread.run"), (Keys.ARROW_DOWN, "Server.handle"),
            (Keys.ARROW_DOWN, "Batcher.flush"), (Keys.ARROW_DOWN, "tokenize"), (Keys.ARROW_RIGHT, "Model.predict"),
            (Keys.ARROW_LEFT, "tokenize"), (Keys.ARROW_UP, "Batcher.flush")]
    for key, expected in walk:
        page.switch_to.active_element.send_keys(key)
        assert at() == expected
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert at() == "Batcher.flush"
    assert page.switch_to.active_element.size["width"] > 1000


def test_search_finds_and_says_the_share(page, recording):
    """What is typed is marked, and how much of the time it was part of is said."""
    from selenium.webdriver import Keys  # pylint: disable=import-outside-toplevel
    page.find_element("tag name", "body").send_keys("/")
    page.switch_to.active_element.send_keys("TOKENIZE")
    found = float(re.search(r"([\d.]+) % of all", what(page)).group(1))
    assert abs(found - share_of(gs.report(recording)["processes"][0], "charged", "tokenize")) < 0.1
    assert len(page.find_elements("css selector", ".f.found")) == 1
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find_elements("css selector", ".f.found")


def test_threads_and_processors_are_filtered(page, recording):
    """One thread's stacks alone, and of released time what was on a processor."""
    process = gs.report(recording)["processes"][0]
    page.find_element("css selector", ".views [data-view=released]").click()
    options = page.find_elements("css selector", ".threads option")
    [o for o in options if o.text.startswith("worker-1")][0].click()
    assert abs(share_said(shown(page, "Model.predict")[0]) -
               share_of(process, "released", "Model.predict", 102)) < 0.11
    page.find_elements("css selector", ".cpu option")[1].click()
    assert share_said(shown(page, "Model.predict")[0]) == 100.0


def test_tables_are_sorted_by_their_columns(page):
    """A click on a column of numbers puts the largest first, another one the smallest."""
    table = page.find_element("css selector", "[data-part=threads] table")
    waited = table.find_elements("css selector", "thead .sort")[-1]
    assert waited.text == "made others wait"

    def names():
        return [th.text.split(" ")[0] for th in table.find_elements("css selector", "tbody th")]
    waited.click()
    assert names()[:4] == ["worker-0", "worker-1", "worker-2", "worker-3"]
    waited.click()
    assert names()[-4:] == ["worker-3", "worker-2", "worker-1", "worker-0"]
    calls = page.find_element("css selector", "[data-part=calls] table")
    [b for b in calls.find_elements("css selector", ".sort") if b.text == "longest hold"][0].click()
    assert calls.find_element("css selector", "[aria-sort=descending]").text.startswith("longest hold")


@pytest.mark.parametrize("page", [(1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)],
                         indirect=True, ids=["desktop", "desktop-dark", "phone", "phone-dark"])
def test_it_fits_the_screen_and_can_be_read(page, request):
    """No sideways scrolling, whole pictures kept for people to look at, and text that stands out from its ground."""
    width = page.execute_script("return innerWidth")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    contrast = page.execute_script("""
        function light(color) {
            return color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255).map(
                c => c <= .03928 ? c / 12.92 : Math.pow((c + .055) / 1.055, 2.4)).reduce(
                (sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
        }
        function ratio(e) {
            let ground = e;
            while (/, 0\\)$/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
            const a = light(getComputedStyle(e).color), b = light(getComputedStyle(ground).backgroundColor);
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        }
        return ['.summary', '.class b', '.note', '.evidence li', '.figure span', '.f.py', '.f.ext', 'thead th', 'footer'
            ].map(s => [s, ratio(document.querySelector(s))]).filter(x => x[1] < 4.5)""")
    assert not contrast
    height = page.execute_script("return document.documentElement.scrollHeight")
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    page.save_screenshot(str(gs.WORK / f"html-{request.node.callspec.id}.png"))


@pytest.mark.parametrize("page", [(1280, 900, False)], indirect=True, ids=["desktop"])
def test_long_names_leave_room_for_the_figures(page):
    """Three long names in a row push no column of numbers out of sight; what can be scrolled says so."""
    over = page.execute_script("""
        const calls = document.querySelector('[data-part=calls] .scroll');
        calls.querySelectorAll('tbody bdi').forEach(e => e.textContent = 'a_long_name_of_something'.repeat(4));
        return calls.scrollWidth - calls.clientWidth""")
    assert over <= 0


def test_it_prints(page):
    """On paper the controls are gone and the rest is there."""
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find_element("css selector", ".tools").is_displayed()
    assert page.find_element("css selector", ".graph").is_displayed()
    assert page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]


def test_ten_thousand_stacks_stay_small(where):
    """Below 2 MB for 10,000 stacks; what was too small to be drawn is still counted."""
    recording = made.many_stacks(where, 10000)
    path = where / "report.html"
    assert gs.gilscope("report", "-f", "html", "-o", path, recording).returncode == 0
    assert path.stat().st_size < 2_000_000
    window = browser.start()
    try:
        window.get(f"file://{path}")
        assert "160 s, 100.0 % of all" in window.find_element("css selector", ".detail").text
        assert len(window.find_elements("css selector", ".top tr")) == 5 # as many as there are
        assert not browser.complaints(window)
    finally:
        window.quit()


def test_a_recording_without_stacks_says_so(where):
    """Everything else is there."""
    maker = makerec.Maker()
    maker.thread("one", held=0.5)
    done = gs.gilscope("report", "-f", "html", maker.write(where))
    assert done.returncode == 0
    assert {"verdict", "threads", "flames", "measuring"} <= set(Outline(done.stdout).parts)
