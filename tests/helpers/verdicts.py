# SPDX-License-Identifier: MIT
"""The labelled programs, and the quiet that it takes to judge them."""
import json
import os
import resource
import time
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LABELS = json.loads((PROGRAMS / "labels.json").read_text(encoding="utf-8"))
DURATION_S = 1.5
# Of those that sleep and wait: beside it even a slow machine's start of the interpreter, 0.1 s of a processor, is next to
# nothing.
IDLE_S = 5
CPUS = len(os.sched_getaffinity(0))
# A verdict is only compared while the rest of the machine left the program its processors.
NEIGHBOURS_MAX_CPUS = 0.25
ATTEMPTS = 4


def busy_cpu_s():
    """CPU time, in seconds, that was not idle on all processors since the boot; stolen by the hypervisor counts too."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", maxsplit=1)[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_cpu_s():
    """CPU time, in seconds, of this process and its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def undisturbed(act):
    """What act(attempt) returns in a try in which others used little of the machine; or a skip after ATTEMPTS."""
    for attempt in range(ATTEMPTS):
        start, busy, own = time.monotonic(), busy_cpu_s(), own_cpu_s()
        result = act(attempt)
        elapsed = time.monotonic() - start
        others = (busy_cpu_s() - busy - (own_cpu_s() - own)) / elapsed
        if others <= NEIGHBOURS_MAX_CPUS:
            return result
        time.sleep(1)
    return pytest.skip(f"other processes use {others:.2f} processors: verdicts would be about them")


def need_cpus(label):
    if label.get("cpus", 1) > CPUS:
        pytest.skip(f"needs {label['cpus']} processors, has {CPUS}")


def classes(label):
    return label if isinstance(label, list) else [label]


def describe(process):
    verdict = process["verdict"]
    lines = [f"{verdict['class']} ({verdict['confidence']}): {verdict['summary']}"]
    lines += [f"  {line}" for line in verdict["evidence"]]
    return "\n".join(lines)
