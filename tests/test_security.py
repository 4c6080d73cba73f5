# SPDX-License-Identifier: MIT
"""Who may read a recording, where it may be put by whom, and programs that run with another user's rights."""
import os
import re
import shutil
import stat
import subprocess
import sysconfig

import pytest

from helpers import gs, pythons

NOBODY, SOMEBODY = 65534, 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users' files can only be made by root")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def shim_env(output):
    return gs.clean_env({"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={output}"})


def preloaded(python, output, umask=0o022, **kwargs):
    """A program under the shim without the launcher; a CompletedProcess."""
    return subprocess.run([python.path, "-c", "print('own')"], env=shim_env(output), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.umask(umask), **kwargs)


def system_python():
    found = [p for p in pythons.SUPPORTED if p.path.startswith("/usr/bin/")]
    if not found:
        pytest.skip("another user needs an interpreter in /usr/bin")
    return found[0]


def shim_for_others(where):
    """A copy of the shim that other users can reach, and a sticky directory of everybody's."""
    os.chmod(where, 0o755)
    for parent in list(where.parents)[:-1]:
        if not parent.stat().st_mode & 0o001:
            os.chmod(parent, parent.stat().st_mode | 0o011)
    shim = where / "libgilscope-preload.so"
    shutil.copy(gs.preload(), shim)
    shim.chmod(0o755)
    shared = where / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    return shim, shared


def run_as(user, python, shim, output):
    env = gs.clean_env({"LD_PRELOAD": shim, "GILSCOPE": f"output={output}"})
    return subprocess.run([python.path, "-c", "print('own')"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False, user=user, group=user, extra_groups=[], cwd="/")


@pytest.mark.parametrize("umask", [0, 0o022, 0o777 & ~0o700])
def test_recordings_are_private(umask, where, one_python):
    """Whatever the umask: the directory is its owner's only, and so is each file; with and without the launcher."""
    preloaded(one_python, where / "a", umask)
    gs.gilscope("run", "-q", "-o", where / "b", "--", one_python.path, "-c", "pass", preexec_fn=lambda: os.umask(umask))
    for name in "ab":
        files = list((where / name).iterdir())
        kinds = sorted(f.suffix for f in files) # the launcher's looks have a file where there was time for one
        assert mode(where / name) == 0o700 and kinds in ([".gil"], [".gil", ".holds"][:1 if name == "a" else 2])
        assert {mode(f) for f in files} == {0o600}


@as_root
@pytest.mark.parametrize("end", ["", "/", "/.", "//"], ids=["plain", "slash", "dot", "slashes"])
def test_another_users_link_is_not_followed(end, where):
    """A link that somebody else planted under the recording's name is refused in one line; the program runs."""
    python = system_python()
    shim, shared = shim_for_others(where)
    target = where / "target"
    target.mkdir()
    os.chown(target, SOMEBODY, SOMEBODY)
    planted = shared / "rec"
    planted.symlink_to(target)
    os.lchown(planted, NOBODY, NOBODY)
    done = run_as(SOMEBODY, python, shim, f"{planted}{end}")
    assert (done.returncode, done.stdout) == (0, "own\n")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("gilscope: ") and str(planted) in done.stderr
    assert not list(target.iterdir())


@as_root
@pytest.mark.parametrize("end", ["", "/", "/."], ids=["plain", "slash", "dot"])
@pytest.mark.parametrize("command", ["run", "attach"])
def test_commands_follow_no_link_of_another_user(command, end, where):
    """run and attach refuse such a link in one line, and write nothing."""
    target, planted = where / "target", where / "rec"
    target.mkdir()
    planted.symlink_to(target)
    os.lchown(planted, NOBODY, NOBODY)
    with subprocess.Popen([system_python().path, "-c", "import time; time.sleep(60)"]) as process:
        what = ["--", "/bin/true"] if command == "run" else ["-d", "0.1", process.pid]
        done = gs.gilscope(command, "-o", f"{planted}{end}", *what)
        process.kill()
    assert done.returncode in (1, 125) and "symbolic link of another user" in done.stderr
    assert len([line for line in done.stderr.splitlines() if "attaching by" not in line]) == 1
    assert not list(target.iterdir())


@as_root
def test_ones_own_link_is_followed(where):
    """A link of one's own, or of root's, is as good as the directory."""
    python = system_python()
    shim, shared = shim_for_others(where)
    target = where / "target"
    target.mkdir()
    os.chown(target, SOMEBODY, SOMEBODY)
    for owner in (SOMEBODY, 0):
        link = shared / f"rec{owner}"
        link.symlink_to(target)
        os.lchown(link, owner, owner)
        before = len(list(target.iterdir()))
        done = run_as(SOMEBODY, python, shim, link)
        if "symbolic link" in done.stderr or "Permission denied" in done.stderr:
            # fs.protected_symlinks: in a sticky directory the kernel itself follows the owner's links only
            assert owner == 0
        else:
            assert done.stderr == "" and len(list(target.iterdir())) == before + 1


@as_root
def test_another_users_directory(where):
    """A directory of somebody else's that cannot be written to is refused; files planted in one that can, are left."""
    python = system_python()
    shim, shared = shim_for_others(where)
    theirs = shared / "rec"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, NOBODY, NOBODY)
    done = run_as(SOMEBODY, python, shim, theirs)
    assert (done.returncode, done.stdout) == (0, "own\n")
    assert len(done.stderr.splitlines()) == 1 and "Permission denied" in done.stderr
    theirs.chmod(0o777)
    (theirs / "planted.gil").write_bytes(b"precious")
    done = run_as(SOMEBODY, python, shim, theirs)
    assert (done.returncode, done.stderr) == (0, "")
    (made,) = [f for f in theirs.iterdir() if f.name != "planted.gil"]
    assert mode(made) == 0o600 and made.stat().st_uid == SOMEBODY
    assert (theirs / "planted.gil").read_bytes() == b"precious"


def test_the_file_is_made_anew(where, one_python):
    """The file is opened with O_EXCL and O_NOFOLLOW, with mode 0600."""
    if not shutil.which("strace"):
        pytest.skip("there is no strace")
    trace = where / "trace"
    subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=openat,open,mkdir", one_python.path, "-c", "pass"],
                   env=shim_env(where / "rec"), check=True, stderr=subprocess.DEVNULL)
    opened = [line for line in trace.read_text().splitlines() if re.search(r"open(at)?\(.*\.gil", line)]
    assert opened and "O_CREAT" in opened[0] and ", 0600)" in opened[0]
    assert all("O_NOFOLLOW" in line for line in opened) and "O_EXCL" in opened[0]
    assert re.search(r'mkdir\(".*rec", 0700\)', trace.read_text())


def without_nosuid(where):
    if os.statvfs(where).f_flag & os.ST_NOSUID:
        pytest.skip(f"{where} is mounted nosuid")


@as_root
@pytest.mark.parametrize("way", ["setuid", "capability"])
def test_a_privileged_program_ignores_the_variables(way, where):
    """A program with more rights than its caller is neither measured nor told where to write."""
    python = system_python()
    without_nosuid(where)
    shim, shared = shim_for_others(where)
    copy = where / "python"
    shutil.copy(os.path.realpath(python.path), copy)
    copy.chmod(0o755)
    if way == "setuid":
        copy.chmod(0o4755)
    else:
        setcap = shutil.which("setcap") or shutil.which("setcap", path="/sbin:/usr/sbin")
        if not setcap:
            pytest.skip("there is no setcap")
        done = subprocess.run([setcap, "cap_net_raw+ep", copy], check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            pytest.skip(f"file capabilities cannot be set here: {done.stderr.strip()}")
    env = gs.clean_env({"LD_PRELOAD": shim, "GILSCOPE": f"output={shared}/rec"})
    try:
        done = subprocess.run([copy, "-c", "import os; print(os.geteuid())"], env=env, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, check=False, user=SOMEBODY, group=SOMEBODY, extra_groups=[], cwd="/")
    finally:
        copy.unlink()
    assert (done.returncode, done.stdout) == (0, "0\n" if way == "setuid" else f"{SOMEBODY}\n"), done.stderr
    assert "gilscope" not in done.stderr and not list(shared.iterdir())


HOST = """#include <Python.h>
#include <stdio.h>
#include <sys/auxv.h>
int main(int argc, char **argv)
{
    int status = Py_BytesMain(argc, argv);
    printf("secure %lu\\n", getauxval(AT_SECURE));
    return status;
}
"""


@as_root
def test_a_privileged_program_that_links_the_shim(where):
    """Even where the shim is loaded into such a program, it ignores the variables and writes nothing."""
    without_nosuid(where)
    shim, shared = shim_for_others(where)
    include, version = sysconfig.get_paths()["include"], sysconfig.get_python_version()
    if not os.path.exists(f"{include}/Python.h"):
        pytest.skip("no headers of this Python")
    source, host = where / "host.c", where / "host"
    source.write_text(HOST)
    made = subprocess.run(["gcc", "-o", host, source, f"-I{include}", "-Wl,--no-as-needed", shim,
                           f"-Wl,-rpath,{where}", f"-lpython{version}"],
                          check=False, stderr=subprocess.PIPE, text=True)
    if made.returncode:
        pytest.skip(f"no libpython{version} to link with: {made.stderr.splitlines()[-1]}")
    env = gs.clean_env({"GILSCOPE": f"output={shared}/rec"})
    seen = {}
    for bits in (0o755, 0o4755):
        host.chmod(bits)
        done = subprocess.run([host, "-c", "pass"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, user=SOMEBODY, group=SOMEBODY, extra_groups=[], cwd="/")
        assert done.returncode == 0 and done.stderr == "", done.stderr
        seen[done.stdout.strip()] = len(list(shared.glob("rec/*.gil")))
        shutil.rmtree(shared / "rec", ignore_errors=True)
    host.unlink()
    assert seen == {"secure 0": 1, "secure 1": 0}
