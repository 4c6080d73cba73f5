# SPDX-License-Identifier: MIT
"""The dynamic loader, forks and the GIL at the same time: loader.py PLACES.SO KIND SECONDS CONSTRUCTOR.SO.

Ends by itself; a deadlock shows as a program that does not.  Runs on every CPython from 3.8 on."""
import ctypes
import faulthandler
import os
import shutil
import sys
import tempfile
import threading
import time

LIB = ctypes.PyDLL(sys.argv[1])
KIND, SECONDS, CONSTRUCTOR = sys.argv[2], float(sys.argv[3]), sys.argv[4]
LIB.lets_go.argtypes = LIB.keeps.argtypes = [ctypes.c_int64]
LIB.lets_go.restype = LIB.keeps.restype = None
LIB.loads.argtypes = [ctypes.c_char_p, ctypes.c_int]
faulthandler.dump_traceback_later(40, exit=True)
end = time.monotonic() + SECONDS
counts = {}


def until_the_end(work):
    def run():
        n = 0
        while time.monotonic() < end:
            n += work() or 1
        counts[threading.current_thread().name] = n
    return run


def storms():
    for _ in range(200):
        LIB.lets_go(0)


def works():
    LIB.keeps(50)
    sum(range(2000))


def sleeps():
    time.sleep(0.0005)


def recurses(n=60):
    return recurses(n - 1) if n else LIB.lets_go(5)


def loads():
    """Its constructor and destructor take the GIL while the loader's lock is held."""
    return LIB.loads(CONSTRUCTOR.encode(), 20)


def loads_others():
    """Objects come and go at each other's addresses."""
    return sum(LIB.loads(one.encode(), 1) for one in copies)


def imports():
    """Loads with the GIL: not where constructors ask for it, a deadlock of the program's own."""
    sys.modules.pop("_decimal", None)
    __import__("_decimal")


def forks():
    pid = os.fork()
    if not pid:
        threading.Thread(target=storms).start()
        for _ in range(50):
            LIB.lets_go(0)
        os._exit(0)
    os.waitpid(pid, 0)


def starts():
    thread = threading.Thread(target=recurses)
    thread.start()
    thread.join()


KINDS = {
    "constructors": [loads, loads, storms, storms, works, sleeps, recurses],
    "objects": [loads_others, loads_others, imports, storms, works, recurses],
    "forks": [forks, forks, storms, works, sleeps, starts],
    "everything": [loads, loads_others, forks, storms, works, sleeps, recurses, starts],
}
with tempfile.TemporaryDirectory() as directory:
    copies = [shutil.copy(sys.argv[1], os.path.join(directory, f"copy{i}.so")) for i in range(6)]
    threads = [threading.Thread(target=until_the_end(work), name=f"{i}-{work.__name__}")
               for i, work in enumerate(KINDS[KIND])]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
print(counts)
assert len(counts) == len(threads)
