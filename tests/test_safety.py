# SPDX-License-Identifier: MIT
"""The page of promises keeps up with the library and the tests; doctor finds what the library stays inert for."""
import os
import re
import resource
import subprocess

import pytest

from helpers import faults, gs

PAGE = (gs.REPO / "man" / "gilscope-safety.7").read_text(encoding="utf-8").replace("\\-", "-")


def test_each_promise_has_its_test():
    """Every test that gilscope-safety(7) names is there."""
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", PAGE)
    assert len(named) > 15
    for file, test in named:
        assert f"\ndef {test}(" in (gs.REPO / "tests" / file).read_text(encoding="utf-8"), (file, test)


def test_each_reason_is_in_the_manual():
    """Every reason for which the library stays inert is in gilscope-safety(7)."""
    source = "".join(path.read_text(encoding="utf-8") for path in (gs.REPO / "lib").glob("shim-*.c"))
    reasons = re.findall(r'stay_inert\(\s*"([^"]+)"', source) + re.findall(r'\*why = "([^"]+)"', source)
    assert len(reasons) >= 7
    for reason in reasons:
        start = re.split(r"[;,]", reason)[0]
        assert start in PAGE, reason


def doctor(where, pid=None, **kwargs):
    env = gs.clean_env({"PATH": str(where)})
    return gs.gilscope("doctor", *([pid] if pid else []), env=env, cwd=where, **kwargs).stdout


def test_doctor_says_why_not_here(where):
    """A limit of the file's size, and a directory without room, are named before a program is started."""
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY))
    assert re.search(r"^  file size +missing .*64", doctor(where, preexec_fn=small), re.M)
    with faults.tmpfs(where, "32k") as mount:
        assert re.search(r"^  output +missing .*space", doctor(mount), re.M)
    assert "file size" not in doctor(where)


def test_doctor_says_why_not_that_process(where, one_python):
    """Of a process that was started with the library and is not measured, doctor PID names the cause."""
    script = where / "sleep.py"
    script.write_text("print('on', flush=True); __import__('time').sleep(60)")
    for output, why in ((where / "no" / "such", "No such file"), (where / "sleep.py", "Not a directory")):
        env = gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={output}"})
        with subprocess.Popen([one_python.path, str(script)], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            try:
                process.stdout.readline()
                said = doctor(where, process.pid)
            finally:
                process.kill()
        assert re.search(rf"^  output +missing .*{re.escape(str(output))}.*{why}", said, re.M), said


def test_doctor_knows_somebody_elses_rights(where):
    """Of a process with another user's rights, doctor PID says that the library ignores the environment there."""
    faults.needs_root()
    with faults.everybodys_directory() as (directory, _):
        program = directory / "sleep"
        program.write_bytes(open(os.path.realpath("/bin/sleep"), "rb").read())
        program.chmod(0o4755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "60"]
        faults.needs([*command[:-2], "/bin/true"])
        with subprocess.Popen(list(map(str, command))) as process:
            try:
                for _ in range(500):
                    if os.readlink(f"/proc/{process.pid}/exe") == str(program):
                        break
                    subprocess.run(["sleep", "0.01"], check=True)
                said = doctor(where, process.pid)
            finally:
                process.kill()
        if "AT_SECURE" not in said and os.statvfs(directory).f_flag & os.ST_NOSUID:
            pytest.skip("the file system gives no such rights")
        assert re.search(r"^  rights +missing .*AT_SECURE", said, re.M), said
