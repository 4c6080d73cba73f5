# SPDX-License-Identifier: MIT
"""Three threads encode and decode JSON, which is C code that keeps the GIL."""
import json

from common import run_threads

document = {"rows": [{"id": i, "name": "row %d" % i, "values": [i / 3, i / 7, None, True]} for i in range(2000)]}
run_threads(3, lambda: json.loads(json.dumps(document)))
