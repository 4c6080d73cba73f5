#!/bin/sh
# SPDX-License-Identifier: MIT
#
# embed.sh - turns text files into C strings: embed.sh NAME=FILE... prints the definitions of `const char NAME[]`, which
# tools/embedded.h declares.  Comment blocks at a file's very beginning (licence and purpose) are left out.
set -eu

echo '/* Made by scripts/embed.sh. */'
echo '#include "embedded.h"'
for pair; do
    printf '\nconst char %s[] = ""\n' "${pair%%=*}"
    awk '
        NR == 1 && /^(\/\*|<!--)/ { in_comment = 1 }
        in_comment { if (/\*\/|-->/) in_comment = 0; next }
        { print }
    ' "${pair#*=}" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/    "&\\n"/'
    echo '    ;'
done
