# SPDX-License-Identifier: MIT
"""Reads the stacks of a recording by itself (lib/record.h), so that what the shim wrote is seen as it is."""
import struct
from collections import defaultdict, namedtuple
from pathlib import Path

STRING, FRAME, OBJECT, STACK, THREAD = 6, 7, 8, 9, 2
WEIGHTS = ("wait", "charged", "held", "held_oncpu", "released", "released_oncpu")
PYTHON_CUT, NATIVE_CUT, NO_NATIVE, NO_PYTHON, GREENLET, CALLEE = 1, 2, 4, 8, 16, 32
LOSSES = ("no_space", "threads", "threads_folded", "pairs", "unexplained", "control", "gils", "clock", "names_unread",
          "stacks", "stacks_unread", "storage", "charges")

Frame = namedtuple("Frame", "function file line first_line entry")
# frames: Python frames, root first; native: addresses, innermost first; ns, samples: by WEIGHTS
Stack = namedtuple("Stack", "tid frames native flags generation ns samples longest_ns")
Object = namedtuple("Object", "path build_id start end bias first_generation end_generation")


class Stacks:
    """All that one file says of stacks."""

    def __init__(self, path):
        data = Path(path).read_bytes()
        assert data[:8] == b"GILSCOPE"
        used, = struct.unpack_from("<Q", data, 32)
        at, = struct.unpack_from("<I", data, 16)
        start_ticks, start_ns = struct.unpack_from("<Qq", data, 288)
        beat_ticks, beat_ns = struct.unpack_from("<Qq", data, 312)
        ns_per_tick = (beat_ns - start_ns) / max(1, beat_ticks - start_ticks)
        losses = struct.unpack_from("<32Q", data, 336)
        self.losses = dict(zip(LOSSES, losses))
        self.stacks, self.objects = [], []
        cells, tids, found = {}, {}, []
        while at + 8 <= used:
            size, kind, mark = struct.unpack_from("<IHH", data, at)
            if mark != 0x6752 or size == 0:
                at += 16
                continue
            if kind == STRING:
                length, = struct.unpack_from("<I", data, at + 12)
                cells[at // 16] = data[at + 16:at + 16 + length].decode("utf-8", "replace")
            elif kind == FRAME:
                function, file, line, first = struct.unpack_from("<4I", data, at + 8)
                cells[at // 16] = Frame(cells[function], cells[file], line, first, False)
            elif kind == THREAD:
                index, tid = struct.unpack_from("<2I", data, at + 12)
                tids[index] = tid
            elif kind == OBJECT:
                name, n = struct.unpack_from("<2I", data, at + 8)
                start, end, bias, first, last = struct.unpack_from("<3Q2I", data, at + 48)
                self.objects.append(Object(cells[name], data[at + 16:at + 16 + n].hex(), start, end, bias, first, last))
            elif kind == STACK:
                found.append(at)
            at += size
        for at in found:
            thread, _, n_native, n_python, flags, generation = struct.unpack_from("<6I", data, at + 8)
            ticks = struct.unpack_from("<8Q", data, at + 32)
            samples = struct.unpack_from("<8I", data, at + 96)
            native = struct.unpack_from(f"<{n_native}Q", data, at + 128)
            python = struct.unpack_from(f"<{n_python}I", data, at + 128 + 8 * n_native)
            frames = [cells[c & 0x7fffffff]._replace(entry=bool(c >> 31)) for c in reversed(python)]
            self.stacks.append(Stack(tids.get(thread), frames, native, flags, generation,
                                     {w: t * ns_per_tick for w, t in zip(WEIGHTS, ticks)},
                                     dict(zip(WEIGHTS, samples)), ticks[7] * ns_per_tick))

    def total(self, view, tid=None):
        """Sum of a view's weights, ns."""
        return sum(s.ns[view] for s in self.stacks if tid is None or s.tid == tid)

    def by_function(self, view, names, tid=None):
        """ns of a view by the innermost frame whose function's last name is one of names; "" = without."""
        sums = defaultdict(float)
        for s in self.stacks:
            if tid is not None and s.tid != tid:
                continue
            inner = [f.function.split(".")[-1] for f in reversed(s.frames)]
            sums[next((f for f in inner if f in names), "")] += s.ns[view]
        return sums

    def by_leaf(self, view):
        """ns of a view by the innermost frame."""
        sums = defaultdict(float)
        for s in self.stacks:
            leaf = s.frames[-1] if s.frames else None
            sums[(leaf.function, leaf.line) if leaf else None] += s.ns[view]
        return sums

    def object_at(self, address, generation=0):
        for o in self.objects:
            if o.start <= address < o.end and o.first_generation <= generation and \
                    (not o.end_generation or generation < o.end_generation):
                return o
        return None


def read(recording):
    """The stacks of a recording's only process."""
    assert len(recording.files) == 1, recording.files
    return Stacks(recording.files[0])
