#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Threads that go through Cython and greenlets: through.py DIRECTORY SECONDS, with the compiled module in DIRECTORY."""
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
import compiled  # noqa: E402
import greenlet  # noqa: E402

class Derived(compiled.Box):
    """A type of Python's with a method of Cython's."""


BOX = Derived()
END = time.monotonic() + float(sys.argv[2])


def sleeps(_):
    time.sleep(0.0004)


def python_keeps():
    compiled.keeps(3000000)


def method_keeps():
    BOX.churns(3000000)


def python_lets_go():
    compiled.lets_go(3000000)


def called():
    compiled.calls_back(sleeps, 20)


def nested():
    compiled.Box().fill(lambda i: compiled.calls_back(sleeps, 3))


def work():
    while time.monotonic() < END:
        python_keeps()
        method_keeps()
        python_lets_go()
        called()
        nested()


def waits():
    while time.monotonic() < END:
        time.sleep(0.0005)


def one():
    while time.monotonic() < END:
        in_one()


def in_one():
    time.sleep(0.0005)
    other.switch()


def two():
    while True:
        in_two()


def in_two():
    time.sleep(0.0005)
    first.switch()


def greens(depth):
    global first, other
    if depth:
        return greens(depth - 1)
    first, other = greenlet.greenlet(one), greenlet.greenlet(two)
    return first.switch()


threads = [threading.Thread(target=work, name="worker"), threading.Thread(target=waits, name="waiter"),
           threading.Thread(target=greens, args=(20,), name="greens")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
