# SPDX-License-Identifier: MIT
# tools/local.mk - the gilscope executable.  All but main() is in a library, which the unit tests link too.

noinst_LIBRARIES += libgilscope-tool.a
libgilscope_tool_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(ELFUTILS_CFLAGS) \
    $(PROTOBUF_C_CFLAGS) $(ZLIB_CFLAGS) -I$(srcdir)/tools -Itools -DPKGLIBDIR='"$(pkglibdir)"'
libgilscope_tool_a_SOURCES = \
    lib/cpu-limit.c \
    lib/cpu-limit.h \
    lib/proc-file.c \
    lib/proc-file.h \
    lib/cpython-callee.c \
    lib/cpython-callee.h \
    lib/cpython-frames.c \
    lib/cpython-frames.h \
    lib/cpython-read.c \
    lib/cpython-read.h \
    lib/cpython.c \
    lib/cpython.h \
    tools/attach.c \
    tools/attach.h \
    tools/brief.c \
    tools/brief.h \
    tools/chance.c \
    tools/chance.h \
    tools/children.c \
    tools/children.h \
    tools/clock.h \
    tools/closer.c \
    tools/closer.h \
    tools/cmd-attach.c \
    tools/cmd-control.c \
    tools/cmd-doctor.c \
    tools/cmd-dump.c \
    tools/cmd-preload.c \
    tools/cmd-report.c \
    tools/cmd-run.c \
    tools/cmd.h \
    tools/collect-sample-ended.c \
    tools/collect-sample-picture.c \
    tools/collect-sample-threads.c \
    tools/collect-sample.c \
    tools/collect-sample.h \
    tools/collect-stacks.c \
    tools/collect-stacks.h \
    tools/collect.h \
    tools/doctor-attach.c \
    tools/doctor-process.c \
    tools/doctor-cpus.c \
    tools/doctor-inert.c \
    tools/doctor-python.c \
    tools/doctor.h \
    tools/elfscan.c \
    tools/elfscan.h \
    tools/embedded.h \
    tools/emit.c \
    tools/emit.h \
    tools/explain.c \
    tools/explain.h \
    tools/find-gil.c \
    tools/find-gil.h \
    tools/find-module.c \
    tools/find-module.h \
    tools/format.c \
    tools/format.h \
    tools/gzip.c \
    tools/gzip.h \
    tools/holds-file.c \
    tools/holds-file.h \
    tools/holds-memory.c \
    tools/holds-memory.h \
    tools/holds-plan.c \
    tools/holds-plan.h \
    tools/holds-process.c \
    tools/holds-process.h \
    tools/holds-room.c \
    tools/holds-room.h \
    tools/holds-see.c \
    tools/holds-see.h \
    tools/holds-sum.h \
    tools/holds-table.c \
    tools/holds-table.h \
    tools/holds.c \
    tools/holds.h \
    tools/intern.c \
    tools/intern.h \
    tools/label.c \
    tools/label.h \
    tools/launch.c \
    tools/launch.h \
    tools/live.c \
    tools/live.h \
    tools/maps.c \
    tools/maps.h \
    tools/mem.c \
    tools/mem.h \
    tools/model-build.h \
    tools/model-cpu.c \
    tools/model-end.c \
    tools/model-flame-arrange.c \
    tools/model-flame-build.h \
    tools/model-flame.c \
    tools/model-flame.h \
    tools/model-gil.c \
    tools/model-hist.c \
    tools/model-hot.c \
    tools/model-inside.c \
    tools/model-limit.c \
    tools/model-matrix.c \
    tools/model-matrix.h \
    tools/model-merge.c \
    tools/model-merge.h \
    tools/model-modules.c \
    tools/model-names.c \
    tools/model-names.h \
    tools/model-native.c \
    tools/model-native.h \
    tools/model-pairs.c \
    tools/model-samples.c \
    tools/model-samples.h \
    tools/model-stacks.c \
    tools/model-stacks.h \
    tools/model-thread.c \
    tools/model-time.c \
    tools/model-totals.c \
    tools/model-tree.c \
    tools/model-variants.c \
    tools/model-variants.h \
    tools/model.c \
    tools/model.h \
    tools/msg.c \
    tools/msg.h \
    tools/palette.c \
    tools/palette.h \
    tools/paths.c \
    tools/paths.h \
    tools/peer-program.c \
    tools/peer.c \
    tools/peer.h \
    tools/privileges.c \
    tools/privileges.h \
    tools/procinfo.c \
    tools/procinfo.h \
    tools/procstat.c \
    tools/procstat.h \
    tools/reader-copy.c \
    tools/reader-copy.h \
    tools/reader-find.c \
    tools/reader-ring.c \
    tools/reader-ring.h \
    tools/reader-stacks.c \
    tools/reader.c \
    tools/reader.h \
    tools/recdir.c \
    tools/recdir.h \
    tools/recfile.c \
    tools/recfile.h \
    tools/recscan.c \
    tools/recscan.h \
    tools/recoptions.c \
    tools/recoptions.h \
    tools/recwriter-add.h \
    tools/recwriter-fit.c \
    tools/recwriter-stack.c \
    tools/recwriter.c \
    tools/recwriter.h \
    tools/refused.c \
    tools/refused.h \
    tools/report.c \
    tools/report.h \
    tools/symbols-file.c \
    tools/symbols-file.h \
    tools/symbols-part.c \
    tools/symbols-part.h \
    tools/rust-name.c \
    tools/rust-name.h \
    tools/symbols.c \
    tools/symbols.h \
    tools/text.c \
    tools/text.h \
    tools/stopped.h \
    tools/textfile.c \
    tools/textfile.h \
    tools/threads.c \
    tools/threads.h \
    tools/toggle.c \
    tools/toggle.h \
    tools/utf8.c \
    tools/utf8.h \
    tools/verdict-facts.c \
    tools/verdict-facts.h \
    tools/verdict-locks.c \
    tools/verdict-processors.c \
    tools/verdict-speedup.c \
    tools/verdict-stacks.c \
    tools/verdict-text.c \
    tools/verdict-words.h \
    tools/verdict.c \
    tools/verdict.h \
    tools/view-folded.c \
    tools/view-html-data.c \
    tools/view-html-tables.c \
    tools/view-html.c \
    tools/view-html.h \
    tools/view-json-stacks.c \
    tools/view-json.c \
    tools/view-json.h \
    tools/view-pprof.c \
    tools/view-speedscope.c \
    tools/view-svg.c \
    tools/view-text-stacks.c \
    tools/view-text-tables.c \
    tools/view-text.c \
    tools/view-text.h \
    tools/view.h \
    tools/watch-process.c \
    tools/watch-process.h \
    tools/watch.c \
    tools/watch.h

# What reports take along is readable as it is, and a string when it is built.
embedded_files = tools/html/report.css tools/html/report.html tools/html/report.js tools/svg/flame.css tools/svg/flame.js
tools/embedded.c: $(embedded_files) scripts/embed.sh
	$(AM_V_GEN)$(MKDIR_P) tools && $(SHELL) $(srcdir)/scripts/embed.sh \
	    embedded_html_css=$(srcdir)/tools/html/report.css \
	    embedded_html_page=$(srcdir)/tools/html/report.html \
	    embedded_html_js=$(srcdir)/tools/html/report.js \
	    embedded_svg_css=$(srcdir)/tools/svg/flame.css \
	    embedded_svg_js=$(srcdir)/tools/svg/flame.js >$@.new && mv -f $@.new $@
CLEANFILES += tools/embedded.c

# pprof's messages.
tools/profile.pb-c.c: $(srcdir)/tools/profile.proto
	$(AM_V_GEN)$(MKDIR_P) tools && $(PROTOC_C) --proto_path=$(srcdir)/tools --c_out=tools profile.proto
tools/profile.pb-c.h: tools/profile.pb-c.c
	@test -f $@ || { rm -f tools/profile.pb-c.c && $(MAKE) $(AM_MAKEFLAGS) tools/profile.pb-c.c; }
BUILT_SOURCES += tools/profile.pb-c.h
tools/libgilscope_tool_a-view-pprof.$(OBJEXT): tools/profile.pb-c.h
CLEANFILES += tools/profile.pb-c.c tools/profile.pb-c.h
EXTRA_DIST += tools/profile.proto
nodist_libgilscope_tool_a_SOURCES = tools/embedded.c tools/profile.pb-c.c tools/profile.pb-c.h

EXTRA_DIST += $(embedded_files) scripts/embed.sh

TOOL_LIBS = $(JANSSON_LIBS) $(ELFUTILS_LIBS) $(PROTOBUF_C_LIBS) $(ZLIB_LIBS) -lm -lpthread
bin_PROGRAMS += gilscope
gilscope_SOURCES = tools/main.c
gilscope_LDADD = libgilscope-tool.a $(TOOL_LIBS)
