#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adds a real recording to those that every later version has to read as this one does.

    add.py NAME RECORDING    keeps RECORDING (a directory, made with --no-native) as NAME
    add.py --make            records the programs below with /usr/bin/python3 and keeps them
    add.py --expect [NAME]   writes the expected reports anew: look at the difference before committing it

Names of hosts, the boot and native addresses are taken out; tests/test_recordings.py compares.
"""
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import gs, kept, makerec  # noqa: E402  (needs the path above)

SPIN = """
import threading, time
def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(300))
"""
PROGRAMS = {
    "contended": SPIN + "ts = [threading.Thread(target=work, args=(0.3,)) for _ in range(3)]\n"
                        "[t.start() for t in ts]; [t.join() for t in ts]\n",
    "io-bound": SPIN + "def io():\n    for _ in range(40): time.sleep(0.005); sum(range(2000))\n"
                       "ts = [threading.Thread(target=io) for _ in range(4)]\n[t.start() for t in ts]; [t.join() for t in ts]\n",
    "paused": SPIN + "ts = [threading.Thread(target=work, args=(1.2,)) for _ in range(2)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n",
    "killed": SPIN + "ts = [threading.Thread(target=work, args=(9,)) for _ in range(2)]\n[t.start() for t in ts]\n"
                     "time.sleep(0.3)\nimport os; os.kill(os.getpid(), 9)\n",
    "forked": SPIN + "import os\nfor _ in range(2):\n    if not os.fork():\n        t = threading.Thread(target=work, args=(0.1,))\n"
                     "        t.start(); work(0.1); t.join()\n        if not os.fork(): work(0.05)\n        else: os.wait()\n"
                     "        raise SystemExit\nos.wait(); os.wait()\n",
    "many-threads": SPIN + "for _ in range(3000):\n    t = threading.Thread(target=sum, args=([1],)); t.start(); t.join()\n",
    "stacks": SPIN + "def parse(n): return work(n)\ndef render(n): return work(n)\ndef handle(n): parse(n); render(n / 2)\n"
                     "ts = [threading.Thread(target=handle, args=(0.3,), name='handler') for _ in range(2)]\n"
                     "[t.start() for t in ts]; [t.join() for t in ts]\n",
}


def scrubbed(data):
    """The file without what says where it was made."""
    data = bytearray(data)
    fields = makerec.LAYOUTS.structs["rec_header"][0]
    for field, size, value in ("host", 64, b"host"), ("boot_id", 40, b""):
        at = fields[field][0]
        data[at:at + size] = value.ljust(size, b"\0")
    used = int.from_bytes(data[fields["used_bytes"][0]:][:8], "little")
    return bytes(data[:used])


def keep(name, recording):
    target = kept.HERE / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for n, file in enumerate(sorted(recording.glob("*.gil"), key=lambda f: int(f.stem.split("-")[-1]))):
        data = scrubbed(file.read_bytes())
        for private in (os.uname().nodename.encode(), b"/root/", b"/home/"):
            if len(private) > 3 and private in data:
                raise SystemExit(f"{name}: the recording names {private.decode()}: record it elsewhere")
        (target / f"{n}.gil.xz").write_bytes(lzma.compress(data, preset=9))
    expect(name)


def expect(name):
    for kind in kept.KINDS:
        (kept.HERE / name / f"expected.{kind}.txt").write_text(kept.report(name, kind), encoding="utf-8")


def make(name, code):
    with tempfile.TemporaryDirectory() as parent:
        where = "/tmp/app" # it will be in the recording
        os.symlink(parent, where)
        (Path(where) / "app.py").write_text(code)
        process = subprocess.Popen([gs.BIN, "run", "-q", "--no-native", "-o", "rec", "--", "/usr/bin/python3", f"{where}/app.py"],
                                   cwd=where, env=gs.clean_env({"PWD": where}))
        if name == "paused":
            time.sleep(0.4)
            pid = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()[0]
            for command in ("pause", "resume"):
                subprocess.run([gs.BIN, command, pid], check=True, stdout=subprocess.DEVNULL)
                time.sleep(0.2)
        status = process.wait()
        if status != (128 + signal.SIGKILL if name == "killed" else 0):
            raise SystemExit(f"{name}: exit status {status}")
        keep(name, Path(where) / "rec")
        os.unlink(where)


def main(arguments):
    if arguments == ["--make"]:
        for name, code in PROGRAMS.items():
            make(name, code)
    elif arguments[:1] == ["--expect"]:
        for name in arguments[1:] or kept.NAMES:
            expect(name)
    elif len(arguments) == 2:
        keep(arguments[0], Path(arguments[1]))
    else:
        raise SystemExit(__doc__)


main(sys.argv[1:])
