# SPDX-License-Identifier: MIT
"""A pool of processes computes, each in one thread, while the parent waits for the results."""
import multiprocessing

from common import CPUS, running, work_python


def job(_):
    for _ in range(50):
        work_python()


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(max(CPUS, 2)) as pool:
        while running():
            pool.map(job, range(4 * CPUS), chunksize=1)
        pool.close()
        pool.join()
