# SPDX-License-Identifier: MIT
"""gilscope doctor says how attach would measure, here and a process, and of what it would not measure, why."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import beside, gs, rights
from helpers.attach import READY, Target, bpf_refused, need_bpf
from helpers.rights import OTHER, USER, as_user

ITEMS = ("kernel", "BTF", "lockdown", "memlock", "ptrace_scope", "capabilities", "seccomp", "attach bpf", "attach sample")


def lines_of(done):
    """What was looked at -> its lines, as (word, details)."""
    found, last = {}, None
    for line in done.stdout.splitlines():
        match = re.fullmatch(r"  (.{13}) (ok|missing|note) +(.*)", line)
        if match:
            last = match[1].strip() or last
            found.setdefault(last, []).append((match[2], match[3]))
    return found


def word(found, item):
    return found[item][0][0]


def test_every_item_has_a_line():
    """Each thing that attach depends on has its line, and the last line says by which method it would measure."""
    done = gs.gilscope("doctor")
    found = lines_of(done)
    assert set(ITEMS) <= set(found), done.stdout
    last = done.stdout.splitlines()[-1]
    if bpf_refused():
        assert word(found, "attach bpf") == "missing" and "by sampling" in last, done.stdout
    else:
        assert word(found, "attach bpf") == "ok" and "by BPF" in last, done.stdout
    assert f"Linux {os.uname().release.split('.')[0]}." in found["kernel"][0][1]


def test_the_clock_that_attach_uses_is_tried(where):
    """The doctor tries the processors' clock at the rate at which attach would read it: some kernels permit slow ones only."""
    need_bpf()
    strace = beside.need_program("strace", "strace")
    rates = []
    with Target([sys.executable, "-c", READY]) as target:
        for what in (["doctor"], ["attach", "-q", "--method", "bpf", "-d", "0.1", "-o", where / "r", target.pid]):
            calls = where / what[0]
            subprocess.run([strace, "-f", "-e", "trace=perf_event_open", "-o", calls, gs.BIN, *map(str, what)],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=gs.clean_env())
            rates.append(set(re.findall(r"PERF_COUNT_SW_CPU_CLOCK, sample_freq=(\d+)", calls.read_text())))
        target.go()
    assert len(rates[0]) == 1 and rates[0] == rates[1], rates


def test_plain_user(installed):
    """Of a user without rights it says what lacks, for what, and how docker, Kubernetes and setcap grant it."""
    need_bpf()
    place = installed.place()
    copy = installed.gilscope()
    done = rights.run([*as_user(USER), copy, "doctor"], place)
    found = lines_of(done)
    assert word(found, "BTF") == "ok" and word(found, "capabilities") == "missing"
    text = " ".join(details for _, details in found["capabilities"])
    for words in ("CAP_BPF to load", "CAP_PERFMON to attach", "CAP_SYS_PTRACE to read processes of other users",
                  "docker run --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE",
                  'securityContext.capabilities.add: ["BPF", "PERFMON", "SYS_PTRACE"]',
                  f"sudo setcap cap_bpf,cap_perfmon+ep {copy}"):
        assert words in text, text
    assert word(found, "attach bpf") == "missing" and word(found, "attach sample") == "ok"
    assert done.stdout.endswith("by sampling, all of it estimated: gilscope attach PID\n")


def test_one_capability_lacks(installed):
    """Only what lacks is asked for."""
    done = rights.run([*as_user(USER), installed.gilscope("cap_bpf", "cap_sys_ptrace"), "doctor"], installed.place())
    text = " ".join(details for _, details in lines_of(done)["capabilities"])
    assert "docker run --cap-add PERFMON, Kubernetes securityContext.capabilities.add: [\"PERFMON\"]" in text, text


def test_in_namespaces(installed):
    """In a container without root it says that its capabilities do not do, and how the host's processes are seen."""
    need_bpf()
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("unshare is not permitted here")
    done = rights.run([*as_user(USER), *command, installed.gilscope(), "doctor"], installed.place())
    found = lines_of(done)
    text = " ".join(details for _, details in found["namespaces"])
    assert word(found, "namespaces") == "missing" and "run gilscope on the host, as root" in text, done.stdout
    for words in ("--pid host", "hostPID: true", "--pid container:", "shareProcessNamespace: true"):
        assert words in text, text
    assert word(found, "attach bpf") == "missing" and "user namespace" in found["attach bpf"][0][1], done.stdout


def test_process_that_can_be_attached_to(python):
    """Of a CPython it says the version, the GIL and the method, and that it would work."""
    with Target([python.path, "-c", READY]) as target:
        done = gs.gilscope("doctor", target.pid)
    found = lines_of(done)
    assert done.returncode == 0 and word(found, "GIL") == "ok" and "1 GIL, switch interval 5000 us" in found["GIL"][0][1]
    assert f"CPython {'.'.join(map(str, python.version))}" in found["GIL"][0][1], done.stdout
    method = "sample" if bpf_refused() else "bpf"
    assert found["attach"] == [("ok", f"gilscope attach {target.pid} will use --method {method}")], done.stdout


def test_odd_interpreters(odd_python):
    """Of PyPy, a free-threaded build and versions before 3.8 it says which they are, and that there is nothing to do."""
    program = "import os, sys; sys.stdout.write('ready %d\\n' % os.getpid()); sys.stdout.flush(); sys.stdin.readline()"
    with Target([odd_python.path, "-c", program]) as target:
        done = gs.gilscope("doctor", target.pid)
    (verdict,) = lines_of(done)["attach"]
    expected = ("PyPy" if odd_python.implementation == "PyPy" else "free-threaded" if odd_python.free_threaded
                else "older than 3.8" if odd_python.version < (3, 7) else "3.8 to 3.15")
    assert done.returncode == 1 and verdict[0] == "missing" and expected in verdict[1], done.stdout


def kernel_thread():
    """A kernel thread's id: one that has no executable, and a parent with id 2."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[1] == "2":
                return int(stat.parent.name)
        except OSError:
            pass
    return pytest.skip("no kernel thread can be seen here")


def test_what_is_no_python():
    """Another program, a kernel thread and an id that nobody has get a line each."""
    with subprocess.Popen(["sleep", "30"]) as sleep:
        done = gs.gilscope("doctor", sleep.pid)
        sleep.kill()
    assert done.returncode == 1 and "does not run Python" in lines_of(done)["attach"][0][1], done.stdout
    done = gs.gilscope("doctor", kernel_thread())
    text = done.stdout + done.stderr
    assert done.returncode == 1 and ("a kernel thread" in text or "may not be read" in text), text
    done = gs.gilscope("doctor", 4194300)
    assert done.returncode == 1 and done.stderr == "gilscope: there is no process 4194300\n", done.stderr


def test_another_users_process(installed):
    """Of another user's process it says whose it is and what it takes; with that, that it works."""
    with Target([*as_user(OTHER), rights.python_of_all(), "-c", READY], cwd="/") as target:
        done = rights.run([*as_user(USER), installed.gilscope("cap_bpf", "cap_perfmon"), "doctor", target.pid], "/")
        (verdict,) = lines_of(done)["attach"]
        assert done.returncode == 1 and verdict[0] == "missing"
        assert f"it belongs to user {OTHER}, gilscope runs as user {USER}" in verdict[1] and "CAP_SYS_PTRACE" in verdict[1]
        # Its memory may be read then, what its threads are doing may not.
        done = rights.run([*as_user(USER), installed.gilscope("cap_sys_ptrace"), "doctor", target.pid], "/")
        assert done.returncode == 1 and "CAP_DAC_READ_SEARCH" in lines_of(done)["attach sample"][0][1], done.stdout
        if not bpf_refused():
            done = rights.run([*as_user(USER), installed.gilscope("cap_bpf", "cap_perfmon", "cap_sys_ptrace"), "doctor",
                               target.pid], "/")
            assert done.returncode == 0 and "will use --method bpf" in done.stdout, done.stdout
