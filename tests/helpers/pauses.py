# SPDX-License-Identifier: MIT
"""Programs under the shim that are paused and resumed from outside while they run, and what must add up then."""
import subprocess
import time

from helpers import gs, sums

US, MS = 1000, 1000 * 1000
# Two accounts of the same thing are the same, but for the rounding of each figure, and 3 us that a thread may owe
# another one.
EXACT_SHARE, EXACT_NS = 1e-6, 3 * US


class Live:
    """A Python program under the shim, started paused or not, that prints its process id first."""

    def __init__(self, command, where, preload=(), paused=True, **env):
        self.dir = where / "live.gilscope"
        self.windows, self.resumed = [], None if paused else (0, 0)
        env = gs.clean_env(dict(env, LD_PRELOAD=":".join(map(str, [gs.preload(), *preload])),
                                GILSCOPE=f"output={self.dir}" + (",paused" if paused else "")))
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        encoding="utf-8", bufsize=1)
        self.pid = int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self):
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def say(self, line):
        self.process.stdin.write(line + "\n")

    def hear(self, line):
        assert self.process.stdout.readline() == line + "\n"

    def control(self, what):
        """Pauses or resumes; the instants before and after, CLOCK_MONOTONIC ns."""
        before = time.monotonic_ns()
        done = gs.gilscope(what, self.pid)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        when = before, time.monotonic_ns()
        if what == "resume":
            self.resumed = when
        elif self.resumed:
            self.windows.append((self.resumed, when))
            self.resumed = None
        return when

    def measured(self):
        """The least and the most that has been measured in all, ns: the program is paused."""
        return sum(p[0] - r[1] for r, p in self.windows), sum(p[1] - r[0] for r, p in self.windows)

    def report(self):
        (process,) = gs.report(self.dir)["processes"]
        wrong = sums.check(process, open_intervals=True)
        assert not wrong, "\n".join(wrong)
        return process


def counted(process):
    """All that grows while measuring."""
    figures = {"wall_ns": process["wall_ns"]}
    for g in process["gils"]:
        for key in ("held_ns", "free_ns", "wait_ns", "wait_wakeup_ns", "wait_forced_ns", "acquisitions", "contended",
                    "drop_requests", "forced_switches", "lost_wakeups"):
            figures["gil", g["interpreter"], key] = g[key]
    for t in process["threads"]:
        for key in ("wall_ns", "wait_blocked_ns", "wait_wakeup_ns", "wait_forced_ns", "lock_wait_ns", "charged_ns",
                    "acquisitions", "contended", "lost_wakeups"):
            figures[t["tid"], key] = t[key]
        figures[t["tid"], "held_ns"] = t["held_oncpu_ns"] + t["held_offcpu_ns"]
        figures[t["tid"], "released_ns"] = t["released_oncpu_ns"] + t["released_offcpu_ns"]
    return figures


def less(before, after):
    """What is less than it was: sentences."""
    return [f"{key}: {value}, then {after.get(key)}" for key, value in before.items() if after.get(key, -1) < value]


def disagreements(process):
    """Sums that are not exact, which they are however often measuring was paused: sentences."""
    threads, gils, blocking = process["threads"], process["gils"], process["blocking"]
    wrong = sums.check(process, open_intervals=True)

    def equal(what, a, b):
        if abs(a - b) > max(EXACT_SHARE * max(a, b), EXACT_NS):
            wrong.append(f"{what}: {a} != {b}")

    def total(key, of=threads):
        return sum(one[key] for one in of)

    equal("charged and blocked", total("charged_ns"), total("wait_blocked_ns"))
    equal("the GILs' blocked and the threads'", total("wait_ns", gils) - total("wait_wakeup_ns", gils),
          total("wait_blocked_ns"))
    equal("held by the GILs and by the threads", total("held_ns", gils), total("held_oncpu_ns") + total("held_offcpu_ns"))
    for t in threads:
        equal(f"row of {t['tid']}", sum(p["ns"] for p in blocking if p["waiter_tid"] == t["tid"]), t["wait_blocked_ns"])
        if "pairs" not in process["losses"]: # a row has room for so many holders only
            equal(f"column of {t['tid']}", sum(p["ns"] for p in blocking if p["holder_tid"] == t["tid"]), t["charged_ns"])
        equal(f"states of {t['tid']}", sum(t[s] for s in sums.STATES), t["wall_ns"])
        wrong += [f"{t['tid']}: negative {s}" for s in sums.STATES if t[s] < 0]
    return wrong
