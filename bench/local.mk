# SPDX-License-Identifier: MIT
# bench/local.mk - cost and accuracy; run by hand, distributed.

EXTRA_DIST += $(wildcard $(srcdir)/bench/*.py $(srcdir)/bench/*.c $(srcdir)/bench/*.sh $(srcdir)/bench/*.md)
