# SPDX-License-Identifier: MIT
"""Attach asks for no more rights than it needs, keeps none that it does not need, and opens nothing to who lacks them."""
import json
import os
import re
import resource
import signal
import subprocess
import time

import pytest

from helpers import gs, rights
from helpers.attach import READY, Attached, Target, need_bpf
from helpers.rights import OTHER, USER, as_user

MS = 1000 * 1000
BPF = 39
SYS_BPF, SYS_PERF_EVENT_OPEN = 321, 298  # x86-64

SPIN = READY + """
import threading, time
def spin():
    while True: sum(range(1000))
for _ in range(2): threading.Thread(target=spin, daemon=True).start()
time.sleep(60)
"""
# PR_SET_DUMPABLE: nobody but root may read it.
SHY = "import ctypes; ctypes.CDLL(None).prctl(4, 0)\n" + SPIN


def target_of(uid, program=SPIN):
    return Target([*as_user(uid), rights.python_of_all(), "-c", program], cwd="/")


def attach(installed, target, *options, uid=USER, caps=(), before=()):
    place = installed.place(uid)
    done = rights.run([*before, *as_user(uid), installed.gilscope(*caps), "attach", "-q", "-d", "0.5", "-o",
                       place / "r.gilscope", *options, target.pid], place)
    done.place = place / "r.gilscope"
    return done


def release():
    """The kernel's, (6, 1)."""
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])


def waited(place):
    (process,) = gs.report(place)["processes"]
    return process["source"], sum(t["wait_blocked_ns"] + t["wait_wakeup_ns"] for t in process["threads"])


def refused(done, words):
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert re.search(words, done.stderr), done.stderr
    assert not done.place.exists(), "nothing is written of what may not be read"


@pytest.mark.parametrize("has, lacks", [((), "CAP_BPF and CAP_PERFMON are"), (("cap_bpf",), "CAP_PERFMON is"),
                                        (("cap_perfmon",), "CAP_BPF is")], ids=["none", "bpf", "perfmon"])
def test_each_missing_capability_is_named(installed, has, lacks):
    """Without one of the two capabilities BPF is refused in one line that names it and says how to grant it; auto samples."""
    with target_of(USER) as target:
        target.go()
        done = attach(installed, target, "--method", "bpf", caps=has)
        refused(done, f"cannot attach by --method bpf: .*{lacks} lacking: .*`sudo setcap cap_bpf,cap_perfmon\\+ep "
                      f"{re.escape(str(installed.gilscope(*has)))}'")
        done = attach(installed, target, caps=has)
        assert done.returncode == 0 and f"{lacks} lacking" in done.stderr and "by sampling" in done.stderr, done.stderr
        assert waited(done.place) > ("sample", 0)


@pytest.mark.parametrize("memlock", [None, 64 * 1024, 0])
def test_two_capabilities_of_the_file_do(installed, memlock):
    """setcap cap_bpf,cap_perfmon is enough for BPF on one's own process, whatever the limit of locked memory."""
    need_bpf()
    before = ["prlimit", f"--memlock={memlock}:{memlock}"] if memlock is not None else []
    with target_of(USER) as target:
        target.go()
        done = attach(installed, target, "--method", "bpf", caps=("cap_bpf", "cap_perfmon"), before=before)
    assert done.returncode == 0, done.stderr
    source, wait_ns = waited(done.place)
    assert source == "bpf" and wait_ns > 100 * MS


def test_memlock_is_no_matter_to_root(one_python, where):
    """The loader copes with a limit of locked memory that it cannot raise."""
    need_bpf()
    with Target([one_python.path, "-c", SPIN]) as target:
        target.go()
        for limit in 64 * 1024, 0:
            place = where / str(limit)
            place.mkdir()
            attached = Attached(target.pid, place, "-d", "0.5",
                                preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit)))
            (process,) = attached.end(ask=False)
            assert process["source"] == "bpf" and process["gils"][0]["wait_ns"] > 100 * MS


@pytest.mark.parametrize("who", ["setcap", "root"])
@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_rights_are_given_up_once_it_measures(installed, method, who):
    """While it measures, it has none of the capabilities that only the loading took, and cannot get them back."""
    need_bpf(method)
    command = [*as_user(USER), installed.gilscope("cap_bpf", "cap_perfmon")] if who == "setcap" else [gs.BIN]
    place = installed.place()
    with target_of(USER) as target:
        target.go()
        process = subprocess.Popen([*map(str, command), "attach", "-q", "--method", method, "-o", str(place / "r.gilscope"),
                                    str(target.pid)], stderr=subprocess.PIPE, text=True, cwd=place, env=gs.clean_env())
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:  # it has come so far when it has written its file
            if list((place / "r.gilscope").glob("*.gil")) and rights.capabilities_of(process.pid)["NoNewPrivs"]:
                break
            time.sleep(0.01)
        has = rights.capabilities_of(process.pid)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, process.stderr.read()
        process.stderr.close()
    assert has["CapEff"] == has["CapPrm"] and has["NoNewPrivs"] == 1
    kept = {n for n in range(64) if has["CapEff"] >> n & 1}
    # To read the process and its /proc; to look into maps, which Linux before 5.19 lets nobody do without CAP_BPF; to write
    # into the other user's directory.
    most = {1, 2, 19} if who == "root" else set()
    assert kept <= most | ({BPF} if release() < (5, 19) else set()), kept
    assert waited(place / "r.gilscope")[1] > 0


@pytest.mark.parametrize("method", ["auto", "bpf", "sample"])
def test_other_users_processes_are_not_read(installed, method):
    """The capabilities for BPF give nobody a look at another user's process; CAP_SYS_PTRACE does, which is made for it."""
    with target_of(OTHER) as target:
        target.go()
        done = attach(installed, target, "--method", method, caps=("cap_bpf", "cap_perfmon"))
        refused(done, f"may not be read: it belongs to user {OTHER}, gilscope runs as user {USER}: .*CAP_SYS_PTRACE")
        if method == "sample":
            done = attach(installed, target, "--method", method, caps=("cap_sys_ptrace",))
            refused(done, "syscall cannot be read: .*CAP_DAC_READ_SEARCH")
        else:
            need_bpf()
        done = attach(installed, target, "--method", method,
                      caps=("cap_bpf", "cap_perfmon", "cap_sys_ptrace", "cap_dac_read_search"))
        assert done.returncode == 0, done.stderr
        assert waited(done.place)[1] > 100 * MS


def test_group_counts_too(installed):
    """A process of the same user in another group may not be traced, nor attached to."""
    with Target(["setpriv", "--reuid", str(USER), "--regid", str(OTHER), "--clear-groups", rights.python_of_all(), "-c",
                 SPIN]) as target:
        refused(attach(installed, target, caps=("cap_bpf", "cap_perfmon")), f"it runs in group {OTHER}, gilscope in group")


@pytest.mark.parametrize("method", ["bpf", "sample"])
def test_processes_that_are_not_dumpable_are_not_read(installed, method):
    """A process that has forbidden to be read by its own user is not read with the capabilities for BPF either."""
    need_bpf()
    with target_of(USER, SHY) as target:
        target.go()
        done = attach(installed, target, "--method", method, caps=("cap_bpf", "cap_perfmon"))
        refused(done, "may not be read: it does not let others of its user read it")
        done = attach(installed, target, "--method", method,
                      caps=("cap_bpf", "cap_perfmon", "cap_sys_ptrace", "cap_dac_read_search"))
        assert done.returncode == 0, done.stderr


# The parent becomes a program with other rights when it is told to; its child runs on and keeps the collector at work.
BECOMES = READY + """
import threading, time
child = os.fork()
if not child:
    time.sleep(60); os._exit(0)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.1)
sys.stdin.readline()
os.execv("/bin/sleep", ["sleep", "60"])
"""


def tids_in_kernel():
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
    done = subprocess.run(["bpftool", "-j", "map", "list"], stdout=subprocess.PIPE, check=True, text=True, env=env)
    found = set()
    for entry in json.loads(done.stdout):
        if entry.get("name") == "tids":
            done = subprocess.run(["bpftool", "-j", "map", "dump", "id", str(entry["id"])], stdout=subprocess.PIPE,
                                  check=False, text=True, env=env)
            found |= {e["formatted"]["key"] for e in json.loads(done.stdout) if "formatted" in e}
    return found


def test_nothing_is_read_of_what_a_process_becomes(one_python, where):
    """With exec, which may give a process rights that its user lacks, BPF forgets its threads in the kernel at once."""
    need_bpf()
    rights.need_root()
    with Target([one_python.path, "-c", BECOMES]) as target:
        attached = Attached(target.pid, where, "-s")
        target.go()
        end = time.monotonic() + 10
        while len(tids_in_kernel()) < 3 and time.monotonic() < end:  # two threads and the child
            time.sleep(0.1)
        assert target.pid in tids_in_kernel()
        (child,) = subprocess.run(["pgrep", "-P", str(target.pid)], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout.split()
        target.go()
        while os.readlink(f"/proc/{target.pid}/exe").endswith("python") and time.monotonic() < end:
            time.sleep(0.01)
        while "sleep" not in os.readlink(f"/proc/{target.pid}/exe") and time.monotonic() < end:
            time.sleep(0.01)
        assert tids_in_kernel() & {target.pid, int(child)} == {int(child)}
        assert len(attached.end()) == 2
        os.kill(int(child), signal.SIGKILL)


def test_setuid_is_refused(installed):
    """A copy that is setuid root, which would read every process for everybody, refuses to work at all."""
    path = installed.gilscope("cap_sys_ptrace")
    copy = path.with_name("setuid")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o4755)
    with target_of(OTHER) as target:
        for command in (["attach", "-d", "0.1", target.pid], ["doctor", target.pid], ["report", "/etc/shadow"]):
            done = rights.run([*as_user(USER), copy, *command], installed.place())
            assert done.returncode == 1 and "must not be setuid" in done.stderr and not done.stdout, done


def test_other_commands_work_without_the_files_rights(installed):
    """What setcap gives is for attach and doctor: report and run give it up before they begin."""
    copy = installed.gilscope("cap_bpf", "cap_perfmon", "cap_sys_ptrace", "cap_dac_read_search")
    secret = installed.place(OTHER) / "secret"
    secret.write_text("of another user\n")
    secret.chmod(0o600)
    os.chown(secret, OTHER, OTHER)
    done = rights.run([*as_user(USER), copy, "report", secret], "/")
    assert done.returncode == 1 and "Permission denied" in done.stderr, done.stderr


@pytest.mark.parametrize("call, name", [(SYS_BPF, "bpf"), (SYS_PERF_EVENT_OPEN, "perf_event_open")],
                         ids=["bpf", "perf_event_open"])
def test_filter_of_system_calls(one_python, where, call, name):
    """Where seccomp refuses what BPF takes, auto samples and says why; doctor names the call and the flags that allow it."""
    need_bpf()
    rights.need_root()
    with Target([one_python.path, "-c", SPIN]) as target:
        target.go()
        done = rights.run([*rights.without_call(call), gs.BIN, "attach", "-q", "-d", "0.3", "-o", where / "r.gilscope",
                           target.pid], where)
        assert done.returncode == 0 and "by sampling" in done.stderr and "seccomp" in done.stderr, done.stderr
        assert waited(where / "r.gilscope")[0] == "sample"
        done = rights.run([*rights.without_call(call), gs.BIN, "doctor"], where)
        assert f"a filter refuses {name}" in done.stdout and "--security-opt seccomp=unconfined" in done.stdout, done.stdout
        assert "seccompProfile.type: Unconfined" in done.stdout
        done = rights.run([*rights.without_call(call), gs.BIN, "doctor", target.pid], where)
        assert f"gilscope attach {target.pid} will use --method sample" in done.stdout, done.stdout


def test_few_files_may_be_open(one_python, where):
    """The sampler measures more threads than it may have files open."""
    program = READY + """
import threading, time
def lives():
    while True: time.sleep(0.001); sum(range(2000))
for _ in range(60): threading.Thread(target=lives, daemon=True).start()
time.sleep(60)
"""
    with Target([one_python.path, "-c", program]) as target:
        target.go()
        time.sleep(0.5)
        attached = Attached(target.pid, where, "-d", "2", method="sample",
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
        (process,) = attached.end(ask=False)
    lively = [t for t in process["threads"] if not t["main"] and t["wait_blocked_ns"] + t["wait_wakeup_ns"] > 0]
    assert len(lively) == 60, (len(process["threads"]), len(lively))
