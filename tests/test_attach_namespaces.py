# SPDX-License-Identifier: MIT
"""gilscope itself is in a namespace, as in a container."""
import subprocess

import pytest

from helpers import gs, sums
from helpers.attach import READY, Target, need_bpf

# Three processes that compute with two threads each, one of them begun later.
CONTAINED = """
import os, threading, time
child = os.fork()
def spin(end):
    while time.monotonic() < end: sum(range(1000))
""" + READY.replace("print(", "child and print(").replace("sys.stdin.readline()", "child and sys.stdin.readline()") + """
def work(end):
    threads = [threading.Thread(target=spin, args=(end,), name=name) for name in ("a", "b")]
    for t in threads: t.start()
    for t in threads: t.join()
while not child: work(time.monotonic() + 1)
later = os.fork()
while not later: work(time.monotonic() + 1)
work(time.monotonic() + 2)
os.kill(child, 9); os.kill(later, 9)
"""


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_inside_of_a_pid_namespace(one_python, where, method):
    """gilscope is in a container, where it sees other numbers than the kernel's own: it measures whom it was told to, those
    that it starts, and their threads."""
    need_bpf(method)
    (where / "program.py").write_text(CONTAINED)
    script = (f"mkfifo in; exec 3<>in; rm in; {one_python.path} program.py <&3 & target=$!; sleep 1; "
              f"{gs.BIN} attach -q -s -d 2 --method {method} -o rec $target & attached=$!; "
              "while ! ls rec/*.gil >ls 2>&1 && kill -0 $attached; do sleep 0.05; done; sleep 0.3; echo >&3; wait $attached")
    try:
        done = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script], cwd=where, timeout=60,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, env=gs.clean_env())
    except OSError:
        pytest.skip("there is no unshare")
    if "unshare:" in done.stderr:
        pytest.skip("unshare is not permitted here")
    assert done.returncode == 0, done.stderr
    processes = gs.report(where / "rec")["processes"]
    assert len(processes) == 3 and all(p["pid"] < 1000 for p in processes), [p["pid"] for p in processes]
    for p in processes:
        assert not sums.check(p, open_intervals=True), sums.check(p, open_intervals=True)
        (gil,) = p["gils"]
        assert gil["held_ns"] > 0.5 * (p["wall_ns"] - 0.6e9), p
        assert any(t["name"] == "a" and t["wait_blocked_ns"] > 0.1 * t["wall_ns"] for t in p["threads"]), p["threads"]


def test_proc_of_another_pid_namespace(one_python, where):
    """The numbers in /proc are not those of calls: nobody is measured, and a line says why."""
    with Target([one_python.path, "-c", READY]) as target:
        done = subprocess.run(["unshare", "--pid", "--fork", str(gs.BIN), "attach", "-d", "0.2", str(target.pid)], cwd=where,
                              stderr=subprocess.PIPE, text=True, check=False, env=gs.clean_env())
    if "unshare:" in done.stderr:
        pytest.skip("unshare is not permitted here")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "/proc is that of another PID namespace" in done.stderr, done.stderr


def test_inside_of_a_time_namespace(one_python, where):
    """The clock of the BPF programs is not gilscope's there: it samples, or says why it cannot attach by BPF."""
    need_bpf()
    prefix = ["unshare", "--time", "--fork", "--monotonic", "100000"]
    if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("there are no time namespaces here")
    with Target([one_python.path, "-c", READY]) as target:
        said = [subprocess.run([*prefix, str(gs.BIN), "attach", "-q", "-d", "0.5", "--method", method, "-o", method, str(target.pid)],
                               cwd=where, stderr=subprocess.PIPE, text=True, check=False, env=gs.clean_env())
                for method in ("bpf", "auto")]
    assert [done.returncode for done in said] == [1, 0], said
    assert all("this is a time namespace" in done.stderr for done in said), said
    (process,) = gs.report(where / "auto")["processes"]
    assert process["source"] == "sample" and 0.3e9 < process["wall_ns"] < 60e9
