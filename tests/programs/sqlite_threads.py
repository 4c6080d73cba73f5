# SPDX-License-Identifier: MIT
"""As many threads as processors, each with long queries on its own database in memory; sqlite3 lets the GIL go."""
import sqlite3

from common import CPUS, run_threads

QUERY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT sum(i * i % 7) FROM n"


def query():
    database = sqlite3.connect(":memory:")
    for _ in range(3):
        database.execute(QUERY).fetchall()
    database.close()


run_threads(max(CPUS, 2), query)
