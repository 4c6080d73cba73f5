# SPDX-License-Identifier: MIT
"""Three threads match regular expressions, which is C code that keeps the GIL."""
import re

from common import run_threads

pattern = re.compile(r"(\w+)@(\w+)\.(com|org)")
text = "some words and a.b.c@example and name@example.org, " * 2000
run_threads(3, lambda: sum(1 for _ in pattern.finditer(text)))
