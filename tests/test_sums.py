# SPDX-License-Identifier: MIT
"""Whatever a program does, what gilscope says of it adds up."""
import json

import pytest

from helpers import gs, sums

WORK = """
import hashlib, os, queue, random, socket, sys, threading, time, zlib
"""
PROGRAMS = {
    "everything at once": WORK + """
end = time.monotonic() + 1
lock = threading.Lock()
q = queue.Queue(4)
data = os.urandom(1 << 20)
def python():
    while time.monotonic() < end: sum(i * i for i in range(1000))
def hashing():
    while time.monotonic() < end: hashlib.sha256(data).digest()
def locking():
    while time.monotonic() < end:
        with lock: sum(range(500))
def putting():
    while time.monotonic() < end: q.put(1)
    q.put(None)
def getting():
    while q.get() is not None: pass
def sleeping():
    while time.monotonic() < end: time.sleep(0.0005)
def talking():
    a, b = socket.socketpair()
    while time.monotonic() < end:
        a.send(b"x"); b.recv(1)
threads = [threading.Thread(target=f) for f in (python, hashing, locking, locking, putting, getting, sleeping, talking)]
for t in threads: t.start()
for t in threads: t.join()
""",
    "many short threads": WORK + """
def short(): sum(range(1000))
for _ in range(30):
    threads = [threading.Thread(target=short) for _ in range(20)]
    for t in threads: t.start()
    for t in threads: t.join()
""",
    "errors and signals": WORK + """
import signal
hits = []
signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
def work():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        try: time.sleep(0.002); sum(range(3000)); {}["missing"]
        except KeyError: pass
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
work()
for t in threads: t.join()
signal.setitimer(signal.ITIMER_REAL, 0)
assert hits
""",
    "short switch interval": WORK + """
sys.setswitchinterval(1e-5)
end = time.monotonic() + 0.5
def python():
    while time.monotonic() < end: sum(range(100))
threads = [threading.Thread(target=python) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
""",
    "nothing": "",
}


@pytest.mark.parametrize("program", [pytest.param(name, marks=() if name == "everything at once" else pytest.mark.few_pythons)
                                     for name in PROGRAMS])
def test_sums(python, program, where):
    """States, matrix, charged times, histograms and counts add up, and nothing is lost."""
    process = gs.run_code(python, PROGRAMS[program], where).process
    wrong = sums.check(process)
    assert not wrong, "\n".join(wrong)
    # One thread's row names some 140 holders; waits for more of them are charged to nobody by name.
    expected = {"pairs"} if program == "many short threads" else set()
    # A sample is dropped if the thread that enters another one loses its processor meanwhile, and a look from outside if
    # the frames that it reads are gone before it has read them all.
    few = {"stacks", "stacks_unread"}
    assert set(process["losses"]) <= expected | few, process["losses"]
    assert all(process["losses"].get(kind, 0) <= 5 for kind in few), process["losses"]
    assert process["complete"]


@pytest.mark.few_pythons
def test_many_threads(python, where):
    """A program with more threads, over its life, than a recording describes one by one: what was folded is counted."""
    recording = gs.run_code(python, """
import threading
def short(): pass
for _ in range(5000):
    t = threading.Thread(target=short); t.start(); t.join()
""", where)
    process = recording.process
    wrong = sums.check(process)
    assert not wrong, "\n".join(wrong)
    # Every thread takes the GIL at least once.
    assert process["gils"][0]["acquisitions"] >= 5000
    assert len(process["threads"]) + process["losses"].get("threads_folded", 0) >= 5001


@pytest.mark.parametrize("seconds", [0.3, 2.5])
def test_size_does_not_grow_with_time(one_python, seconds, where):
    """A recording's size depends on its threads, not on how long it ran."""
    recording = gs.run_code(one_python, f"""
import threading, time
end = time.monotonic() + {seconds}
def work():
    while time.monotonic() < end: sum(range(1000)); time.sleep(0)
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
""", where)
    (file,) = recording.files
    assert file.stat().st_blocks * 512 < (2 << 20) + 5 * 4096 * 4


@pytest.mark.few_pythons
def test_switch_interval_is_reported(python, where):
    """The switch interval is the one in use."""
    process = gs.run_code(python, """
import sys, threading
sys.setswitchinterval(0.002)
def spin(): sum(range(2000000))
threads = [threading.Thread(target=spin) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
""", where).process
    assert process["switch_interval_ns"] == 2000000


def test_subinterpreters_have_gils_of_their_own(python, where):
    """From Python 3.12 on, interpreters with their own GIL run beside each other, and each GIL is measured."""
    if python.version < (3, 12):
        pytest.skip("all interpreters share one GIL before Python 3.12")
    process = gs.run_code(python, """
import sys, threading
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    make = lambda: interpreters.create("isolated")
else:
    import _xxsubinterpreters as interpreters
    make = lambda: interpreters.create(isolated=True)
code = '''
import time
end = time.monotonic() + 0.4
while time.monotonic() < end: sum(range(1000))
'''
def run():
    interpreter = make()
    interpreters.run_string(interpreter, code)
    interpreters.destroy(interpreter)
threads = [threading.Thread(target=run) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
""", where).process
    wrong = sums.check(process)
    assert not wrong, "\n".join(wrong)
    assert sorted(g["interpreter"] for g in process["gils"])[:3] == [0, 1, 2]
    for g in process["gils"][1:]:
        assert g["held_ns"] > 0.3e9, process["gils"]
        assert g["wait_ns"] < 0.05e9


def test_report_of_the_report(one_python, where):
    """Reporting the same ended recording twice gives the same document."""
    recording = gs.run_code(one_python, PROGRAMS["everything at once"], where)
    assert json.dumps(gs.report(recording.dir)) == json.dumps(gs.report(recording.dir))
