# SPDX-License-Identifier: MIT
"""The command line: exit statuses, help, errors, where recordings go, signals."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from helpers import gs

COMMANDS = ["run", "attach", "report", "dump", "doctor", "pause", "resume", "preload"]
SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"


def run(*args, **kwargs):
    return gs.gilscope("run", *args, **kwargs)


def error_line(done):
    """The one line that a failed command prints."""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and re.match(r"gilscope: .{10,}$", lines[0]), done.stderr
    return lines[0]


def start(where, python, code, *options, **kwargs):
    """A program under `gilscope run`, once it has printed its first line."""
    script = where / "program.py"
    script.write_text(code)
    process = subprocess.Popen([str(gs.BIN), "run", *options, "-o", str(where / "rec"), "--", python.path, str(script)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=gs.clean_env(), **kwargs)
    assert process.stdout.readline() == "ready\n"
    return process


def children(pid):
    return [int(word) for word in open(f"/proc/{pid}/task/{pid}/children").read().split()]


# --- exit statuses of run

@pytest.mark.parametrize("status", [0, 3, 125, 255])
def test_run_has_the_programs_status(status, where, one_python):
    """Whatever the program returns, run returns."""
    done = run("-q", "-o", where / "rec", "--", one_python.path, "-c", f"raise SystemExit({status})")
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_run_tells_the_signal(number, where, one_python):
    """A program that was killed gives 128 plus the signal's number, and its recording has an end."""
    code = f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(number)})"
    done = run("-q", "-o", where / "rec", "--", one_python.path, "-c", code)
    assert done.returncode == 128 + number
    assert gs.report(where / "rec")["processes"][0]["complete"] is False


def test_no_such_command_is_127(where):
    """A command that is not there gives 127 and one line; no directory stays behind."""
    done = run("--", "no-such-command-anywhere", cwd=where)
    assert done.returncode == 127
    assert "cannot find the command 'no-such-command-anywhere'" in error_line(done)
    assert not list(where.iterdir())


def test_what_cannot_be_executed_is_126(where):
    """A file without the right to execute gives 126, and so does a script whose interpreter is missing."""
    plain = where / "plain"
    plain.write_text("text\n")
    done = run("--", plain, cwd=where)
    assert done.returncode == 126
    assert "Permission denied" in error_line(done)
    plain.write_text("#!/no/such/interpreter\n")
    plain.chmod(0o755)
    done = run("--", plain, cwd=where)
    assert done.returncode == 126
    assert "the interpreter that it names does not exist" in error_line(done)


@pytest.mark.parametrize("options", [["--no-such-option"], [], ["-o"], ["--format", "no-such-format", "--", "true"],
                                     ["--timeline", "--", "true"], ["-o", "/proc/no/such/place", "--", "true"],
                                     ["--report", "/no/such/place/report", "--", "true"]],
                         ids=" ".join)
def test_own_failures_are_125(options, where):
    """What gilscope itself refuses gives 125 and says why, and the program is not started."""
    done = run(*options, cwd=where)
    assert done.returncode == 125
    assert done.stderr.startswith("gilscope")
    assert not list(where.iterdir())


def test_options_after_the_command_are_its_own(where, one_python):
    """Options that follow the command are not taken for gilscope's."""
    code = "import sys; print(sys.argv[1:])"
    for separator in ([], ["--"]):
        done = run("-q", "-o", where / f"rec{len(separator)}", *separator, one_python.path, "-c", code,
                   "-q", "--report", "-o")
        assert done.stdout == "['-q', '--report', '-o']\n", done.stderr


# --- where the recording goes

def test_the_directory_is_named_after_the_script(where, one_python):
    """NAME.gilscope, then NAME-2.gilscope; private to its owner."""
    (where / "work.py").write_text("pass\n")
    for expected in ("work.gilscope", "work-2.gilscope", "work-3.gilscope"):
        assert run("-q", "--", one_python.path, "-X", "utf8", "-u", "work.py", "x", cwd=where).returncode == 0
        assert (where / expected).stat().st_mode & 0o777 == 0o700
        assert len(list((where / expected).glob("*.gil"))) == 1


@pytest.mark.parametrize("arguments, name", [(["-m", "this"], "this"), (["-c", "pass"], None)])
def test_the_directory_of_a_module_or_of_code(arguments, name, where, one_python):
    """python -m MODULE is named after the module, python -c after the interpreter."""
    assert run("-q", "--", one_python.path, *arguments, cwd=where).returncode == 0
    expected = name or os.path.basename(one_python.path)
    assert [p.name for p in where.iterdir()] == [f"{expected}.gilscope"]


def test_a_used_directory_is_refused(where, one_python):
    """Two recordings are not mixed up in one directory; an empty one is fine."""
    (where / "rec").mkdir()
    assert run("-q", "-o", where / "rec", "--", one_python.path, "-c", "pass").returncode == 0
    done = run("-q", "-o", where / "rec", "--", one_python.path, "-c", "print('ran')")
    assert (done.returncode, done.stdout) == (125, "")
    assert "it is not empty; name another directory with -o" in error_line(done)


@pytest.mark.parametrize("name", ["with space", "a,b", "back\\slash", "paused,output=x", "ü", "-dash", "a:b"])
def test_strange_directory_names(name, where, one_python):
    """The recording goes where it was told to, whatever the directory is called."""
    assert run("-q", f"--output={name}", "--", one_python.path, "-c", "pass", cwd=where).returncode == 0
    assert len(list((where / name).glob("*.gil"))) == 1
    assert [p.name for p in where.iterdir()] == [name]


def test_the_directory_is_independent_of_the_programs(where, one_python):
    """A program that changes its working directory first records where it was told to."""
    code = "import os, subprocess, sys; os.chdir('/'); subprocess.run([sys.executable, '-c', 'pass'])"
    assert run("-q", "-o", "rec", "--", one_python.path, "-c", code, cwd=where).returncode == 0
    assert len(list((where / "rec").glob("*.gil"))) == 2


def test_another_preload_is_kept(where, one_python):
    """LD_PRELOAD that was set before stays, after gilscope's."""
    code = "import os; print(os.environ['LD_PRELOAD'])"
    env = gs.clean_env({"LD_PRELOAD": "libm.so.6"})
    done = run("-q", "-o", where / "rec", "--", one_python.path, "-c", code, env=env)
    assert done.stdout == f"{gs.preload()}:libm.so.6\n"


def test_nothing_recorded_says_why(where):
    """A program that is not Python leaves no directory, and one line."""
    done = run("--", "sh", "-c", "exit 4", cwd=where)
    assert done.returncode == 4
    assert error_line(done).startswith("gilscope: nothing was recorded: neither 'sh' nor")
    assert not list(where.iterdir())


def test_a_static_program_says_why(where):
    """Of a statically linked program it says that LD_PRELOAD does not reach it."""
    source, program = where / "p.c", where / "static"
    source.write_text("int main(void) { return 6; }\n")
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    script = where / "script"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    for command in (program, script):
        done = run("--", command, cwd=where)
        assert done.returncode == 6
        assert "it is linked statically, which LD_PRELOAD does not reach" in error_line(done)


# --- reports of run

def test_the_report_is_on_stderr(where, one_python):
    """The program's output stays its own; the report comes after it, on stderr."""
    done = run("-o", where / "rec", "--", one_python.path, "-c", "print('own')")
    assert done.stdout == "own\n"
    assert "CPython" in done.stderr


def test_the_report_goes_to_a_file(where, one_python):
    """--report takes the report, in the format that was asked for, and stderr stays empty."""
    done = run("-o", where / "rec", "--format", "json", "--report", where / "out.json", "--",
               one_python.path, "-c", "pass")
    assert (done.returncode, done.stderr) == (0, "")
    now, later = json.loads((where / "out.json").read_text()), gs.report(where / "rec")
    assert now["schema"] == gs.SCHEMA and len(now["processes"]) == 1
    assert now["processes"][0]["pid"] == later["processes"][0]["pid"]
    assert now["processes"][0]["complete"] is True


# --- signals

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_passed_on(number, where, one_python):
    """A signal for gilscope reaches the program; gilscope stays until it has ended."""
    code = ("import os, signal, sys, time\n" # os.write: print may be at work when the signal comes
            f"signal.signal({int(number)}, lambda *a: (os.write(1, b'got it\\n'), sys.exit(7)))\n" + SLEEPER)
    process = start(where, one_python, code, "-q")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (7, "got it\n", "")


def test_ignored_signals_stay_ignored(where, one_python):
    """Under nohup the program ignores SIGHUP, as it would without gilscope."""
    code = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    done = run("-q", "-o", where / "rec", "--", one_python.path, "-c", code,
               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.stdout == "True\n"


def test_ctrl_c_prints_the_report(where, one_python):
    """Ctrl-C in a terminal ends the program once, and the report is printed all the same."""
    script = where / "program.py"
    # Many short sleeps: CPython looks for signals before it calls the kernel, and one that comes in between waits until
    # the sleep is over (Modules/timemodule.c, pysleep).
    script.write_text("import time\ntry:\n    print('ready', flush=True)\n    for _ in range(600):\n"
                      "        time.sleep(0.1)\n"
                      "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n    time.sleep(0.3)\n")
    try:
        pid, terminal = pty.fork()
    except OSError as error:
        pytest.skip(f"no pseudo-terminal to be had: {error}")
    if pid == 0:
        os.chdir(where)
        signal.signal(signal.SIGINT, signal.SIG_DFL) # whoever runs the tests may have it ignored
        os.execve(gs.BIN, ["gilscope", "run", "--", one_python.path, str(script)], gs.clean_env())
    seen, sent, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
        if b"ready" in seen and not sent:
            os.write(terminal, b"\x03")
            sent = True
    status = os.waitpid(pid, 0)[1]
    text = seen.decode()
    assert text.count("interrupted") == 1 and "Traceback" not in text, text
    assert os.WEXITSTATUS(status) == 0 and "CPython" in text[text.index("interrupted"):], text


# --- the other commands

def test_help_and_version():
    """--help lists every command; each command has its own help; wrong words are told."""
    text = gs.gilscope("--help").stdout
    assert re.findall(r"^  (\w+) {2,}\w", text, re.M) == COMMANDS
    assert gs.gilscope().returncode == 2
    for wrong in ("no-such-command", "--no-such-option"):
        done = gs.gilscope(wrong)
        assert done.returncode == 2 and wrong in error_line(done)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command):
    """The options in a command's help are those of its page in the manual, no more and no less."""
    done = gs.gilscope(command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: gilscope {command}")
    page = (gs.REPO / "man" / f"gilscope-{command}.1").read_text()
    if page.startswith(".so "):
        page = (gs.REPO / "man" / page.split("/")[1].strip()).read_text()
    page = page.replace("\\-", "-")
    common = {"--help", "--usage", "--version"}
    helped = set(re.findall(r"^ {2,6}(?:-\w, +)?.*?(--[a-z-]+)", done.stdout, re.M)) - common
    documented = set(re.findall(r"--[a-z-]+", "\n".join(re.findall(r"^\.TP\n(\.B.*)", page, re.M)))) - common
    assert helped == documented


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_options_are_usage_errors(command):
    """An option that a command does not have is an error of usage, not a crash, and nothing is done."""
    done = gs.gilscope(command, "--no-such-option")
    assert done.returncode == (125 if command == "run" else 2)
    assert done.stdout == "" and done.stderr.startswith(f"gilscope {command}: ")


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("pid, status", [("x", 2), ("", 2), ("-1", 2), ("0", 2), ("99999999999999999999", 2), ("1 ", 2),
                                         ("4194305", 1)])
def test_pause_of_no_process(command, pid, status):
    """What is no process id is an error of usage; a process that is not there is a failure."""
    done = gs.gilscope(command, pid)
    assert done.returncode == status and done.stdout == ""
    if status == 1:
        assert "there is no such process" in error_line(done)


def test_pause_of_a_process_that_is_not_measured():
    """A process without a recording cannot be paused, and hears nothing of it."""
    done = gs.gilscope("pause", os.getpid())
    assert done.returncode == 1 and "it writes no recording" in error_line(done)


def test_pause_and_resume_say_what_they_did(where, one_python):
    """Pausing and resuming a process, twice each: the second time changes nothing and is no error."""
    process = start(where, one_python, SLEEPER, "-q")
    pid = children(process.pid)[0]
    for command, done in (("pause", "paused"), ("resume", "measuring")):
        for suffix in ("", " already"):
            result = gs.gilscope(command, pid)
            assert (result.returncode, result.stdout, result.stderr) == (0, f"process {pid}: {done}{suffix}\n", "")
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM


def test_pause_leaves_foreign_files_alone(where):
    """A process that has some other file mapped under a recording's name is refused, and the file is not changed."""
    fake = where / "fake.gil"
    fake.write_bytes(b"precious" * 1024)
    code = (f"import mmap, time\nf = open({str(fake)!r}, 'r+b')\nm = mmap.mmap(f.fileno(), 0)\n" + SLEEPER)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        done = gs.gilscope("pause", process.pid)
        assert done.returncode == 1 and "it is not a gilscope recording" in error_line(done)
        assert fake.read_bytes() == b"precious" * 1024
    finally:
        process.kill()
        process.communicate()


def test_preload_prints_one_path():
    """preload prints the path of a library that is there."""
    path = gs.preload()
    assert os.path.isabs(path) and os.path.basename(path) == "libgilscope-preload.so" and os.path.exists(path)


def test_a_full_disk_is_not_success():
    """Output that cannot be written is an error, although the command had nothing else to complain about."""
    with open("/dev/full", "w") as full:
        for command in (["preload"], ["--help"], ["doctor", str(os.getpid())]):
            done = subprocess.run([str(gs.BIN), *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                  env=gs.clean_env())
            assert done.returncode == 1, command
        assert "No space left on device" in done.stderr or command[0] == "doctor"


def test_doctor_tries_what_it_finds(one_python):
    """doctor has seen an interpreter being measured before it calls it ok."""
    env = gs.clean_env({"PATH": f"{os.path.dirname(one_python.path)}:{os.environ['PATH']}"})
    done = gs.gilscope("doctor", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  preload shim +ok +/", done.stdout, re.M)
    version = ".".join(map(str, one_python.version))
    assert re.search(rf"^  python +ok +\S+: CPython {re.escape(version)}: measured, \d+ acquisitions$", done.stdout, re.M)
    assert re.search(r"^  attach bpf +(ok|missing) +\w", done.stdout, re.M)
    assert re.search(r"^  attach sample +ok ", done.stdout, re.M)


def test_doctor_of_a_measured_process(where, one_python):
    """doctor PID tells version, shim and whether it is paused; of other processes it says that they are not measured."""
    process = start(where, one_python, SLEEPER, "-q")
    pid = children(process.pid)[0]
    done = gs.gilscope("doctor", pid)
    assert done.returncode == 0, done.stdout
    version = ".".join(map(str, one_python.version))
    assert re.search(rf"^  python +ok +CPython {re.escape(version)}", done.stdout, re.M), done.stdout
    assert re.search(r"^  recording +ok +being written", done.stdout, re.M)
    gs.gilscope("pause", pid)
    assert re.search(r"^  recording +ok +paused", gs.gilscope("doctor", pid).stdout, re.M)
    process.terminate()
    process.wait(20)
    with subprocess.Popen(["sleep", "20"]) as other:
        done = gs.gilscope("doctor", other.pid)
        other.kill()
    assert done.returncode == 1 and "does not run Python" in done.stdout
