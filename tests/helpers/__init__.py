# SPDX-License-Identifier: MIT
"""What the end-to-end tests share."""
