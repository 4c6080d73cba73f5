# SPDX-License-Identifier: MIT
"""Long calls that keep the GIL, each from a Python function of its own: callees.py LIBRARY SECONDS OUT.json.

OUT.json: the Python function -> the address of the C function that it calls.  Runs on every CPython from 3.8 on."""
import ctypes
import json
import math
import sys
import threading
import time

LIB = ctypes.PyDLL(sys.argv[1])
CALL_S = 0.03  # a call is told if it goes on for two switch intervals of 5 ms after it was asked to end


def sized(call, make, size):
    """As many of something as keep the call busy for CALL_S."""
    took = []
    for _ in range(3):
        start = time.perf_counter()
        call(make(size))
        took.append(time.perf_counter() - start)
    return make(int(size * CALL_S / min(took)))


table = bytes(range(256))
to_sum, to_add, to_compare = (sized(call, range, 500000) for call in (sum, math.fsum, max))
data = sized(lambda data: data.translate(table), bytes, 10000000)


def by_function():
    return sum(to_sum)


def by_method():
    return data.translate(table)


def by_name():
    return math.fsum(to_add)


def by_keyword():
    return max(to_compare, default=0)


def by_list():
    return sum(*[to_sum])


def by_ctypes():
    return LIB.keeps(int(CALL_S * 1e6))


def nested():
    return str(len(str(max(to_compare))))


def in_python():
    total = 0
    for i in range(500000):
        total += i
    return total


def work(end, *functions):
    while time.monotonic() < end:
        for function in functions:
            function()


end = time.monotonic() + float(sys.argv[2])
threads = [threading.Thread(target=work, args=(end, by_function, by_method, by_name, by_keyword, by_list, by_ctypes,
                                               nested, in_python)),
           threading.Thread(target=work, args=(end, lambda: time.sleep(0.0001)))]
for one in threads:
    one.start()
for one in threads:
    one.join()
address = ctypes.pythonapi.PyCFunction_GetFunction
address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object]
with open(sys.argv[3], "w") as file:
    json.dump({"by_function": address(sum), "by_method": address(data.translate), "by_name": address(math.fsum),
               "by_keyword": address(max), "by_list": address(sum),
               "by_ctypes": ctypes.cast(LIB.keeps, ctypes.c_void_p).value, "nested": address(max), "in_python": 0}, file)
