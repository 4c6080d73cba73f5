#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of the fuzzer's corpus: small recordings that have a bit of everything.

    make-seeds.py [DIRECTORY]     tests/fuzz/corpus unless told otherwise
"""
import shutil
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import makerec  # noqa: E402  (needs the path above)

RING = 8  # changes of holder in the seeds' GILs: the whole ring is larger than all the rest


def small_gils():
    """GILs without most of their ring: as a file that is cut in the middle of its last record."""
    fields, _ = makerec.LAYOUTS.structs["rec_gil"]
    makerec.LAYOUTS.structs["rec_gil"] = (fields, fields["ring"][0] + RING * 24)


def hist(maker, owner, wraps=0):
    return maker.record("rec_hist_block", owner=owner, wraps=wraps, count=list(range(16)))


def row(maker, owner, *pairs, following=0):
    return maker.record("rec_row", owner=owner, next=following, holder=[h for h, _ in pairs],
                        blocked_ticks=[int(ns) for _, ns in pairs])


def change(holder, held_base, ticks):
    return struct.pack("<IIQQ", holder, 0, held_base, ticks)


def contended(where, **header):
    """Threads that wait for each other: rows, histograms, stacks of both kinds."""
    maker = makerec.Maker(command=("python3", "-X", "dev", "app.py", "a b", "\x1b[2J"))
    makerec._put(maker.header, "rec_header", **header)
    first = maker.thread("main", held=0.5, blocked=0.3, wakeup=0.01, charged=0.25, cpu=0.1, flags=5)
    second = maker.thread("worker\x1b]0;x\x07 <b>", held=0.4, blocked=0.25, charged=0.3, contended=100,
                          lock_wait_ticks=10 ** 7, forced_switches=3, lost_wakeups=2)
    blocks = [hist(maker, first), hist(maker, second)]
    blocks.append(hist(maker, second, wraps=blocks[0]))
    for thread, other, block in ((0, 2, blocks[0]), (1, 1, blocks[2])):
        long_row = row(maker, thread + 1, (0, 5), (other, 10 ** 6))
        maker.threads[thread]["row"] = row(maker, thread + 1, (other, 2.5e8), (thread + 1, 7), following=long_row)
        maker.threads[thread]["hist"] = b"".join(
            struct.pack("<QQQ44I", 100, 10 ** 8, 10 ** 7, *[block if octave == 20 else 0 for octave in range(44)])
            for _ in range(4))
    maker.object("/usr/lib/libpython3.11.so.1.0", 0x7f0000000000, 0x400000, build_id=b"0123456789abcdef0123")
    maker.object("/app/_fast.so", 0x7f1000000000, 0x10000, first=0, end=3)
    maker.object("/app/_fast2.so", 0x7f1000000000, 0x10000, first=3)
    frames = [maker.frame("work", "/app/app.py", line, 10) for line in (12, 13)]
    root = maker.frame("<module>", "/app/app.py", 40)
    odd = maker.frame(b"na\xffme;\"<script>", b"/app/\xe2\x80\xae.py", 0)
    native = [0x7f1000000010, 0x7f0000001000, 0x1000, 0x7f0000002000]
    maker.stack(first, [frames[0] | makerec.ENTRY, root | makerec.ENTRY], native, wait=3e8, charged=2.5e8, held=5e8,
                held_oncpu=4e8, longest_hold=10 ** 7, samples=400)
    maker.stack(second, [frames[1], odd, root | makerec.ENTRY], native[1:], generation=3, released=1e8, samples=90,
                released_oncpu=5e7, held=4e8, charged=3e8)
    maker.stack(second, [frames[1], root], [], flags=makerec.PYTHON_CUT, wait=2.5e8)
    maker.stack(99, [], native, flags=makerec.NATIVE_CUT, held=1e6)
    maker.gil.update(holder=2, n_changes=4, n_waiters=1, waiters_ticks=10 ** 8, waiters_at_ticks=maker.end,
                     contended=100, acquisitions=50, drop_requests=20, lost_wakeups=2, forced_switches=3,
                     ring=b"".join(change(1 + i % 2, i * 10 ** 7, makerec.START + i * 10 ** 8) for i in range(4)))
    maker.write(where)


def inside(where):
    """What was seen of holds from outside; as the fuzzer reads it, it is the recording that this belongs to as well."""
    maker = makerec.Maker()
    makerec._put(maker.header, "rec_header", source=4)
    first, second = maker.thread("main", held=0.5, charged=0.25), maker.thread("worker", held=0.4, blocked=0.25)
    maker.object("/app/_fast.so", 0x7f1000000000, 0x10000)
    work, root = maker.frame("work", "/app/app.py", 12, 10), maker.frame("<module>", "/app/app.py", 40)
    maker.stack(first, [work, root | makerec.ENTRY], [], held=4e8, charged=2e8, held_oncpu=3e8, samples=200)
    maker.stack(first, [work, root | makerec.ENTRY], [0x7f1000000010], flags=makerec.NATIVE_CUT, held=1e8, charged=5e7,
                released=1e3, samples=40)
    maker.stack(first, [root | makerec.ENTRY], [0x7f1000000021], flags=32, held=1e8, samples=30)
    maker.stack(second, [work, root | makerec.ENTRY], [], held=2e8, samples=9)
    maker.stack(second, [], [], released=1e8, held=2e8, samples=8)
    maker.write(where)


def alive(where):
    """A process that was killed: no end, open intervals of all states, two interpreters, ended threads, pauses."""
    maker = makerec.Maker(pid=77)
    makerec._put(maker.header, "rec_header", end_ticks=0, complete=0, clock=2, beat_mono_ns=makerec.START + 2 * 10 ** 9,
                 n_toggles=3, toggle_ticks=[makerec.START + 10 ** 8 * i for i in (1, 2, 9)], losses=[1, 2, 3, 0, 5],
                 python_hex=0x030b02f0, python_version=b"\0" * 8)
    for state in range(6):
        maker.thread(f"state {state}", held=0.1, state=state, end_ticks=0 if state < 5 else makerec.START + 10 ** 8,
                     state_ticks=makerec.START + 5 * 10 ** 8, n_toggles=2, gil=state % 2, late=state == 3,
                     late_wait_ticks=1000, late_hold_ticks=55, lock_open_ticks=makerec.START + 5 if state == 1 else 0)
    maker.thread("(ended threads)", flags=2, folded=1000, folded_wall_ticks=10 ** 12, held=0.2)
    maker.gil.update(index=1, holder=3, n_toggles=2, paused_ticks=10 ** 8, end_ticks=makerec.START + 10 ** 8)
    maker.record("rec_gil", index=0, start_ticks=makerec.START, holder=2, n_waiters=2, hold_waiters_ticks=5)
    text = b"the disk is full\x9b2J"
    maker.record("rec_text", text, kind=2, length=len(text))
    maker.record("rec_text", b"new", kind=9, length=3)
    maker.write(where)


def bare(where):
    """Nothing but the least of everything."""
    maker = makerec.Maker(seconds=0.001, command=())
    maker.thread("")
    maker.write(where)


def main():
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "corpus")
    small_gils()
    for make in (contended, inside, alive, bare):
        with tempfile.TemporaryDirectory() as where:
            make(where)
            shutil.copy(Path(where) / "made.gilscope" / "one.gil", target / f"{make.__name__}.gil")


main()
