# SPDX-License-Identifier: MIT
"""One thread asks a slow peer (5 ms), again and again."""
from common import ask, repeat, slow_peer

connection = slow_peer(0.005)()
repeat(ask, connection)
