# SPDX-License-Identifier: MIT
"""Recordings that are read while they are written, changed or cut short: every report comes to its end, says what is
possible, and no reader dies of it."""
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from helpers import gs, sums
from helpers.pauses import Live

READS = 150 if gs.FULL else 40
FORMATS = ("text", "json", "html", "folded", "svg", "speedscope", "pprof")
LOOP = """
import sys, threading, time
lock = threading.Lock()
def work(n):
    while True:
        with lock: sum(range(300))
        if n % 2: time.sleep(0.0005)
def brief():
    while True:
        t = threading.Thread(target=sum, args=(range(500),))
        t.start(); t.join()
for n in range(4): threading.Thread(target=work, args=(n,), daemon=True).start()
threading.Thread(target=brief, daemon=True).start()
print("begun", flush=True)
sys.stdin.readline()
"""
# Changes a file for ever: bits, words, its length; now and then all is as it was.
DAMAGE = """
import os, random, sys
path, choose = sys.argv[1], random.Random(int(sys.argv[2]))
whole = open(path, "rb").read()
file = os.open(path, os.O_RDWR)
used = int.from_bytes(whole[32:40], "little") # rec_header.used_bytes
print("begun", flush=True)
while True:
    what, at = choose.randrange(8), choose.randrange(choose.choice((4096, used)) - 8)
    if what == 0: os.ftruncate(file, choose.randrange(used))
    elif what == 1: os.pwrite(file, whole, 0)
    elif what == 2: os.pwrite(file, choose.randbytes(8), at & ~7)
    elif what == 3: os.pwrite(file, choose.choice((b"\\0" * 8, b"\\xff" * 8, whole[:8])), at & ~7)
    elif what == 4: os.ftruncate(file, len(whole) * 2)
    else: os.pwrite(file, bytes([whole[at] ^ 1 << choose.randrange(8)]), at)
"""


@pytest.fixture
def live(one_python, where):
    """A running program and its recording."""
    recording = where / "live.gilscope"
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={recording}"})
    with subprocess.Popen([one_python.path, "-c", LOOP], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "begun\n"
        try:
            yield process, recording
        finally:
            process.kill()


def test_read_while_it_is_written(live):
    """Reports on a running program add up, and what they count only grows."""
    _, recording = live
    before = {}
    for _ in range(READS):
        (process,) = gs.report(recording)["processes"]
        # Two readers of one thing: the one that came first may have missed a release or a take that was half written.
        assert not [w for w in sums.check(process, open_intervals=True) if "negative" in w]
        counts = {t["tid"]: (t["acquisitions"], t["contended"], t["wall_ns"]) for t in process["threads"] if t["tid"]}
        for tid in set(before) & set(counts):
            # Times are less certain than counts: the clock is calibrated anew all the time.
            assert all(a <= b + 1000 + b // 10000 for a, b in zip(before[tid], counts[tid])), (before, counts)
            assert before[tid][:2] <= counts[tid][:2], (before, counts)
        assert not {"truncated", "damaged_bytes"} & set(process["losses"]), process["losses"]
        before = counts


ENDING = """
import os, sys, threading, time
zero = os.open("/dev/zero", os.O_RDONLY)
def some(n):
    for _ in range(1000): os.read(zero, 1)
    done.release()
    go.wait()
    time.sleep(n * 0.005)
done, go = threading.Semaphore(0), threading.Event()
for n in range(400): threading.Thread(target=some, args=(n,)).start()
for n in range(400): done.acquire()
print("begun", flush=True)
go.set()
sys.stdin.readline()
"""


def test_what_a_gil_counts_only_grows(one_python, where):
    """Threads that end add what they counted to their GIL's: it is in every report once."""
    recording = where / "live.gilscope"
    env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={recording}"})
    before = {}
    with subprocess.Popen([one_python.path, "-c", ENDING], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "begun\n"
        for _ in range(10):
            (gil,) = gs.report(recording)["processes"][0]["gils"]
            counts = {key: gil[key] for key in ("acquisitions", "contended")}
            assert not [key for key in before if counts[key] < before[key]], (before, counts)
            before = counts
        process.kill()


def read_all_ways(path, n):
    """One report or dump, which must come to its end by itself."""
    command = ("dump", path) if n % 8 == 7 else ("report", "-f", FORMATS[n % 8], path)
    done = subprocess.run([str(gs.BIN), *map(str, command)], env=gs.clean_env(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode in (0, 1, 4), (command, done.returncode, done.stderr[-3000:])
    assert done.returncode == 0 or done.stderr or done.stdout, command
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr[-3000:]
    return done


def test_read_while_it_is_damaged(live, where):
    """A file that another process changes and cuts meanwhile: a report, or an error that says what is wrong."""
    _, recording = live
    time.sleep(0.3)
    (file,) = recording.glob("*.gil")
    copy, seed = where / "copy.gil", random.SystemRandom().randrange(1 << 32)
    shutil.copy(file, copy)
    statuses, hurt = {}, 0
    with subprocess.Popen([sys.executable, "-c", DAMAGE, str(copy), str(seed)], stdout=subprocess.PIPE) as damage:
        assert damage.stdout.readline() == b"begun\n"
        try:
            for n in range(READS):
                done = read_all_ways(copy, n)
                statuses[done.returncode] = statuses.get(done.returncode, 0) + 1
                hurt += b"damaged" in done.stdout or b"truncated" in done.stdout or done.returncode != 0
        finally:
            damage.kill()
    print(f"seed {seed}: {statuses}, {hurt} with damage")
    assert hurt and 0 in statuses, f"seed {seed}: it was not damaged, or never whole: {statuses}, {hurt}"


def test_the_running_programs_own_file_is_cut(live):
    """The live file itself is cut short again and again: readers and the program live on."""
    process, recording = live
    (file,) = recording.glob("*.gil")
    choose = random.Random(1)
    for n in range(READS // 2):
        with open(file, "r+b") as out:
            out.truncate(choose.randrange(file.stat().st_size + 1))
        read_all_ways(file, n)
        assert process.poll() is None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(timeout=60) == 0


NATIVE = """
import ctypes, sys, threading
work = ctypes.CDLL(sys.argv[1]).work
threads = [threading.Thread(target=work, args=(60000000,)) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
"""
REBUILD = """
import os, sys, time
path, n = sys.argv[1], 0
whole = open(path, "rb").read()
file = os.open(path, os.O_RDWR)
print("begun", flush=True)
while True:
    n = (n + 997) % len(whole)
    os.ftruncate(file, n)
    time.sleep(0.0005)
    os.pwrite(file, whole, 0)
    time.sleep(0.0005)
"""


def test_a_symbol_file_is_cut(one_python, where):
    """A library that is built anew while a report looks up its symbols costs names, no more."""
    source, library = where / "work.c", where / "libwork.so"
    others = "".join(f"int other_{n}(int x);\nint other_{n}(int x) {{ return x + {n}; }}\n" for n in range(3000))
    source.write_text(others + "void work(int n);\nvoid work(int n) { while (n--) __asm__ volatile(\"\"); }\n")
    gs.compile_c(source, library, "-shared", "-fPIC", "-Wl,--build-id=none")
    recording = gs.run_code(one_python, NATIVE, where, args=(library,)).dir
    assert "work" in gs.gilscope("report", "-f", "folded", "--view", "released", recording).stdout
    with subprocess.Popen([sys.executable, "-c", REBUILD, str(library)], stdout=subprocess.PIPE) as damage:
        assert damage.stdout.readline() == b"begun\n"
        try:
            for n in range(READS):
                assert read_all_ways(recording, n % 7).returncode == 0
        finally:
            damage.kill()


def test_json_of_a_live_file_is_whole(live):
    """Whatever is read, JSON is JSON."""
    _, recording = live
    for _ in range(5):
        done = gs.gilscope("report", "-f", "json", recording)
        assert done.returncode == 0 and json.loads(done.stdout)["schema"] == gs.SCHEMA


CHURN = """
import os, sys, threading, time
def short():
    sum(range(200)); time.sleep(0.0005); sum(range(200))
def make():
    while True:
        some = [threading.Thread(target=short) for _ in range(8)]
        for t in some: t.start()
        for t in some: t.join()
for _ in range(2): threading.Thread(target=make, daemon=True).start()
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


def test_each_of_very_many_threads_is_counted_once(one_python, where):
    """Threads whose figures move to the record that stands for many while a report reads them are in it once, and no
    record that has been emptied for the next thread is taken for one."""
    script = where / "churn.py"
    script.write_text(CHURN)
    n = last = 0
    with Live([one_python.path, str(script)], where, paused=False) as live:
        while n < 10:
            (process,) = gs.report(live.dir)["processes"]
            threads, gil = process["threads"], process["gils"][0]
            many = [t for t in threads if t["name"] == "(ended threads)"]
            assert [t for t in threads if not t["tid"]] == many
            if not many:
                continue
            # Of some 16 threads that are alive at a time, each of which takes the GIL a few times, one may have begun and
            # ended since the file was read.
            for key in "acquisitions", "contended":
                assert abs(gil[key] - sum(t[key] for t in threads)) <= 30, (key, n)
            assert gil["acquisitions"] >= last
            last = gil["acquisitions"]
            n += 1
            # A line for each two, and one for those that are not known.
            pairs = Counter((p["waiter_tid"], p["holder_tid"]) for p in process["blocking"])
            assert all(count <= (1 if holder else 2) for (_, holder), count in pairs.items()), pairs
