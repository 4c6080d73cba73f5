# SPDX-License-Identifier: MIT
"""Threads that the program cancels end where they end without the shim."""
from helpers import faults


def test_a_cancellation_that_waits(python, where):
    """A cancelled thread that comes to no cancellation point works on: what the library does for it is none, not even
    where its file has to grow while the thread has the GIL."""
    code = faults.WORK + """
import ctypes
libc = ctypes.CDLL(None)
libc.pthread_self.restype = ctypes.c_ulong
libc.pthread_cancel.argtypes = [ctypes.c_ulong]
def make(number, depth=30):
    # Many places, each of which lets go of the GIL and takes it again.
    code = [f"def f{i}(): f{i + 1}()" for i in range(depth)]
    code += [f"def f{depth}():", *["    sha256(data).digest()"] * 3]
    space = {"sha256": hashlib.sha256, "data": data * 10}
    exec(compile("\\n".join(code), f"file{number}.py", "exec"), space)
    return space["f0"]
functions = [make(n) for n in range(200)]
done, tell = os.pipe()
def native():
    time.sleep(0.5)                             # until nobody is left who wants the GIL: that wait is such a point
    libc.pthread_cancel(libc.pthread_self())
    for f in functions: f()
    libc.pthread_setcancelstate(1, None)        # PTHREAD_CANCEL_DISABLE
    os.write(tell, b"all")
threading.Thread(target=native, daemon=True).start()
print(os.read(done, 3), flush=True)
os._exit(7)
"""
    outcome = faults.both(faults.command_line(python, code, where), where, timeout=60)
    assert not outcome.lines and max(t["acquisitions"] for t in outcome.process()["threads"]) > 600
