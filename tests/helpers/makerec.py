# SPDX-License-Identifier: MIT
"""Writes recordings by lib/record.h, with stacks of any shape and number: what reports are tested with."""
import importlib.util
import struct
import subprocess
from pathlib import Path

from helpers import gs

HEADER_BYTES, CELL, MARK = 4096, 16, 0x6752
START = 1000 * 1000 * 1000
TYPES = {"rec_gil": 1, "rec_thread": 2, "rec_hist_block": 3, "rec_row": 4, "rec_text": 5, "rec_string": 6,
         "rec_frame": 7, "rec_object": 8, "rec_stack": 9}
ENTRY = 0x80000000
FORMATS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
WEIGHTS = {"wait": 0, "charged": 1, "held": 2, "held_oncpu": 3, "released": 4, "released_oncpu": 5, "longest_hold": 7}
PYTHON_CUT, NATIVE_CUT, NO_NATIVE = 1, 2, 4
LONGEST_CALL = 6 # among the counts


def _layout():
    spec = importlib.util.spec_from_file_location("manual_tables", gs.REPO / "scripts" / "manual-tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Layout((gs.REPO / "lib" / "record.h").read_text(encoding="utf-8"))


class Layouts:
    """{struct: ({field: (offset, size of an element)}, size)}"""

    def __init__(self):
        layout = _layout()
        self.structs = {}
        for name in ("rec_header", *TYPES):
            fields, end = {}, 8
            for offset, size, alignment, declaration, _ in layout.fields(name):
                if offset is not None:
                    fields[declaration.split("[")[0]] = (offset, alignment)
                    end = max(end, offset + size)
            self.structs[name] = (fields, end + -end % CELL if name == "rec_thread" else end)


LAYOUTS = Layouts()


def _put(to, struct_name, **values):
    """Sets fields of a struct that begins at the start of to: numbers, lists of numbers, bytes."""
    fields = LAYOUTS.structs[struct_name][0]
    for field, value in values.items():
        offset, size = fields[field]
        if isinstance(value, bytes):
            to[offset:offset + len(value)] = value
            continue
        for i, number in enumerate(value if isinstance(value, (list, tuple)) else [value]):
            struct.pack_into(FORMATS[size], to, offset + i * size, number)


class Maker:
    """A recording under construction.  A tick is 1 ns."""

    def __init__(self, seconds=1.0, command=("python3", "app.py"), pid=4242, cpus=2):
        self.parts, self.used = [], HEADER_BYTES
        self.strings, self.frames, self.objects = {}, {}, []
        self.threads, self.n_threads = [], 0
        self.end = START + int(seconds * 1e9)
        self.header = bytearray(HEADER_BYTES)
        _put(self.header, "rec_header", magic=b"GILSCOPE", endian=0x01020304, version=1, version_min=1,
             header_bytes=HEADER_BYTES, source=1, clock=1, pid=pid, ppid=1, cpus=cpus, complete=1,
             python_version=b"3.11.2", host=b"host", boot_id=b"no boot of this machine", proc_start_jiffies=77,
             start_realtime_ns=1700000000123000000, start_ticks=START, start_mono_ns=START, beat_ticks=self.end,
             beat_mono_ns=self.end, end_ticks=self.end)
        text = b"".join(a.encode() + b"\0" for a in command)
        self.record("rec_text", text, kind=1, length=len(text))
        self.gil = dict(index=0, start_ticks=START, interval_us=5000)

    def put_header(self, **values):
        """Sets fields of the header."""
        _put(self.header, "rec_header", **values)

    def record(self, struct_name, tail=b"", **values):
        """Appends a record; returns its cell."""
        size = LAYOUTS.structs[struct_name][1] + len(tail)
        size += -size % CELL
        part = bytearray(size)
        struct.pack_into("<IHH", part, 0, size, TYPES[struct_name], MARK)
        _put(part, struct_name, **values)
        part[LAYOUTS.structs[struct_name][1]:LAYOUTS.structs[struct_name][1] + len(tail)] = tail
        self.parts.append(part)
        cell = self.used // CELL
        self.used += size
        return cell

    def thread(self, name, held=0.0, blocked=0.0, wakeup=0.0, charged=0.0, cpu=0.0, **values):
        """Adds a thread that lived all the time, its times in seconds; returns its number."""
        self.n_threads += 1
        ns = {key: int(value * 1e9) for key, value in
              (("held_ticks", held), ("wait_blocked_ticks", blocked), ("wait_wakeup_ticks", wakeup),
               ("charged_ticks", charged))}
        ns["released_ticks"] = self.end - START - ns["held_ticks"] - ns["wait_blocked_ticks"] - ns["wait_wakeup_ticks"]
        ns.update(cpu_exact_held_ns=int(held * 1e9), cpu_exact_held_ticks=ns["held_ticks"],
                  cpu_exact_released_ns=int(cpu * 1e9), cpu_exact_released_ticks=ns["released_ticks"])
        ns.update(values)
        self.threads.append({"index": self.n_threads, "tid": 100 + self.n_threads, "name": name.encode()[:63],
                             "start_ticks": START, "end_ticks": self.end, "state": 5, "state_ticks": self.end,
                             "cpu_last_ns": 1, "cpu_end_ns": 1, "gil": 0, **ns})
        return self.n_threads

    def blocking(self, waiter, holder, ns):
        """Adds an entry to a thread's row of the matrix."""
        values = self.threads[waiter - 1]
        values["row"] = self.record("rec_row", next=values.get("row", 0), owner=waiter, holder=[holder],
                                    blocked_ticks=[int(ns)])

    def string(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        if data not in self.strings:
            self.strings[data] = self.record("rec_string", data, length=len(data))
        return self.strings[data]

    def frame(self, function, file="/app/app.py", line=1, first_line=1):
        key = (function, file, line, first_line)
        if key not in self.frames:
            self.frames[key] = self.record("rec_frame", function=self.string(function), file=self.string(file),
                                           line=line, first_line=first_line)
        return self.frames[key]

    def object(self, path, start, size, bias=None, build_id=b"", first=0, end=0):
        self.record("rec_object", path=self.string(str(path)), build_id=build_id, build_id_bytes=len(build_id),
                    start=start, end=start + size, bias=start if bias is None else bias, first_generation=first,
                    end_generation=end)

    def stack(self, thread, python=(), native=(), flags=0, generation=0, samples=1, longest_call_us=0, **weights):
        """Adds a stack.  python, native: the innermost first; python: cells, with ENTRY; weights in ns, by name."""
        ticks, counts = [0] * 8, [0] * 8
        for name, value in weights.items():
            ticks[WEIGHTS[name]] = int(value)
            counts[WEIGHTS[name]] = samples
        counts[LONGEST_CALL] = longest_call_us
        tail = struct.pack(f"<{len(native)}Q{len(python)}I", *native, *python)
        self.record("rec_stack", tail, thread=thread, n_native=len(native), n_python=len(python),
                    flags=flags | (0 if native else NO_NATIVE), generation=generation, weight_ticks=ticks,
                    samples=counts)

    def write(self, where, name="made"):
        """Writes NAME.gilscope/one.gil; returns the directory."""
        total = {key: sum(t[key] for t in self.threads) for key in
                 ("held_ticks", "wait_blocked_ticks", "wait_wakeup_ticks")}
        self.record("rec_gil", held_base_ticks=total["held_ticks"], wait_blocked_ticks=total["wait_blocked_ticks"],
                    wait_wakeup_ticks=total["wait_wakeup_ticks"], **self.gil)
        for thread in self.threads:
            self.record("rec_thread", **thread)
        _put(self.header, "rec_header", used_bytes=self.used, reserved_bytes=self.used, n_threads=self.n_threads)
        directory = Path(where) / f"{name}.gilscope"
        directory.mkdir()
        with open(directory / "one.gil", "wb") as out:
            out.write(self.header)
            for part in self.parts:
                out.write(part)
        return directory


def library(where, name, functions, *options):
    """A shared object NAME with these functions; returns (path, {function: an address in it, as a return address})."""
    source = Path(where) / f"{name}.c"
    source.write_text("".join(f"int {f}(int a); int {f}(int a) {{ volatile int b = a; return b * {i + 2}; }}\n"
                              for i, f in enumerate(functions)))
    path = Path(where) / name
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-Wl,--build-id", "-o", path, source, *options], check=True)
    listing = subprocess.run(["nm", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    addresses = {line.split()[2]: int(line.split()[0], 16) + 4 for line in listing.splitlines()
                 if len(line.split()) == 3}
    return path, {f: addresses[f] for f in functions}


def build_id(path):
    """The build id of an ELF file."""
    notes = subprocess.run(["readelf", "-n", path], check=True, stdout=subprocess.PIPE, text=True).stdout
    return bytes.fromhex(notes.split("Build ID:")[1].split()[0])
