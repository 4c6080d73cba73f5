# SPDX-License-Identifier: MIT
"""What is given for a recording and is none, or none of ours: one line each, and the exit status of the manual."""
import os
import struct
import subprocess
import time

import pytest

from helpers import gs, makerec

VERSION, VERSION_MIN, ENDIAN = 12, 14, 8  # offsets in the header


def made(where, **header):
    """A good recording's file."""
    maker = makerec.Maker()
    maker.thread("main", held=0.1)
    file = maker.write(where) / "one.gil"
    return file


def patched(where, offset, data):
    file = made(where)
    with open(file, "r+b") as out:
        out.seek(offset)
        out.write(data)
    return file


def write(where, data):
    (where / "x.gil").write_bytes(data)
    return where / "x.gil"


def fifo(where):
    os.mkfifo(where / "x.gil")
    return where / "x.gil"


def dangling(where):
    (where / "x.gil").symlink_to(where / "nothing")
    return where / "x.gil"


def loop(where):
    (where / "x.gil").symlink_to(where / "x.gil")
    return where / "x.gil"


BAD = {
    "a newer format": (lambda w: patched(w, VERSION, struct.pack("<HH", 99, 99)),
                       "its format is version 99 and this gilscope reads up to 3; use a newer one"),
    "an older format": (lambda w: patched(w, VERSION, struct.pack("<HH", 0, 0)), "use an older one"),
    "the other byte order": (lambda w: patched(w, ENDIAN, struct.pack(">I", 0x01020304)),
                             "it is from a machine of the other byte order; report on it there"),
    "a foreign file": (lambda w: write(w, b"\x7fELF" + bytes(8192)), "it is not a recording of gilscope"),
    "text": (lambda w: write(w, b"hello\n"), "it is not a recording of gilscope"),
    "an empty file": (lambda w: write(w, b""), "it is not a recording of gilscope"),
    "the magic alone": (lambda w: write(w, b"GILSCOPE"), "it ends within its header"),
    "half a header": (lambda w: write(w, made(w).read_bytes()[:300]), "it ends within its header"),
    "a damaged header": (lambda w: patched(w, 16, struct.pack("<I", 7)), "its header is damaged"),
    "a FIFO": (fifo, "it is not a regular file"),
    "a device": (lambda w: "/dev/zero", "it is not a regular file"),
    "nothing": (lambda w: w / "nothing.gil", "No such file or directory"),
    "a dangling link": (dangling, "No such file or directory"),
    "a link to itself": (loop, "Too many levels of symbolic links"),
    "a file as a directory": (lambda w: made(w) / "x.gil", "Not a directory"),
}


def one_line(done, expected, status=1):
    lines = done.stderr.splitlines()
    assert done.returncode == status, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("gilscope: cannot ") and expected in lines[0], done.stderr


@pytest.mark.parametrize("command", ["report", "dump"])
@pytest.mark.parametrize("what", BAD)
def test_bad_files(what, command, where):
    """Each is refused at once, in one line that says why, with status 1 and nothing on stdout."""
    make, expected = BAD[what]
    done = gs.gilscope(command, make(where), timeout=10)
    one_line(done, expected)
    assert done.stdout == ""


@pytest.mark.parametrize("format", ["text", "json", "html", "folded", "svg", "speedscope", "pprof"])
def test_every_format_refuses_in_one_line(format, where):
    """Whatever the format, stdout stays empty; in JSON the line on stderr is a document."""
    done = gs.gilscope("report", "-f", format, write(where, b"no recording"))
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert "it is not a recording of gilscope" in done.stderr
    assert done.stderr.startswith('{"schema":"gilscope.error/1"' if format == "json" else "gilscope: ")


def test_no_permission(where):
    """A recording that belongs to somebody else is refused in one line."""
    file = made(where)
    where.chmod(0o755)
    file.chmod(0o600)
    become = {}
    if os.geteuid() == 0:
        for directory in (file.parent, *where.parents[:3]):
            directory.chmod(directory.stat().st_mode | 0o055)
        if not all(d.stat().st_mode & 0o001 for d in (gs.BIN.parent, *gs.BIN.parent.parents)):
            pytest.skip(f"an ordinary user cannot reach {gs.BIN}")
        become = {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        file.chmod(0)
    done = subprocess.run([str(gs.BIN), "report", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=gs.clean_env(), check=False, **become)
    one_line(done, "Permission denied")


def test_a_directory_without_recordings(where):
    """A directory in which there is no recording has status 3; a directory that is not there 1."""
    done = gs.gilscope("report", where)
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1 and "no Python process was recorded" in done.stderr
    one_line(gs.gilscope("report", where / "nothing.gilscope"), "No such file or directory")


def test_one_bad_file_among_good_ones(where):
    """What can be read is reported; the rest is told, and the status is 4."""
    good = made(where)
    bad = write(good.parent, b"no recording")
    done = gs.gilscope("report", "-f", "json", good.parent)
    assert done.returncode == 4 and '"pid": 4242' in done.stdout
    assert done.stderr.count("\n") == 1 and bad.name in done.stderr


def test_a_fifo_with_a_writer_is_not_waited_for(where):
    """A FIFO that nobody fills does not stop a report on the directory that it lies in."""
    good = made(where)
    os.mkfifo(good.parent / "x.gil")
    keep = os.open(good.parent / "x.gil", os.O_RDWR)
    began = time.monotonic()
    done = gs.gilscope("report", "-f", "json", good.parent, timeout=20)
    os.close(keep)
    assert done.returncode == 4 and time.monotonic() - began < 20


def test_a_newer_file_that_allows_older_readers(where):
    """A newer version that says that this one may read it is read; what it has more is skipped."""
    file = patched(where, VERSION, struct.pack("<HH", 99, 1))
    maker_type = struct.pack("<IHH", 32, 4000, 0x6752) + bytes(24)
    with open(file, "r+b") as out:
        data = out.read()
        out.write(maker_type)
        out.seek(32)
        out.write(struct.pack("<Q", len(data) + 32))
    done = gs.gilscope("report", "-f", "json", file)
    assert done.returncode == 0 and '"name": "main"' in done.stdout
