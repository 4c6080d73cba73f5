# SPDX-License-Identifier: MIT
# probes/local.mk - the BPF programs: clang compiles them, bpftool makes the skeleton that the collector includes.  The
# few fields of the kernel that they read are declared in probes/kernel.bpf.h, so that no vmlinux.h is needed.

bpf_sources = \
    probes/account.bpf.h \
    probes/charge.bpf.h \
    probes/futex.bpf.h \
    probes/gilscope.bpf.c \
    probes/gilscope.h \
    probes/holder.bpf.h \
    probes/kernel.bpf.h \
    probes/lock.bpf.h \
    probes/maps.bpf.h \
    probes/seen.bpf.h \
    probes/stack.bpf.h \
    probes/thread.bpf.h
EXTRA_DIST += $(bpf_sources)

if BPF
# Debian keeps <asm/types.h> in a folder that clang does not look into when it compiles for BPF.
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 -D__TARGET_ARCH_$(bpf_arch) $(WARN_CFLAGS) -Wno-missing-prototypes \
    -Wno-unused-parameter -Wno-missing-declarations -idirafter /usr/include/$(host_cpu)-linux-gnu

probes/gilscope.bpf.o: $(bpf_sources)
	$(AM_V_GEN)$(MKDIR_P) probes && \
	$(BPF_CLANG) $(BPF_CFLAGS) -I$(top_srcdir)/probes $(LIBBPF_CFLAGS) -c $(srcdir)/probes/gilscope.bpf.c -o $@

probes/gilscope.skel.h: probes/gilscope.bpf.o
	$(AM_V_GEN)$(BPFTOOL) gen skeleton probes/gilscope.bpf.o name gilscope_bpf > $@.new && mv $@.new $@

BUILT_SOURCES += probes/gilscope.skel.h
CLEANFILES += probes/gilscope.bpf.o probes/gilscope.skel.h probes/gilscope.skel.h.new

libgilscope_tool_a_SOURCES += tools/collect-bpf.c tools/collect-bpf.h tools/collect-bpf-add.c \
    tools/collect-bpf-batch.c tools/collect-bpf-ended.c tools/collect-bpf-locks.c \
    tools/collect-bpf-picture.c tools/collect-bpf-seen.c tools/collect-bpf-stacks.c tools/collect-bpf-who.c
libgilscope_tool_a_CPPFLAGS += -I$(top_srcdir)/probes -Iprobes $(LIBBPF_CFLAGS)
TOOL_LIBS += $(LIBBPF_LIBS)
else
libgilscope_tool_a_SOURCES += tools/collect-nobpf.c
endif
EXTRA_DIST += tools/collect-bpf.c tools/collect-bpf.h tools/collect-bpf-add.c \
    tools/collect-bpf-batch.c tools/collect-bpf-ended.c tools/collect-bpf-locks.c \
    tools/collect-bpf-picture.c tools/collect-bpf-seen.c tools/collect-bpf-stacks.c tools/collect-bpf-who.c tools/collect-nobpf.c
