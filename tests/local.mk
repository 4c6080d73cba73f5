# SPDX-License-Identifier: MIT
# tests/local.mk - unit tests in C, run by `make check` (77 = skipped, 99 = the harness is broken); the end-to-end tests
# are pytest files, run by ./runtests.

UNIT_TESTS =

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
unit_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/tools $(JANSSON_CFLAGS)
unit_ldadd = libgilscope-tool.a $(JANSSON_LIBS) -lm

# For each test: tests_unit_NAME_SOURCES, _CPPFLAGS = $(unit_cppflags), _LDADD = $(unit_ldadd).

TEST_DIRS = $(srcdir)/tests $(srcdir)/tests/*
EXTRA_DIST += $(foreach ext,py ini json c h map txt gil,$(wildcard $(addsuffix /*.$(ext),$(TEST_DIRS))))
