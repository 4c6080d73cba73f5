# SPDX-License-Identifier: MIT
"""pandas in threads: groups, joins and text in and out."""
import io
from concurrent.futures import ThreadPoolExecutor

import pandas


def work(seed):
    """A bit of everything."""
    frame = pandas.DataFrame({"key": [i * seed % 7 for i in range(5000)], "value": range(5000)})
    sums = frame.groupby("key")["value"].agg(["sum", "mean", "count"])
    joined = frame.merge(sums, left_on="key", right_index=True)
    text = joined.head(500).to_csv(index=False)
    return int(sums["sum"].sum()), len(joined), int(pandas.read_csv(io.StringIO(text))["count"].sum())


with ThreadPoolExecutor(4) as pool:
    for result in pool.map(work, range(1, 13)):
        print(result)
