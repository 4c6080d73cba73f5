# SPDX-License-Identifier: MIT
"""Finds the Python interpreters of this machine and says what each is."""
import glob
import json
import os
import subprocess
from dataclasses import dataclass

PROBE = """
import json, sys
try:
    import platform, sysconfig
    implementation = platform.python_implementation()
    include = sysconfig.get_path('include')
    free_threaded = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))
except ImportError:
    implementation, include, free_threaded = 'CPython', '', False
print(json.dumps([list(sys.version_info[:3]), implementation, include, free_threaded]))
"""


@dataclass(frozen=True)
class Python:
    """One interpreter: its executable, and what it says of itself."""
    path: str
    version: tuple
    implementation: str
    include: str
    free_threaded: bool

    @property
    def supported(self):
        return (self.implementation == "CPython" and not self.free_threaded
                and (3, 8) <= self.version[:2] <= (3, 15))

    @property
    def name(self):
        number = ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")
        return number if self.implementation == "CPython" else f"{self.implementation.lower()}-{number}"

    @property
    def has_headers(self):
        return os.path.exists(os.path.join(self.include, "Python.h"))


def candidates():
    """Executables that may be interpreters, the most likely ones first."""
    home = os.path.expanduser("~")
    patterns = ["/usr/bin/python3.*", "/usr/bin/python2.*", "/usr/bin/pypy*", "/usr/local/bin/python3.*"]
    for root in dict.fromkeys([os.environ.get("PYENV_ROOT"), os.path.join(home, ".pyenv")]):
        if root:
            patterns += [f"{root}/versions/*/bin/python3", f"{root}/versions/*/bin/python2.*",
                         f"{root}/versions/*/bin/pypy*"]
    for pattern in patterns:
        yield from sorted(glob.glob(pattern))
    yield from filter(None, os.environ.get("GILSCOPE_TEST_PYTHONS", "").split(":"))


def ask(path):
    """The interpreter at path, or None where it is none (a script such as python3.11-config)."""
    try:
        answer = subprocess.run([path, "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                stdin=subprocess.DEVNULL, timeout=30, check=True).stdout
        version, implementation, include, free_threaded = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Python(path, tuple(version), implementation, include, free_threaded)


def find():
    """All interpreters, one for each real file, in order of version."""
    found = {}
    for path in candidates():
        real = os.path.realpath(path)
        if real in found or real.endswith("-config") or real.endswith((".py", ".sh")):
            continue
        if os.access(real, os.X_OK):
            found[real] = ask(path)
    return sorted(filter(None, found.values()), key=lambda p: (p.implementation, p.version, p.path))


ALL = find()
SUPPORTED = [p for p in ALL if p.supported]
# For what is the same code for each version, in the library and in CPython: the system's own, which is static and
# stripped, the oldest one, and the newest one.
SYSTEM = [p for p in SUPPORTED if p.path.startswith("/usr/bin/")][:1]
FEW = list(dict.fromkeys(SYSTEM + SUPPORTED[:1] + SUPPORTED[-1:]))
ODD = [p for p in ALL if not p.supported]
