# SPDX-License-Identifier: MIT
# man/local.mk - the manual: one page per command, and the format of a recording.

dist_man_MANS += \
    man/gilscope.1 \
    man/gilscope-attach.1 \
    man/gilscope-doctor.1 \
    man/gilscope-dump.1 \
    man/gilscope-pause.1 \
    man/gilscope-preload.1 \
    man/gilscope-recording.5 \
    man/gilscope-report.1 \
    man/gilscope-resume.1 \
    man/gilscope-run.1 \
    man/gilscope-safety.7
