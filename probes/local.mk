# SPDX-License-Identifier: MIT
# probes/local.mk - the BPF probe's build.  This version has none; configure reports what it will need.
