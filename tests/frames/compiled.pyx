# SPDX-License-Identifier: MIT
# cython: language_level=3, binding=True
"""Functions of Cython's that keep the GIL, let it go, and call back into Python: for through.py."""


def keeps(long n):
    cdef long i, sum = 0
    for i in range(n):
        sum = sum * 31 + i
    return sum


def lets_go(long n):
    cdef long i, sum = 0
    with nogil:
        for i in range(n):
            sum = sum * 31 + i
    return sum


def calls_back(function, int n):
    cdef int i
    for i in range(n):
        function(i)


cdef class Box:
    def fill(self, function):
        for i in range(3):
            function(i)

    def churns(self, long n):
        cdef long i, sum = 0
        for i in range(n):
            sum = sum * 31 + i
        return sum
