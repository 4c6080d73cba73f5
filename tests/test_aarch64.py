# SPDX-License-Identifier: MIT
"""The library, built for aarch64, in that machine's CPython under qemu's emulation of user programs (HACKING.md,
"Building"): it measures, what it counts adds up, and faults do no harm."""
import os
import subprocess
from pathlib import Path

import pytest

from helpers import beside, faults, gs, sums

ROOT = Path(os.environ.get("GILSCOPE_TEST_AARCH64") or "/nowhere")
CODE = faults.WORK + """
def named(number): work(number)
threads = [threading.Thread(target=named, args=(n,), name=f"worker {n}") for n in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(results.get() for _ in threads), total, flush=True)
zero = os.open("/dev/zero", os.O_RDONLY)
for _ in range(20000): os.read(zero, 1)
LAST
sys.exit(7)
"""
CUT = """
for name in os.listdir(sys.argv[1]) if os.path.isdir(sys.argv[1]) else (): os.truncate(f"{sys.argv[1]}/{name}", 4096)
run()
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """What runs a program with preloaded libraries in the emulated interpreter: (libraries, environment, script) ->
    command; and the two libraries."""
    pythons = sorted(ROOT.glob("usr/bin/python3.[0-9]*[0-9]"))
    if not gs.FULL or not pythons:
        pytest.skip("only with --full, and where GILSCOPE_TEST_AARCH64 names a root directory with an arm64 python3")
    qemu, gcc = beside.need_program("qemu-aarch64", "qemu-user"), beside.need_program("aarch64-linux-gnu-gcc",
                                                                                   "gcc-aarch64-linux-gnu")
    where = tmp_path_factory.mktemp("aarch64")
    shim, readv = where / "libgilscope-preload.so", where / "readv.so"
    # The directory of config.h is that of the build.
    subprocess.run([gcc, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-g", "-D_GNU_SOURCE=", f"-I{gs.BIN.parent}",
                    f"-I{gs.REPO}/lib", "-fPIC", "-shared", "-fvisibility=hidden", "-ftls-model=initial-exec", "-fexceptions",
                    "-Wl,-z,nodelete", "-Wl,-z,now", *sorted((gs.REPO / "lib").glob("*.c")), "-o", shim], check=True)
    subprocess.run([gcc, "-O1", "-shared", "-fPIC", gs.REPO / "tests/aarch64/readv.c", "-o", readv], check=True)

    def make(preloaded, variables, *arguments):
        settings = {"LD_PRELOAD": ":".join(map(str, preloaded)), **variables}
        return [qemu, "-L", ROOT, *(word for name, value in settings.items() for word in ("-E", f"{name}={value}")),
                pythons[-1], "-S", *arguments]
    return make, shim, readv


def both(command, where, last="", *arguments):
    """Exit status, output and errors without and with the library."""
    make, shim, readv = command
    script = where / "program.py"
    script.write_text(CODE.replace("LAST", last), encoding="utf-8")
    variables = {"GILSCOPE": f"output={where / 'rec.gilscope'}"}
    return [faults.execute(make(preloaded, variables, script, *arguments), None, timeout=300)
            for preloaded in ([readv], [shim, readv])]


def test_it_measures_and_adds_up(command, where):
    """Results are the same, each take is counted, sums add up; threads have names, stacks frames of both kinds."""
    bare, measured = both(command, where)
    assert (bare.returncode, bare.stdout, bare.stderr) == (measured.returncode, measured.stdout, measured.stderr)
    assert bare.returncode == 7, bare
    (process,) = gs.report(where / "rec.gilscope")["processes"]
    assert process["complete"] and not sums.check(process), sums.check(process)
    assert {t["name"] for t in process["threads"]} == {"MainThread", *(f"worker {n}" for n in range(4))}
    main = gs.thread(process, name="MainThread")
    assert 20000 < main["acquisitions"] < 25000
    assert sum(t["wait"]["count"] for t in process["threads"]) > 10
    frames = [f for s in process["stacks"] for f in s["frames"]]
    assert any(f["function"] == "work" and not f["native"] for f in frames)
    assert any(f["native"] and "aarch64-linux-gnu" in f["function"] for f in frames)
    assert "clock 3" in gs.gilscope("dump", where / "rec.gilscope").stdout # cntvct_el0


def test_it_survives_a_file_that_is_cut(command, where):
    """SIGBUS is caught there, too: one line, and the program ends as it would."""
    bare, measured = both(command, where, CUT, where / "rec.gilscope")
    ours, others = faults.split_stderr(measured.stderr)
    assert (measured.returncode, measured.stdout, others) == (bare.returncode, bare.stdout, bare.stderr)
    assert len(ours) == 1 and "stopped measuring" in ours[0]
