# SPDX-License-Identifier: MIT
"""Gives the GIL up in all kinds of frames, and says which frames those were: chains.py LIBRARY OUT.json.

Runs on every CPython from 3.8 on."""
import ctypes
import functools
import json
import sys
import threading

LIB = ctypes.PyDLL(sys.argv[1])
LIB.sleeps.argtypes = [ctypes.c_int64]
LIB.sleeps.restype = None
CALLBACK = ctypes.CFUNCTYPE(None)
QUALIFIED = sys.version_info >= (3, 11)
chains = []


def note(kind, frame):
    """Remembers the frames from this one outwards, the root first."""
    chain = []
    while frame:
        code = frame.f_code
        chain.append([code.co_qualname if QUALIFIED else code.co_name, code.co_filename, frame.f_lineno or 0,
                      code.co_firstlineno])
        frame = frame.f_back
    chains.append([kind, chain[::-1]])


def here(kind):
    note(kind, sys._getframe()), LIB.sleeps(8000)


def generator():
    yield here("generator")
    yield from delegate()


def delegate():
    yield here("yield from")


async def coroutine():
    here("coroutine")
    await deeper()


async def deeper():
    here("awaited coroutine")


async def ticks():
    here("asynchronous generator")
    yield 1


async def iterate():
    async for _ in ticks():
        here("async for")


def decorator(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper


@decorator
def decorated():
    here("decorated")


class Größe:
    here("class body")

    class Внутри:
        here("nested class body")

        @staticmethod
        def 加载():
            here("static method, non-ASCII")

    def метод(self):
        here("method, non-ASCII")

    @property
    def value(self):
        here("property")
        return 1

    def __lt__(self, other):
        here("comparison called by sort")
        return True

    def __del__(self):
        here("finalizer")


def recursion(n, kind):
    return recursion(n - 1, kind) if n else here(kind)


def main():
    here("function")
    list(generator())
    for one in coroutine(), iterate():
        try:
            one.send(None)
        except StopIteration:
            pass
    decorated()
    g = Größe()
    g.метод()
    Größe.Внутри.加载()
    g.value
    sorted([g, Größe()])
    del g
    (lambda: here("lambda"))()
    sorted([1], key=lambda _: here("key of sort"))
    list(map(lambda _: here("map"), [1]))
    [here("list comprehension") for _ in range(1)]
    {here("set comprehension") for _ in range(1)}
    {1: here("dict comprehension") for _ in range(1)}
    list(here("generator expression") for _ in range(1))
    exec(compile("\n" * 400 + "def made():\n  here('exec')\nmade()", "<made up é>", "exec"), globals())
    eval("here('eval')")
    sys.setrecursionlimit(4000)
    recursion(20, "recursion of 20")
    CALLBACK(lambda: here("callback"))()
    LIB.calls_back(CALLBACK(lambda: here("callback of native code")))
    LIB.in_native_thread(CALLBACK(lambda: here("callback in a thread made in C")))
    thread = threading.Thread(target=here, args=("thread",))
    thread.start()
    thread.join()
    try:
        raise ValueError
    except ValueError:
        here("except")
    finally:
        here("finally")
    # Code that comes and goes at the same addresses.
    for i in range(30):
        exec(f"def passing_{i:02}():\n" + "\n" * (i % 7) + f"    here('passing {i}')\npassing_{i:02}()", globals())
    recursion(1000, "recursion of 1000")  # the last: after a deep stack, the next sample is far away


main()
with open(sys.argv[2], "w") as file:
    json.dump(chains, file)
