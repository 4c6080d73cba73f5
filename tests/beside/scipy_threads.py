# SPDX-License-Identifier: MIT
"""scipy in threads: a linear system, a minimum and an integral."""
from concurrent.futures import ThreadPoolExecutor

import numpy
from scipy import integrate, linalg, optimize, sparse
from scipy.sparse.linalg import spsolve


def work(seed):
    """A bit of everything; the integrand and the function to be minimised call back into Python."""
    values = numpy.random.default_rng(seed).random((80, 80)) + 80 * numpy.eye(80)
    solved = linalg.solve(values, numpy.ones(80))
    thin = spsolve(sparse.csc_matrix(values), numpy.ones(80))
    least = optimize.minimize(lambda x: (x[0] - seed) ** 2 + (x[1] + 1) ** 2, [0.0, 0.0]).x
    area = integrate.quad(lambda x: x * x, 0, 3)[0]
    return round(solved.sum(), 9), round(thin.sum(), 9), [round(float(x), 3) + 0.0 for x in least], round(area, 9)


with ThreadPoolExecutor(4) as pool:
    for result in pool.map(work, range(16)):
        print(result)
