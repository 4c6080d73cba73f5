# SPDX-License-Identifier: MIT
"""Nothing but one long sleep."""
import time

from common import DURATION_S

time.sleep(DURATION_S)
