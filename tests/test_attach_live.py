# SPDX-License-Identifier: MIT
"""Seen from outside: programs that sleep between bursts of work, and such that are stopped by a signal."""
import os
import signal
import subprocess
import time

import pytest

from helpers import gs
from helpers.attach import READY, Attached, Target, need_bpf

# What a server's thread does: some work with the GIL, then a wait for the next request.
BURSTS = READY + """
import time
def work(seconds):
    begin = time.thread_time()
    while time.thread_time() - begin < seconds: pass
end = time.monotonic() + 3
while time.monotonic() < end:
    work(0.002)
    time.sleep(0.003)
"""

COMPUTES = READY + """
import threading, time
end = time.monotonic() + 60
def compute():
    n = 0
    while time.monotonic() < end: n += 1
for _ in range(2): threading.Thread(target=compute, daemon=True).start()
time.sleep(60)
"""


def says(process, text):
    return [line for line in process["verdict"]["evidence"] + process["verdict"]["advice"] if text in line]


def test_sampled_bursts_are_work_with_the_gil(one_python, where):
    """What is used of processors between two looks is not without the GIL because the second finds the thread asleep."""
    with Target([one_python.path, "-c", BURSTS]) as target:
        attached = Attached(target.pid, where, method="sample")
        target.go()
        target.end()
        (process,) = attached.end(ask=False)
    thread = gs.thread(process, tid=target.pid)
    assert thread["held_oncpu_ns"] > 3 * thread["released_oncpu_ns"], thread


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_stopped_while_it_is_measured(one_python, where, method):
    """A report says for how long the process was stopped, and does not blame the thread that had the GIL then."""
    need_bpf(method)
    with Target([one_python.path, "-c", COMPUTES]) as target:
        attached = Attached(target.pid, where, method=method)
        target.go()
        time.sleep(0.3)
        os.kill(target.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(target.pid, signal.SIGCONT)
        time.sleep(0.3)
        (process,) = attached.end()
    assert "is stopped" not in attached.stderr
    assert 0.7e9 < process["stopped_ns"] < process["wall_ns"], process["stopped_ns"]
    assert says(process, "The process was stopped") and says(process, "Measure again while it runs")
    assert not says(process, "calls while it sleeps") and not says(process, "kept the GIL")


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_stopped_when_attached(one_python, where, method):
    """One line says it at once; doctor says it, too; an ordinary process is not told to have been stopped."""
    need_bpf(method)
    with Target([one_python.path, "-c", COMPUTES]) as target:
        target.go()
        time.sleep(0.3)
        assert "stopped" not in gs.gilscope("doctor", target.pid).stdout
        (process,) = Attached(target.pid, where, method=method, name="runs").end()
        assert "stopped_ns" not in process and not says(process, "stopped")
        os.kill(target.pid, signal.SIGSTOP)
        assert "stopped by a signal or a debugger" in gs.gilscope("doctor", target.pid).stdout
        attached = Attached(target.pid, where, method=method)
        (process,) = attached.end()
        os.kill(target.pid, signal.SIGCONT)
    (line,) = [line for line in attached.stderr.splitlines() if "is stopped" in line]
    assert f"process {target.pid} is stopped" in line and f"kill -CONT {target.pid}" in line
    assert says(process, "The process was stopped") and process["verdict"]["confidence"] < 0.5
    assert process["verdict"]["advice"] == ["Measure again while it runs: the times in which it was stopped are in all figures."]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_disk_that_becomes_full(one_python, where, method):
    """One line says that the rest is missing, and how to see what is there, which can be read; the program runs on."""
    need_bpf(method)
    disk = where / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with Target([one_python.path, "-c", COMPUTES]) as target:
            target.go()
            attached = Attached(target.pid, disk, method=method)
            with open(disk / "fill", "wb", buffering=0) as fill, pytest.raises(OSError):
                while fill.write(bytes(4096)):
                    pass
            time.sleep(1)
            attached.process.send_signal(signal.SIGINT)
            _, said = attached.process.communicate(timeout=30)
            assert attached.process.returncode == 1 and target.process.poll() is None
        (line,) = [line for line in said.splitlines() if "cannot write the recording" in line]
        assert "No space left on device; `gilscope report' shows what had been measured before" in line
        (process,) = gs.report(attached.dir)["processes"]
        assert process["wall_ns"] > 0.1e9
    finally:
        subprocess.run(["umount", disk], check=True)
