# SPDX-License-Identifier: MIT
"""Every process of a program gets its own file, whatever way it was started and however it ended."""
import json
import os
import signal
import subprocess
import time

import pytest

from helpers import gs, sums

# Each prints a JSON object of facts about itself as its last line; facts() reads it.
PRELUDE = """
import json, os, sys, threading, time
def work(seconds=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(2000))
def two_threads(seconds=0.05):
    t = threading.Thread(target=work, args=(seconds,))
    t.start(); work(seconds); t.join()
    return t.native_id
"""


def facts(recording):
    return json.loads(recording.stdout.strip().splitlines()[-1])


def sound(recording):
    """What holds for every recording of many processes: own files, own threads, sums."""
    processes = recording.processes
    assert len(recording.files) == len(processes)
    assert len({p["pid"] for p in processes}) == len(processes)
    for p in processes:
        wrong = sums.check(p, open_intervals=not p["complete"])
        assert not wrong, "\n".join(wrong)
        assert sum(t["main"] for t in p["threads"]) == 1, p["threads"]
        assert len({t["tid"] for t in p["threads"]}) == len(p["threads"])
    return processes


def tids(process):
    return {t["tid"] for t in process["threads"]}


def test_fork_from_main(python, where):
    """A forked child has its own file with its own thread only; the parent's file has none of the child's."""
    recording = gs.run_code(python, PRELUDE + """
other = two_threads()
before = time.monotonic()
child = os.fork()
if child == 0:
    work(0.2)
    grandchild_thread = two_threads()
    sys.stdout.write(json.dumps({"in_child": grandchild_thread}) + "\\n")
    sys.stdout.flush()
    os._exit(7)
status = os.waitpid(child, 0)[1]
work()
print(json.dumps({"child": child, "pid": os.getpid(), "other": other, "status": status}))
""", where)
    fact = facts(recording)
    in_child = json.loads(recording.stdout.splitlines()[0])["in_child"]
    assert os.WEXITSTATUS(fact["status"]) == 7
    processes = sound(recording)
    assert len(processes) == 2
    parent, child = recording.by_pid(fact["pid"]), recording.by_pid(fact["child"])
    assert child["ppid"] == fact["pid"]
    assert tids(parent) == {fact["pid"], fact["other"]}
    assert tids(child) == {fact["child"], in_child}
    assert parent["complete"] and not child["complete"]
    main = gs.thread(child, tid=fact["child"])
    assert main["main"] and main["held_oncpu_ns"] + main["held_offcpu_ns"] > 0.15e9


def test_fork_from_a_thread(python, where):
    """In a child forked by a thread, that thread is the child's main thread."""
    recording = gs.run_code(python, PRELUDE + """
result = {}
def fork():
    child = os.fork()
    if child == 0:
        work(0.1)
        os._exit(0)
    os.waitpid(child, 0)
    result["child"] = child
t = threading.Thread(target=fork)
t.start(); work(0.05); t.join()
print(json.dumps(dict(result, pid=os.getpid(), forker=t.native_id)))
""", where)
    fact = facts(recording)
    assert len(sound(recording)) == 2
    assert tids(recording.by_pid(fact["pid"])) == {fact["pid"], fact["forker"]}
    assert tids(recording.by_pid(fact["child"])) == {fact["child"]}


def test_fork_while_others_work(python, where):
    """Forks while threads fight for the GIL: every child is recorded, and the parent loses nothing."""
    recording = gs.run_code(python, PRELUDE + """
threads = [threading.Thread(target=work, args=(0.8,)) for _ in range(3)]
for t in threads: t.start()
children = []
for i in range(8):
    child = os.fork()
    if child == 0:
        two_threads(0.02)
        os._exit(0)
    children.append(child)
    assert os.waitpid(child, 0)[1] == 0
for t in threads: t.join()
print(json.dumps({"pid": os.getpid(), "children": children, "threads": [t.native_id for t in threads]}))
""", where)
    fact = facts(recording)
    processes = sound(recording)
    assert {p["pid"] for p in processes} == {fact["pid"], *fact["children"]}
    assert tids(recording.by_pid(fact["pid"])) == {fact["pid"], *fact["threads"]}
    for child in fact["children"]:
        process = recording.by_pid(child)
        assert len(process["threads"]) == 2 and process["ppid"] == fact["pid"]


def test_prefork_server(python, where):
    """Workers that serve until SIGTERM: a file each, under the parent."""
    recording = gs.run_code(python, PRELUDE + """
import signal
r, w = os.pipe()
children = []
for i in range(4):
    child = os.fork()
    if child == 0:
        os.write(w, b"x")
        while True:
            two_threads(0.01)
    children.append(child)
for _ in children: os.read(r, 1)
time.sleep(0.3)
for child in children: os.kill(child, signal.SIGTERM)
for child in children: assert os.waitpid(child, 0)[1] == signal.SIGTERM
print(json.dumps({"pid": os.getpid(), "children": children}))
""", where)
    fact = facts(recording)
    processes = sound(recording)
    assert {p["pid"] for p in processes} == {fact["pid"], *fact["children"]}
    for child in fact["children"]:
        process = recording.by_pid(child)
        assert process["ppid"] == fact["pid"] and not process["complete"]
        assert process["gils"][0]["held_ns"] > 0.05e9
    text = gs.gilscope("report", recording.dir)
    assert text.returncode == 0, text.stderr
    for pid in (fact["pid"], *fact["children"]):
        assert str(pid) in text.stdout


def test_exec_chain(python, where):
    """A program that replaces itself twice: what came before each exec is kept, a file for each image."""
    recording = gs.run_code(python, PRELUDE + """
n = int(sys.argv[1])
two_threads(0.03)
if n:
    os.execv(sys.executable, [sys.executable, sys.argv[0], str(n - 1)])
print(json.dumps({"pid": os.getpid()}))
""", where, args=[2])
    pid = facts(recording)["pid"]
    assert [p["pid"] for p in recording.processes] == [pid] * 3
    assert len(recording.files) == 3
    assert sorted(p["command"][-1] for p in recording.processes) == ["0", "1", "2"]
    for p in recording.processes:
        wrong = sums.check(p, open_intervals=True)
        assert not wrong, "\n".join(wrong)
        assert len(p["threads"]) == 2 and p["gils"][0]["held_ns"] > 0.02e9
        assert p["complete"] == (p["command"][-1] == "0")
    for kind in ("text", "html"):
        said = " ".join(gs.gilscope("report", "-f", kind, recording.dir).stdout.split())
        assert said.count("went on as another program (exec)") == 2 and "killed" not in said, said


def test_posix_spawn_and_subprocess_of_python(python, where):
    """Children by posix_spawn and by subprocess are recorded in files of their own."""
    recording = gs.run_code(python, PRELUDE + """
import subprocess
if len(sys.argv) > 1:
    print(two_threads())
    sys.exit(0)
spawned = os.posix_spawn(sys.executable, [sys.executable, sys.argv[0], "child"], os.environ)
assert os.waitpid(spawned, 0)[1] == 0
child = subprocess.Popen([sys.executable, sys.argv[0], "child"], close_fds=True)
assert child.wait() == 0
print(json.dumps({"pid": os.getpid(), "children": [spawned, child.pid]}))
""", where)
    fact = facts(recording)
    assert {p["pid"] for p in sound(recording)} == {fact["pid"], *fact["children"]}
    for child in fact["children"]:
        process = recording.by_pid(child)
        assert process["complete"] and len(process["threads"]) == 2 and process["ppid"] == fact["pid"]


def test_subprocess_that_is_not_python(python, where):
    """Programs that are not Python leave no file and say nothing, however they are started."""
    recording = gs.run_code(python, PRELUDE + """
import subprocess
t = threading.Thread(target=work, args=(0.3,)); t.start()
for close_fds in (True, False):
    for restore_signals in (True, False):
        done = subprocess.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], close_fds=close_fds,
                              restore_signals=restore_signals, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stdout, done.stderr) == (3, b"out\\n", b"err\\n"), done
assert os.system("true") == 0
try:
    subprocess.run(["/nonexistent/program"])
    raise SystemExit("no error")
except FileNotFoundError:
    pass
t.join()
print(json.dumps({"pid": os.getpid(), "thread": t.native_id}))
""", where)
    fact = facts(recording)
    assert recording.stderr == ""
    assert tids(recording.process) == {fact["pid"], fact["thread"]}
    assert not sums.check(recording.process)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(python, method, where):
    """Workers of multiprocessing are recorded, by every start method."""
    recording = gs.run_code(python, PRELUDE + """
import multiprocessing
def job(_):
    two_threads(0.05)
    time.sleep(0.02)
    return os.getpid()
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(3) as pool:
        pids = set(pool.map(job, range(9), chunksize=1))
        pool.close()
        pool.join()
    print(json.dumps({"pid": os.getpid(), "workers": sorted(pids)}))
""", where, args=[method])
    fact = facts(recording)
    sound(recording)
    assert recording.stderr == ""
    for pid in fact["workers"]:
        process = recording.by_pid(pid)
        assert process["gils"][0]["held_ns"] > 0.03e9
        assert len(process["threads"]) >= 2
    assert recording.by_pid(fact["pid"])["complete"]


@pytest.mark.few_pythons
@pytest.mark.parametrize("way", ["sh -c", "sh -c; more", "env", "script", "env script", "venv"])
def test_command_that_only_leads_to_python(python, way, where):
    """The recording has the Python process and nothing else, whatever stands before it."""
    script = where / "app"
    script.write_text(f"#!{python.path}\n" + PRELUDE + """
print(json.dumps({"pid": os.getpid(), "thread": two_threads(), "prefix": sys.prefix, "base": sys.base_prefix}))
sys.exit(5)
""")
    script.chmod(0o755)
    interpreter = python.path
    if way == "env script":
        (where / "bin").mkdir()
        (where / "bin" / "python-for-app").symlink_to(python.path)
        script.write_text(script.read_text().replace(f"#!{python.path}", "#!/usr/bin/env python-for-app"))
    if way == "venv":
        subprocess.run([python.path, "-m", "venv", "--without-pip", str(where / "venv")], check=True,
                       env=gs.clean_env())
        interpreter = str(where / "venv" / "bin" / "python")
    command = {
        "sh -c": ["sh", "-c", f"{interpreter} {script}"],
        "sh -c; more": ["sh", "-c", f"true; {interpreter} {script}; exit $?"],
        "env": ["env", "SOME=thing", interpreter, str(script)],
        "script": [str(script)],
        "env script": [str(script)],
        "venv": [interpreter, str(script)],
    }[way]
    recording = gs.run(command, where, expect=5, env={"PATH": f"{where}/bin:{os.environ['PATH']}"})
    fact = facts(recording)
    assert (fact["prefix"] != fact["base"]) == (way == "venv")
    assert recording.stderr == ""
    process = recording.process
    assert process["pid"] == fact["pid"]
    assert tids(process) == {fact["pid"], fact["thread"]}
    assert str(script) in process["command"]
    assert process["python"] == ".".join(map(str, python.version))
    assert process["complete"]


@pytest.mark.few_pythons
@pytest.mark.parametrize("end,status", [("os._exit(3)", 3), ("os.abort()", 128 + signal.SIGABRT),
                                        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL)])
def test_abrupt_end(python, end, status, where):
    """What was counted before os._exit, SIGABRT or SIGKILL is there, and the report says that it is not complete."""
    recording = gs.run_code(python, PRELUDE + f"""
import signal, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
thread = two_threads(0.3)
background = threading.Thread(target=work, args=(60,), daemon=True)
background.start()
work(0.2)
print(json.dumps({{"pid": os.getpid(), "threads": [thread, background.native_id]}}), flush=True)
{end}
""", where, expect=status)
    fact = facts(recording)
    process = recording.process
    assert process["complete"] is False
    wrong = sums.check(process, open_intervals=True)
    assert not wrong, "\n".join(wrong)
    assert tids(process) == {fact["pid"], *fact["threads"]}
    assert 0.45e9 < process["gils"][0]["held_ns"] <= process["wall_ns"]
    assert process["gils"][0]["wait_ns"] > 0.2e9
    assert 0.4e9 < process["wall_ns"] < 30e9


def test_what_lacks_processors_for_its_siblings_says_so(one_python, where):
    """Four processes on one processor are told that they take it from each other, not that others do."""
    recording = gs.run_code(one_python, PRELUDE + """
children = [os.fork(), os.fork()]
work(1.5)
for child in children:
    if child:
        os.waitpid(child, 0)
""", where, cpus=1)
    starved = [p["verdict"] for p in recording.processes if p["verdict"]["class"] == "cpu-starved"]
    assert starved, [p["verdict"] for p in recording.processes]
    for verdict in starved:
        assert any("The processes of this recording compete" in a for a in verdict["advice"]), verdict
        assert not any(a.startswith("Other processes") for a in verdict["advice"]), verdict
        assert any("by others of this recording" in e for e in verdict["evidence"]), verdict


def test_running_process_is_reported_live(one_python, where):
    """A recording of a process that is still running reads live: figures grow, sums hold, it is not complete."""
    script = where / "program.py"
    script.write_text(PRELUDE + """
print(os.getpid(), flush=True)
two_threads(60)
""")
    directory = where / "live.gilscope"
    launcher = subprocess.Popen([gs.BIN, "run", "-q", "-o", directory, "--", one_python.path, script],
                                stdout=subprocess.PIPE, env=gs.clean_env(), encoding="utf-8")
    try:
        pid = int(launcher.stdout.readline())
        seen = []
        for _ in range(3):
            time.sleep(0.3)
            process = gs.report(directory)["processes"][0]
            wrong = sums.check(process, open_intervals=True)
            assert not wrong, "\n".join(wrong)
            assert process["complete"] is False and process["pid"] == pid
            assert len(process["threads"]) == 2
            seen.append((process["wall_ns"], process["gils"][0]["held_ns"], process["gils"][0]["wait_ns"]))
        for before, after in zip(seen, seen[1:]):
            for a, b in zip(before, after):
                assert b - a > 0.1e9, seen
        assert seen[-1][1] <= seen[-1][0] * 1.005
    finally:
        os.kill(pid, signal.SIGKILL)
        launcher.wait()
        launcher.stdout.close()
    assert launcher.returncode == 128 + signal.SIGKILL
    after = gs.report(directory)["processes"][0]
    assert after["complete"] is False and after["wall_ns"] >= seen[-1][0]


def test_daemon_threads_at_exit(python, where):
    """Daemon threads that work, wait and sleep while the interpreter ends do no harm, and their time is counted."""
    recording = gs.run_code(python, PRELUDE + """
def sleeper():
    while True: time.sleep(0.001)
threads = [threading.Thread(target=f, args=a, daemon=True) for f, a in ((work, (60,)), (work, (60,)), (sleeper, ()))]
for t in threads: t.start()
work(0.2)
print(json.dumps({"pid": os.getpid(), "threads": [t.native_id for t in threads]}))
""", where)
    fact = facts(recording)
    process = recording.process
    assert recording.stderr == ""
    assert tids(process) == {fact["pid"], *fact["threads"]}
    wrong = sums.check(process, open_intervals=True)
    assert not wrong, "\n".join(wrong)
    assert process["complete"]


def test_exit_status_and_signals_of_the_command(one_python, where):
    """gilscope run exits as the command did, by status or by signal."""
    for code, status in (("raise SystemExit(0)", 0), ("raise SystemExit(42)", 42),
                         ("import os; os.kill(os.getpid(), 15)", 143), ("1/0", 1)):
        recording = gs.run_code(one_python, code, where, name=f"status{status}", expect=status)
        assert len(recording.processes) == 1
