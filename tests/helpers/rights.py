# SPDX-License-Identifier: MIT
"""Runs gilscope with some capabilities only, as another user, under a filter of system calls."""
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from helpers import gs, pythons

# linux/capability.h
NUMBERS = {"cap_dac_read_search": 2, "cap_sys_ptrace": 19, "cap_perfmon": 38, "cap_bpf": 39}
USER, OTHER = 64001, 64002  # of nobody


def need_root():
    if os.geteuid():
        pytest.skip("needs root, to be other users and to give capabilities")


def python_of_all():
    """An interpreter that every user can run."""
    for python in pythons.SUPPORTED:
        if python.path.startswith("/usr/"):
            return python.path
    return pytest.skip("no interpreter in /usr: others cannot run those in a home directory")


class Installed:
    """A copy of gilscope that others can run, with capabilities, as `setcap NAMES+ep` gives them."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="gilscope-rights-", dir="/tmp"))
        self.root.chmod(0o755)

    def gilscope(self, *capabilities):
        path = self.root / ("gilscope-" + "-".join(capabilities))
        if not path.exists():
            shutil.copy(gs.BIN, path)
            path.chmod(0o755)
            bits = sum(1 << NUMBERS[c] for c in capabilities)
            low, high = bits & 0xffffffff, bits >> 32
            # struct vfs_cap_data, VFS_CAP_REVISION_2 with VFS_CAP_FLAGS_EFFECTIVE: linux/capability.h
            if bits:
                os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, low, 0, high, 0))
        return path

    def place(self, uid=USER):
        """A new directory of a user's."""
        path = Path(tempfile.mkdtemp(dir=self.root))
        os.chown(path, uid, uid)
        return path

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


def as_user(uid):
    return ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--bounding-set", "+all"]


def run(command, cwd):
    return subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False, cwd=cwd, env=gs.clean_env())


def capabilities_of(pid):
    """What /proc says of a process: the sets by name, as numbers."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1], 16) for line in lines if line.startswith(("Cap", "NoNewPrivs"))}


# Refuses one system call with EPERM, as the filters of containers do, and becomes another program.  A filter of
# struct sock_filter (linux/filter.h): load the number (offset 0), compare, return.
FILTER = """
import ctypes, os, struct, sys
number, command = int(sys.argv[1]), sys.argv[2:]
code = b"".join(struct.pack("HBBI", *c) for c in ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001),
                                                  (0x06, 0, 0, 0x7fff0000)))
buffer = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert not libc.prctl(22, 2, program, 0, 0), ctypes.get_errno()  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv(command[0], command)
"""


def without_call(number):
    return [python_of_all(), "-c", FILTER, str(number)]
