# SPDX-License-Identifier: MIT
# lib/local.mk - the preload shim: what runs inside the measured program.

pkglib_LTLIBRARIES += libgilscope-preload.la

libgilscope_preload_la_SOURCES = \
    lib/cpu-limit.c \
    lib/cpu-limit.h \
    lib/cpython.c \
    lib/cpython.h \
    lib/cpython-callee.c \
    lib/cpython-callee.h \
    lib/cpython-frames.c \
    lib/cpython-frames.h \
    lib/cpython-read.c \
    lib/cpython-read.h \
    lib/hist.h \
    lib/proc-file.c \
    lib/proc-file.h \
    lib/record.h \
    lib/shim.c \
    lib/shim.h \
    lib/shim-account.c \
    lib/shim-account.h \
    lib/shim-bus.c \
    lib/shim-bus.h \
    lib/shim-clock.c \
    lib/shim-clock.h \
    lib/shim-cpu.c \
    lib/shim-cpu.h \
    lib/shim-enter.c \
    lib/shim-enter-stack.c \
    lib/shim-enter-stack.h \
    lib/shim-file.c \
    lib/shim-file.h \
    lib/shim-fold.c \
    lib/shim-fold.h \
    lib/shim-frames.c \
    lib/shim-frames.h \
    lib/shim-gil.c \
    lib/shim-gil.h \
    lib/shim-host.c \
    lib/shim-host.h \
    lib/shim-libc.h \
    lib/shim-life.c \
    lib/shim-life.h \
    lib/shim-lock.c \
    lib/shim-name.c \
    lib/shim-name.h \
    lib/shim-native.c \
    lib/shim-native.h \
    lib/shim-pause.c \
    lib/shim-pause.h \
    lib/shim-python.c \
    lib/shim-python.h \
    lib/shim-quick.c \
    lib/shim-quick.h \
    lib/shim-real.c \
    lib/shim-ring.c \
    lib/shim-ring.h \
    lib/shim-route.c \
    lib/shim-route.h \
    lib/shim-sample.c \
    lib/shim-sample.h \
    lib/shim-say.c \
    lib/shim-say.h \
    lib/shim-several.c \
    lib/shim-several.h \
    lib/shim-stack.c \
    lib/shim-stack.h \
    lib/shim-text.h \
    lib/shim-thread.c \
    lib/shim-thread.h \
    lib/shim-unwind.c \
    lib/shim-unwind.h

# initial-exec: a wrapper must not reach its thread's state through __tls_get_addr, which may allocate, and musl cannot
# load dynamic TLS of a glibc library.  Exceptions: a cancelled thread unwinds through the wrappers.
# No vectors: two stores beside each other are not worth a way through the vector unit.
libgilscope_preload_la_CFLAGS = $(WARN_CFLAGS) -fvisibility=hidden -ftls-model=initial-exec -fexceptions \
    -fno-tree-slp-vectorize
# nodelete: threads run through the wrappers until the process is gone.  now: no symbol is looked up in a hot path.
libgilscope_preload_la_LDFLAGS = -module -avoid-version -shared -Wl,-z,nodelete -Wl,-z,now -Wl,--as-needed

# A library that nobody links against needs no .la file.
install-exec-hook:
	rm -f $(DESTDIR)$(pkglibdir)/libgilscope-preload.la
uninstall-hook:
	rm -f $(DESTDIR)$(pkglibdir)/libgilscope-preload.so
	-rmdir $(DESTDIR)$(pkglibdir) 2>/dev/null
