# SPDX-License-Identifier: MIT
"""Calls walk.so from all kinds of frames and prints where its answer differs from the interpreter's own:
frames.py WALK.SO.  Runs on every CPython from 3.8 on."""
import ctypes
import functools
import sys
import threading

LIBRARY = ctypes.PyDLL(sys.argv[1])  # keeps the GIL
LIBRARY.walk.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
GET = ctypes.pythonapi.PyThreadState_Get
GET.restype = ctypes.c_void_p
checks = wrong = entries = 0
QUALIFIED = sys.version_info >= (3, 11)


def expected(frame):
    """What the interpreter says, from this frame outwards."""
    while frame:
        code = frame.f_code
        yield [frame.f_lineno or 0, code.co_firstlineno, code.co_qualname if QUALIFIED else code.co_name,
               code.co_filename]
        frame = frame.f_back


def look(direct=None):
    """Compares the two accounts of the frames at this very call."""
    global checks, wrong, entries
    if direct is None:
        look(0)
        return look(1)
    room = ctypes.create_string_buffer(1 << 20)
    tstate = GET()
    # One line: both accounts are of the same instant.
    n, true = LIBRARY.walk(sys.hexversion, tstate, direct, room, len(room)), list(expected(sys._getframe()))
    found = [line.split("\t") for line in room.value.decode("utf-8").split("\n")[:-1]]
    checks += 1
    entries += sum(int(f[0]) for f in found)
    told = [[int(f[1]), int(f[2]), f[3], f[4]] for f in found]
    if n != len(true) or told != true or found[-1][0] != "1":
        wrong += 1
        for a, b in zip(told, true):
            if a != b:
                print("walked", a, "is", b)
        print("frames:", n, "are", len(true), file=sys.stdout)
    return entries


def generator():
    look()
    yield from inner()
    yield 1


def inner():
    yield look()


async def coroutine():
    look()
    await deeper()


async def deeper():
    look()


async def asynchronous_generator():
    look()
    yield 1


async def iterate():
    async for _ in asynchronous_generator():
        look()


def decorator(function):
    @functools.wraps(function)
    def wrapper(*args):
        look()
        return function(*args)
    return wrapper


@decorator
def decorated():
    look()


class Größe:
    look()

    def методы(self):
        look()
        [look() for _ in range(1)]

    class Inner:
        @staticmethod
        def 加载():
            look()

    def __del__(self):
        look()

    def __lt__(self, other):
        look()
        return True

    @property
    def prop(self):
        look()
        return 1

    def __enter__(self):
        look()
        return self

    def __exit__(self, *args):
        look()


def recursion(n):
    return recursion(n - 1) if n else look()


def long_lines():
    look(
        None
    )
    x = [
        1,
        look(),

        2,
    ]
    try:
        raise ValueError
    except ValueError:
        look()
    finally:
        look()
    for i in range(2): look(); x = i
    with Größe() as g:
        look()
    del g
    return x


def main():
    look()
    list(generator())
    for one in (coroutine(), iterate()):
        try:
            one.send(None)
        except StopIteration:
            pass
    decorated()
    g = Größe()
    g.методы()
    g.prop
    Größe.Inner.加载()
    del g
    (lambda: look())()
    sorted([Größe(), Größe()])
    sorted([1], key=lambda _: look())
    list(map(lambda _: look(), [1]))
    [look() for _ in range(2)]
    {look() for _ in range(2)}
    list(look() for _ in range(2))
    long_lines()
    exec(compile("\n" * 300 + "def made():\n  look()\nmade()\nlook()", "<made up é>", "exec"), globals())
    eval("look()")
    sys.setrecursionlimit(5000)
    recursion(1000)
    callback = ctypes.PYFUNCTYPE(ctypes.c_int)(lambda: look() and 0)
    callback()
    before = entries
    recursion(100)
    plain = entries - before
    if QUALIFIED and plain > 40 or not QUALIFIED and plain < 200:
        print("entries of a recursion of 100:", plain)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    if hasattr(sys, "setprofile"):
        sys.setprofile(lambda frame, event, arg: None)
        recursion(3)
        sys.setprofile(None)


main()
print(f"{checks} checks, {wrong} wrong")
