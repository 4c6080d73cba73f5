# SPDX-License-Identifier: MIT
# tests/local.mk - unit tests in C, run by `make check` (77 = skipped, 99 = the harness is broken); the end-to-end tests
# are pytest files, run by ./runtests.

UNIT_TESTS = \
    tests/unit-cpu-limit \
    tests/unit-frames \
    tests/unit-hist \
    tests/unit-model \
    tests/unit-order \
    tests/unit-pause \
    tests/unit-plan \
    tests/unit-quick \
    tests/unit-reader \
    tests/unit-ring \
    tests/unit-room \
    tests/unit-symbols \
    tests/unit-text \
    tests/unit-toggle \
    tests/unit-tree \
    tests/unit-verdict

check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
unit_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/tools $(JANSSON_CFLAGS)
unit_ldadd = libgilscope-tool.a $(TOOL_LIBS)

# For each test: tests_unit_NAME_SOURCES, _CPPFLAGS = $(unit_cppflags), _LDADD = $(unit_ldadd).
unit_maker = tests/unit-check.h tests/unit-maker.c tests/unit-maker.h
tests_unit_cpu_limit_SOURCES = tests/unit-check.h tests/unit-cpu-limit.c
tests_unit_cpu_limit_CPPFLAGS = $(unit_cppflags)
tests_unit_cpu_limit_LDADD = $(unit_ldadd)
tests_unit_frames_SOURCES = tests/unit-check.h tests/unit-frames.c
tests_unit_frames_CPPFLAGS = $(unit_cppflags)
tests_unit_frames_LDADD = $(unit_ldadd)
tests_unit_hist_SOURCES = tests/unit-hist.c $(unit_maker)
tests_unit_hist_CPPFLAGS = $(unit_cppflags)
tests_unit_hist_LDADD = $(unit_ldadd)
tests_unit_model_SOURCES = tests/unit-model.c $(unit_maker)
tests_unit_model_CPPFLAGS = $(unit_cppflags)
tests_unit_model_LDADD = $(unit_ldadd)
tests_unit_order_SOURCES = tests/unit-check.h tests/unit-order.c
# The shim's own accounts, each file with tests/order/sim.h in front of it.
tests_unit_pause_SOURCES = tests/unit-check.h tests/unit-pause.c tests/order/accounts.c tests/order/order.h \
    tests/order/process.h tests/order/python.c tests/order/sim.c tests/order/sim.h tests/order/stubs.c \
    lib/shim.c lib/shim-account.c lib/shim-enter.c lib/shim-fold.c lib/shim-gil.c lib/shim-pause.c lib/shim-ring.c \
    lib/shim-route.c lib/shim-several.c lib/shim-thread.c tools/toggle.c
tests_unit_pause_CPPFLAGS = $(unit_cppflags) -include $(top_srcdir)/tests/order/sim.h
tests_unit_plan_SOURCES = tests/unit-check.h tests/unit-plan.c
tests_unit_plan_CPPFLAGS = $(unit_cppflags)
tests_unit_plan_LDADD = $(unit_ldadd)
tests_unit_quick_SOURCES = tests/unit-check.h tests/unit-quick.c lib/shim-quick.c
tests_unit_quick_CPPFLAGS = $(unit_cppflags)
tests_unit_reader_SOURCES = tests/unit-reader.c $(unit_maker)
tests_unit_reader_CPPFLAGS = $(unit_cppflags)
tests_unit_reader_LDADD = $(unit_ldadd)
tests_unit_ring_SOURCES = tests/unit-ring.c lib/shim-ring.c $(unit_maker)
tests_unit_ring_CPPFLAGS = $(unit_cppflags)
tests_unit_ring_LDADD = $(unit_ldadd)
tests_unit_room_SOURCES = tests/unit-check.h tests/unit-room.c
tests_unit_room_CPPFLAGS = $(unit_cppflags)
tests_unit_room_LDADD = $(unit_ldadd)
tests_unit_symbols_SOURCES = tests/unit-check.h tests/unit-symbols.c
tests_unit_symbols_CPPFLAGS = $(unit_cppflags)
tests_unit_symbols_LDADD = $(unit_ldadd)
tests_unit_text_SOURCES = tests/unit-text.c $(unit_maker)
tests_unit_text_CPPFLAGS = $(unit_cppflags)
tests_unit_text_LDADD = $(unit_ldadd)
tests_unit_toggle_SOURCES = tests/unit-check.h tests/unit-toggle.c
tests_unit_toggle_CPPFLAGS = $(unit_cppflags)
tests_unit_toggle_LDADD = $(unit_ldadd)
tests_unit_tree_SOURCES = tests/unit-tree.c $(unit_maker)
tests_unit_tree_CPPFLAGS = $(unit_cppflags)
tests_unit_tree_LDADD = $(unit_ldadd)
tests_unit_verdict_SOURCES = tests/unit-verdict.c $(unit_maker)
tests_unit_verdict_CPPFLAGS = $(unit_cppflags)
tests_unit_verdict_LDADD = $(unit_ldadd)

# The fuzzer and what replays its corpus: in a build with --enable-sanitizers.
fuzz_sources = tests/fuzz/fuzz.h tests/fuzz/run.c tests/fuzz/mutate.c
fuzz_ldflags = $(AM_LDFLAGS) -Wl,--wrap=symbols_file_open,--wrap=pread,--wrap=nanosleep
if SANITIZERS
check_PROGRAMS += tests/fuzz/fuzz-recording tests/fuzz/fuzz-elf tests/fuzz/replay tests/fuzz/replay-elf
TESTS += tests/fuzz/replay tests/fuzz/replay-elf
endif
tests_fuzz_fuzz_recording_SOURCES = tests/fuzz/fuzz-recording.c $(fuzz_sources)
tests_fuzz_fuzz_recording_CPPFLAGS = $(unit_cppflags)
tests_fuzz_fuzz_recording_LDFLAGS = $(fuzz_ldflags) -fsanitize=fuzzer
tests_fuzz_fuzz_recording_LDADD = $(unit_ldadd)
# Without --wrap: here the files with symbols are the input.
tests_fuzz_fuzz_elf_SOURCES = tests/fuzz/fuzz-elf.c tests/fuzz/elf.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_elf_CPPFLAGS = $(unit_cppflags)
tests_fuzz_fuzz_elf_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_elf_LDADD = $(unit_ldadd)
tests_fuzz_replay_elf_SOURCES = tests/fuzz/replay-elf.c tests/fuzz/elf.c tests/fuzz/replay.h tests/fuzz/fuzz.h
tests_fuzz_replay_elf_CPPFLAGS = $(unit_cppflags)
tests_fuzz_replay_elf_LDADD = $(unit_ldadd)
tests_fuzz_replay_SOURCES = tests/fuzz/replay.c tests/fuzz/replay.h $(fuzz_sources)
tests_fuzz_replay_CPPFLAGS = $(unit_cppflags)
tests_fuzz_replay_LDFLAGS = $(fuzz_ldflags)
tests_fuzz_replay_LDADD = $(unit_ldadd)
EXTRA_DIST += tests/fuzz/README.md $(wildcard $(srcdir)/tests/fuzz/corpus/*)
EXTRA_DIST += $(wildcard $(srcdir)/tests/fuzz/corpus-elf/*)
EXTRA_DIST += $(wildcard $(srcdir)/tests/recordings/*/*)

TEST_DIRS = $(srcdir)/tests $(srcdir)/tests/*
EXTRA_DIST += $(foreach ext,py pyx ini json c h map txt gil,$(wildcard $(addsuffix /*.$(ext),$(TEST_DIRS))))
