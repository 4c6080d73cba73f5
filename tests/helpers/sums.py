# SPDX-License-Identifier: MIT
"""What must add up in every report of a process, whatever the program did."""
import collections

STATES = ("held_oncpu_ns", "held_offcpu_ns", "wait_blocked_ns", "wait_wakeup_ns", "wait_forced_ns",
          "released_oncpu_ns", "released_offcpu_ns")
SHARE, ROUNDING_NS = 0.005, 2000
# Two accounts of one thing, kept apart: what the holder was charged, and what the waiters say of it.
CHARGE_SHARE, CHARGE_NS = 0.01, 100000


def close(a, b, extra_ns=0):
    return abs(a - b) <= max(SHARE * max(abs(a), abs(b)), ROUNDING_NS) + extra_ns


def check(process, open_intervals=False):
    """A list of sentences, one for each sum that does not hold.

    open_intervals: the process was cut off or still runs, so that a hold or wait may have begun that is in no
    histogram yet.
    """
    wrong = []
    threads, gils, blocking = process["threads"], process["gils"], process["blocking"]

    def equal(what, a, b):
        if not close(a, b):
            wrong.append(f"{what}: {a} != {b}")

    def total(key, of=threads):
        return sum(one[key] for one in of)

    rows, columns = collections.Counter(), collections.Counter()
    for p in blocking:
        rows[p["waiter_tid"]] += p["ns"]
        columns[p["holder_tid"]] += p["ns"]
    # Waits that saw more changes of holder than are remembered; the preload library charged the holders all the same.
    # The unknown ones' number, too, is that of "(ended threads)".
    unknown = columns[0]
    charged_to_nobody = max(0, unknown - sum(t["charged_ns"] for t in threads if not t["tid"])) if process["source"] == "bpf" else 0
    if charged_to_nobody > CHARGE_NS and not process["losses"].get("pairs") and not open_intervals:
        wrong.append(f"charged to nobody: {charged_to_nobody}, and no loss says so")
    waits_open = 1 if open_intervals else 0

    for t in threads:
        who = f"thread {t['tid']} {t['name']!r}"
        negative = [key for key in STATES + ("lock_wait_ns", "charged_ns", "wall_ns") if t[key] < 0]
        if negative:
            wrong.append(f"{who}: negative {negative}")
        equal(f"{who}: states and wall_ns", sum(t[s] for s in STATES), t["wall_ns"])
        equal(f"{who}: its row and wait_blocked_ns", rows[t["tid"]], t["wait_blocked_ns"])
        column = columns[t["tid"]]
        if t["tid"] == 0: # the unknown ones' number, too, is that of "(ended threads)"
            column -= unknown
        slack = max(CHARGE_SHARE * t["charged_ns"], CHARGE_NS)
        if not column - slack <= t["charged_ns"] <= column + unknown + slack:
            wrong.append(f"{who}: its column {column} and charged_ns {t['charged_ns']}")
        if t["lock_wait_ns"] > t["released_oncpu_ns"] + t["released_offcpu_ns"] + ROUNDING_NS:
            wrong.append(f"{who}: lock_wait_ns {t['lock_wait_ns']} is more than the released time")
        # "(ended threads)" stands for many that lived at the same time.
        if t["tid"] and t["wall_ns"] > process["wall_ns"] * (1 + SHARE) + ROUNDING_NS:
            wrong.append(f"{who}: wall_ns {t['wall_ns']} is more than the process's {process['wall_ns']}")
        for kind, state in (("hold", t["held_oncpu_ns"] + t["held_offcpu_ns"]),
                            ("wait", t["wait_blocked_ns"] + t["wait_wakeup_ns"]), ("lock_wait", t["lock_wait_ns"])):
            if not open_intervals or t[kind]["sum_ns"] > state:
                equal(f"{who}: {kind}.sum_ns", t[kind]["sum_ns"], state)
        if not t["acquisitions"] - 1 <= t["hold"]["count"] <= t["acquisitions"]:
            wrong.append(f"{who}: {t['hold']['count']} holds, {t['acquisitions']} acquisitions")
        if not t["contended"] - waits_open <= t["wait"]["count"] <= t["contended"]:
            wrong.append(f"{who}: {t['wait']['count']} waits, {t['contended']} contended")
        for kind in ("wait", "hold", "lock_wait"):
            s = t[kind]
            if not s["p50_ns"] <= s["p90_ns"] <= s["p99_ns"] <= s["max_ns"] <= s["sum_ns"]:
                wrong.append(f"{who}: {kind} is out of order: {s}")

    blocked, wakeup = total("wait_blocked_ns"), total("wait_wakeup_ns")
    equal("gils' and threads' wait", total("wait_ns", gils), blocked + wakeup)
    equal("gils' and threads' wake-up", total("wait_wakeup_ns", gils), wakeup)
    equal("gils' and threads' forced", total("wait_forced_ns", gils), total("wait_forced_ns"))
    equal("gils' and threads' held", total("held_ns", gils), total("held_oncpu_ns") + total("held_offcpu_ns"))
    equal("gils' and threads' held off CPU", total("held_offcpu_ns", gils), total("held_offcpu_ns"))
    equal("matrix and wake-up, and wait", sum(p["ns"] for p in blocking) + wakeup, total("wait_ns", gils))
    # Waits that end with their thread or interpreter leave a little to one side only.
    if abs(total("charged_ns") + charged_to_nobody - blocked) > max(CHARGE_SHARE * blocked, CHARGE_NS):
        wrong.append(f"charged, {charged_to_nobody} of it to nobody, and blocked: {total('charged_ns')} != {blocked}")
    for key in ("acquisitions", "contended", "lost_wakeups"):
        if total(key, gils) != total(key):
            wrong.append(f"{key}: gils {total(key, gils)}, threads {total(key)}")
    for g in gils:
        if g["held_ns"] + g["free_ns"] > process["wall_ns"] * (1 + SHARE) + ROUNDING_NS:
            wrong.append(f"gil {g['interpreter']}: held and free are more than {process['wall_ns']}")
        if g["held_offcpu_ns"] > g["held_ns"] or g["contended"] > g["acquisitions"]:
            wrong.append(f"gil {g['interpreter']}: a part is more than the whole: {g}")
    return wrong
