# SPDX-License-Identifier: MIT
"""A verdict that has to do with locks says where they were waited for, as far as stacks tell, and never more than that."""
import re

import pytest

from helpers import gs, makerec

MS = 1000 * 1000
THREADING = "/usr/lib/python3.11/threading.py"


def report_of(where, lock, stacks):
    """The evidence on where three threads waited that lived 1 s, lock of it for locks.  stacks: {(frames): ms slept}."""
    make = makerec.Maker()
    for _ in range(3):
        thread = make.thread("worker", held=0.05, lock_wait_ticks=int(lock * 1e9))
        for frames, ms in stacks.items():
            make.stack(thread, [make.frame(*f) for f in frames], released=ms * MS, samples=max(1, ms // 5))
    recording = make.write(where)
    process, = gs.report(recording)["processes"]
    assert process["verdict"]["class"] == "lock-bound", process["verdict"]
    lines = [line for line in process["verdict"]["evidence"]
             if re.search("waited for locks in|slept most|is not known|No place", line)]
    assert len(lines) == 1, process["verdict"]["evidence"]
    for form in "text", "html":
        page = " ".join(gs.gilscope("report", "-f", form, recording).stdout.split())
        assert lines[0] in page, form
    return lines[0]


def test_the_place_is_named(where):
    """What a thread slept in one place, beyond all that it can have slept for other reasons, was for a lock."""
    line = report_of(where, 0.7, {(("guarded", "/app/app.py", 7),): 750, (("rests", "/app/app.py", 9),): 200})
    found = re.fullmatch(r"They waited for locks in guarded \(app\.py:7\), (1\.\d+) s at least\.", line)
    assert found, line  # 3 * (750 - 250) ms, less what chance may have added
    assert 1.0 < float(found.group(1)) <= 1.5


def test_what_others_than_the_library_called_is_named_first(where):
    """Who waits in a module of the standard library is told by what called it."""
    inner = (("Condition.__enter__", THREADING, 264), ("Queue.put", "/usr/lib/python3.11/queue.py", 133),
             ("feed", "/usr/lib/python3.11/site-packages/app.py", 5), ("Thread.run", THREADING, 975))
    line = report_of(where, 0.9, {inner: 950})
    assert "in feed (app.py:5) through Condition.__enter__ (threading.py:264), 2.70 s at least" in line


def test_several_places_are_named(where):
    """Up to three, the most first."""
    line = report_of(where, 0.93, {(("f", "/app/app.py", 7),): 600, (("g", "/app/app.py", 9),): 350})
    assert re.search(r"in f \(app\.py:7\), .* s; and g \(app\.py:9\), .* at least each\.$", line), line


def test_what_is_not_sure_is_told_as_such(where):
    """Half the time for a lock and half of it asleep: either place can have been the lock's."""
    line = report_of(where, 0.45, {(("guarded", "/app/app.py", 7),): 475, (("rests", "/app/app.py", 9),): 475})
    assert "do not tell" in line and "guarded (app.py:7), 1.4" in line and "rests (app.py:9), 1.4" in line


def test_without_stacks_it_says_so(where):
    """A place is not known without stacks."""
    assert report_of(where, 0.7, {}) == "Where they waited is not known: no stacks were taken of it."


PROGRAM = """
import threading, time
lock = threading.Lock()
end = time.time() + 2
def guarded():
    lock.acquire()
    time.sleep(0.004)
    lock.release()
def work():
    while time.time() < end:
        guarded()
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"""


@pytest.mark.few_pythons
@pytest.mark.parametrize("options", [(), ("--no-native",), ("--no-stacks",)], ids=lambda o: o[0] if o else "plain")
def test_a_program_is_told_where_it_waits(where, python, options):
    """Also where native frames do not tell, and on all interpreters: the line that acquires the lock, and not the sleep."""
    verdict = gs.run_code(python, PROGRAM, where, options=options).process["verdict"]
    assert verdict["class"] == "lock-bound", verdict
    line, = [line for line in verdict["evidence"] if re.search("waited for locks in|slept most|is not known", line)]
    if "--no-stacks" in options:
        assert "no stacks" in line
    else:
        assert re.search(r"waited for locks in guarded \([^)]*:6\), [^;]* at least\.$", line), verdict
