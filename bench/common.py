# SPDX-License-Identifier: MIT
"""What the benchmarks share: where the tool is, how a program is preloaded, and on what machine this is."""
import os
import platform
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def fail(message):
    """One line on stderr, exit status 1."""
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")


def gilscope_bin(path=None):
    """The gilscope executable: the given one, $GILSCOPE_BIN, or the one that was built here."""
    found = Path(path or os.environ.get("GILSCOPE_BIN") or REPO / "gilscope").absolute()
    if not os.access(found, os.X_OK):
        fail(f"{found} is not there: build first, or set GILSCOPE_BIN")
    return str(found)


def preload_path(gilscope):
    """The shim's path."""
    return subprocess.run([gilscope, "preload"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def bare_env():
    """The environment of a program that is not measured."""
    return {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith(("GILSCOPE", "PYTHON"))}


def measured_env(preload, directory, paused=False, options=""):
    """The environment of a program that the shim measures, without the launcher; options: more of GILSCOPE's."""
    return dict(bare_env(), LD_PRELOAD=preload,
                GILSCOPE=f"output={directory}" + (",paused" if paused else "") + (f",{options}" if options else ""))


def python_version(python):
    code = "import sys; print(sys.version.split()[0] + ',', " \
           "'shared' if 'libpython' in open('/proc/self/maps').read() else 'static')"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, env=bare_env(), text=True, check=False)
    if done.returncode:
        fail(f"cannot run {python}")
    return done.stdout.strip()


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def environment(python, gilscope):
    """What a number depends on, for the head of each table."""
    version = subprocess.run([gilscope, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return {"gilscope": version.split("\n", maxsplit=1)[0],
            "python": f"{python} ({python_version(python)})", "cpu": cpu_model(),
            "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(), "libc": " ".join(platform.libc_ver()),
            "load_before": round(os.getloadavg()[0], 2)}


def print_environment(env):
    for key, value in env.items():
        print(f"{key:12} {value}")
    print()
