# SPDX-License-Identifier: MIT
"""numpy in threads: products, sorts and transforms, of which each result is checked by its sum."""
from concurrent.futures import ThreadPoolExecutor

import numpy


def work(seed):
    """A bit of everything."""
    values = numpy.random.default_rng(seed).random((200, 200))
    product = values @ values.T
    return round(float(product.trace()), 6), round(float(numpy.sort(values, axis=None)[12345]), 9), round(
        float(abs(numpy.fft.fft2(values)).sum()), 3)


with ThreadPoolExecutor(4) as pool:
    for result in pool.map(work, range(24)):
        print(result)
