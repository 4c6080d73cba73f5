# SPDX-License-Identifier: MIT
"""Recordings that look like those of programs: a model server, and one with as many stacks as one likes."""
import random

from helpers import makerec
from helpers.makerec import ENTRY

MS = 1000 * 1000
LIBPYTHON = ["_PyEval_EvalFrameDefault", "cfunction_call", "PyEval_SaveThread", "drop_gil", "Py_BytesMain"]
EXTENSION = ["parse_rows", "score_batch", "read_block"]
LIBC = ["nanosleep", "recv", "memcpy_avx"]


class Program:
    """A maker with an interpreter, an extension and a C library mapped, and Python code to be called."""

    def __init__(self, where, **kwargs):
        self.maker = makerec.Maker(**kwargs)
        self.at = {}
        for i, (name, functions) in enumerate([("libpython3.99.so", LIBPYTHON), ("_features.so", EXTENSION),
                                               ("libc.so.6", LIBC)]):
            path, addresses = makerec.library(where, name, functions)
            base = 0x7f0000000000 + i * 0x1000000
            self.maker.object(path, base, 0x100000, build_id=makerec.build_id(path))
            self.at.update({f: base + a for f, a in addresses.items()})

    def native(self, *names):
        return [self.at[n] for n in names]

    def python(self, *places):
        """Cells, innermost first, of (function, file, line, first line); the outermost was entered."""
        cells = [self.maker.frame(*place) for place in places]
        return [*cells[:-1], cells[-1] | ENTRY]


def place(function, file, line, first_line):
    return function, f"/srv/app/{file}", line, first_line


def model_server(where, hostile=()):
    """A server of six threads whose requests are held up by one function that keeps the GIL.  hostile: names of
    functions and a thread that are there as well."""
    program = Program(where, seconds=12.4, command=("python3", "/srv/app/modelserver.py", "--port", "8080"))
    make, rng = program.maker, random.Random(5)
    bootstrap = (place("Thread._bootstrap", "../lib/threading.py", 1002, 995),
                 place("Thread.run", "../lib/threading.py", 982, 970))
    outer = ["_PyEval_EvalFrameDefault", "Py_BytesMain"]
    workers = [make.thread(f"worker-{i}", held=2.6, blocked=6.9 + 0.1 * i, wakeup=0.5, charged=7.2 - 0.3 * i, cpu=1.1)
               for i in range(4)]
    main = make.thread("MainThread", held=0.12, blocked=0.7, charged=0.1, flags=1)
    log = make.thread("request-log", held=0.4, blocked=1.6, charged=0.9)
    for waiter in [*workers, main, log]:
        blocked = [t for t in make.threads if t["index"] == waiter][0]["wait_blocked_ticks"]
        holders = [w for w in workers if w != waiter]
        for holder in holders:
            part = blocked // len(holders) + (blocked % len(holders) if holder == holders[0] else 0)
            make.blocking(waiter, holder, part)
    work = [("Server.handle", "modelserver.py", 61, 55), ("Batcher.flush", "batching.py", 140, 131)]
    inner = [
        (0.44, [("tokenize", "features.py", 91, 88)], []),
        (0.16, [("tokenize", "features.py", 94, 88), ("<genexpr>", "features.py", 94, 94)], []),
        (0.14, [("load", "features.py", 30, 22)], ["parse_rows"]),
        (0.09, [("Model.predict", "model.py", 77, 70), ("softmax", "model.py", 41, 38)], []),
        (0.07, [("Model.predict", "model.py", 79, 70)], ["score_batch"]),
        (0.05, [("encode", "wire.py", 18, 12), ("JSONEncoder.iterencode", "../lib/json/encoder.py", 258, 230)], []),
        (0.05, [("<lambda>", "batching.py", 144, 144)], []),
    ]
    for worker in workers:
        for share, places, native in inner:
            weight = share * (1 + 0.2 * rng.random())
            chain = [*bootstrap, *[place(*w) for w in work], *[place(*p) for p in places]]
            make.stack(worker, program.python(*reversed(chain)), program.native(*reversed(native), *outer),
                       charged=weight * 6700 * MS, held=weight * 2500 * MS, held_oncpu=weight * 2400 * MS,
                       longest_hold=41 * MS if native else 5 * MS, samples=max(1, int(weight * 2500)))
            make.stack(worker, program.python(*reversed(chain)), program.native(*outer),
                       wait=weight * 7000 * MS, samples=max(1, int(weight * 7000)))
        base = [*bootstrap, *[place(*w) for w in work]]
        make.stack(worker, program.python(*reversed([*base, place("Model.predict", "model.py", 80, 70)])),
                   program.native("PyEval_SaveThread", "score_batch", *outer), released=1100 * MS,
                   released_oncpu=1050 * MS, samples=1100)
        make.stack(worker, program.python(*reversed([*base[:3], place("Connection.read", "wire.py", 44, 40)])),
                   program.native("recv", *outer), released=1000 * MS, samples=1000)
    make.stack(main, program.python(place("main", "modelserver.py", 120, 98), place("<module>", "modelserver.py", 130, 1)),
               program.native("nanosleep", *outer), released=11000 * MS, wait=700 * MS, held=120 * MS, charged=100 * MS,
               samples=700)
    make.stack(log, program.python(place("RequestLog.write", "log.py", 33, 20), *reversed(bootstrap)),
               program.native(*outer), released=10000 * MS, wait=1600 * MS, held=400 * MS, held_oncpu=300 * MS,
               charged=900 * MS, samples=400)
    for i, name in enumerate(hostile):
        make.stack(main, program.python((name, name, 1, 1), place("main", "modelserver.py", 121, 98)),
                   program.native(*outer), held=(20 + i) * MS, charged=(200 + i) * MS, wait=100 * MS,
                   released=100 * MS, samples=20)
    if hostile:
        make.thread(hostile[0], held=0.2, blocked=0.2)
    return make.write(where, "modelserver")


def many_stacks(where, n, depth=24, seed=1):
    """A recording with n distinct stacks: a tree of calls as programs have it, of 2000 functions in 60 files."""
    program = Program(where, seconds=60.0)
    make, rng = program.maker, random.Random(seed)
    places = [make.frame(f"Class{i % 97}.method_{i}", f"/srv/app/package/module_{i % 60}.py", 10 * i % 977 + 5,
                         10 * i % 977 + 1) for i in range(2000)]
    threads = [make.thread(f"thread-{i}", held=5, blocked=20, charged=20, cpu=10) for i in range(8)]
    loop = program.native("_PyEval_EvalFrameDefault", "Py_BytesMain")
    calls = {}
    for i in range(n):
        chain, node = [], ()
        for level in range(depth):
            # Few ways to go near the root, many further out.
            node = (*node[-3:], rng.randrange(1 + min(level * level // 8, 40)))
            calls.setdefault(node, rng.choice(places))
            chain.append(calls[node])
        chain.append(places[i % 2000])
        chain.append(places[i // 2000])
        chain.reverse()
        weight = MS * (1 + i % 7)
        make.stack(threads[i % 8], [*chain[:-1], chain[-1] | ENTRY], loop, wait=weight, charged=weight, held=weight,
                   held_oncpu=weight, released=weight, released_oncpu=weight // 2)
    return make.write(where, f"many-{n}")
