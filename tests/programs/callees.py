# SPDX-License-Identifier: MIT
"""Long calls of built-in functions that keep the GIL, each from a Python function of its own: callees.py SECONDS OUT.json.

OUT.json: the Python function -> the address of the C function that it calls.  Runs on every CPython from 3.8 on."""
import ctypes
import json
import math
import sys
import threading
import time

numbers, data, table = range(1500000), bytes(40000000), bytes(range(256))


def by_function():
    return sum(numbers)


def by_method():
    return data.translate(table)


def by_name():
    return math.fsum(numbers)


def nested():
    return str(len(str(max(numbers))))


def in_python():
    total = 0
    for i in range(1500000):
        total += i
    return total


def work(end, *functions):
    while time.monotonic() < end:
        for function in functions:
            function()


end = time.monotonic() + float(sys.argv[1])
threads = [threading.Thread(target=work, args=(end, by_function, by_method, by_name, nested, in_python)),
           threading.Thread(target=work, args=(end, lambda: time.sleep(0.0001)))]
for one in threads:
    one.start()
for one in threads:
    one.join()
address = ctypes.pythonapi.PyCFunction_GetFunction
address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object]
with open(sys.argv[2], "w") as file:
    json.dump({"by_function": address(sum), "by_method": address(data.translate), "by_name": address(math.fsum),
               "nested": address(max), "in_python": 0}, file)
