# SPDX-License-Identifier: MIT
# tools/local.mk - the gilscope executable.  All but main() is in a library, which the unit tests link too.

noinst_LIBRARIES += libgilscope-tool.a
libgilscope_tool_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) -DPKGLIBDIR='"$(pkglibdir)"'
libgilscope_tool_a_SOURCES = \
    tools/cmd.h \
    tools/cmd-control.c \
    tools/cmd-doctor.c \
    tools/cmd-preload.c \
    tools/cmd-run.c \
    tools/msg.c \
    tools/msg.h \
    tools/paths.c \
    tools/paths.h

bin_PROGRAMS += gilscope
gilscope_SOURCES = tools/main.c
gilscope_LDADD = libgilscope-tool.a $(JANSSON_LIBS) -lm
