# SPDX-License-Identifier: MIT
"""Three threads run commands that take their time and wait for them."""
import subprocess

from common import run_threads

run_threads(3, lambda: subprocess.run(["sleep", "0.2"], check=True))
