# SPDX-License-Identifier: MIT
"""greenlet: switches of C stacks of many depths, in several real threads at once, with work that releases the GIL."""
import hashlib
import threading

import greenlet

TURNS, GREENLETS = 300, 8
sums = []


def down(depth, number):
    """Some frames deeper, switches back; what it gets goes on."""
    if depth:
        return down(depth - 1, number)
    total = 0
    for turn in range(TURNS):
        total += hashlib.sha256(bytes([number]) * 4096).digest()[turn % 32]
        greenlet.getcurrent().parent.switch(total)
    return total


def work():
    """A thread's greenlets, each on a stack of its own depth, in turns."""
    all_ = [greenlet.greenlet(down) for _ in range(GREENLETS)]
    last = [g.switch(7 * i, i) for i, g in enumerate(all_)]
    while not all(g.dead for g in all_):
        last = [g.switch() if not g.dead else last[i] for i, g in enumerate(all_)]
    sums.append(sum(last))


threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sums)
