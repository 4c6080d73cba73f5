#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps the tables of man/gilscope-recording.5 true to lib/record.h.

    recording-page.py           rewrites the tables
    recording-page.py --check   says whether they are as they should be

In the page, the lines between ".\\" fields of struct NAME" and ".\\" end of fields" are made here: offset, size, name and
the comment of each field.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "man" / "gilscope-recording.5"
SIZES = {"char": 1, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "int32_t": 4, "uint64_t": 8, "int64_t": 8}


class Layout:
    """Offsets and sizes of the structs of record.h, which are naturally aligned."""

    def __init__(self, source):
        self.source = source
        self.constants = {name: int(value, 0) for name, value in
                          re.findall(r"^#define (REC_\w+)\s+(0x[0-9a-fA-F]+|\d+)u?\s", source, re.M)}
        for body in re.findall(r"enum \w+ \{(.*?)\}", source, re.S):
            value = -1
            for item in re.sub(r"/\*.*?\*/", "", body, flags=re.S).split(","):
                name, _, given = item.strip().partition(" = ")
                if name:
                    value = int(given, 0) if given else value + 1
                    self.constants[name] = value

    def fields(self, struct):
        """(offset, size, alignment, declaration, comment) of each field, and a heading for each comment that stands
        alone as (None, None, None, None, comment)."""
        body = re.search(r"^struct %s \{(.*?)^\};" % struct, self.source, re.S | re.M).group(1)
        body = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"\s*\n\s*(\* )?", " ", m.group()), body, flags=re.S)
        offset = 0
        for line in (line.strip() for line in body.split("\n")):
            declared = re.match(r"(struct \w+|\w+) ([^;]+);\s*(?:/\*\s*(.*?)\s*\*/)?", line)
            if declared:
                for name in declared.group(2).split(", "):
                    size, alignment = self.measure(declared.group(1), name)
                    offset += -offset % alignment
                    yield offset, size, alignment, name, declared.group(3) or ""
                    offset += size
            elif line.startswith("/*") and offset:
                yield None, None, None, None, line.strip("/* ")

    def measure(self, kind, name):
        if kind in SIZES:
            size = alignment = SIZES[kind]
        else:
            size, alignment = self.whole(kind.split()[1])
        count = re.search(r"\[(.*)\]", name)
        if count:
            terms = [self.constants[t] if t in self.constants else int(t or 0) for t in count.group(1).split(" + ")]
            size *= sum(terms)
        return size, alignment

    def whole(self, struct):
        fields = [f for f in self.fields(struct) if f[0] is not None]
        alignment = max(f[2] for f in fields)
        end = fields[-1][0] + fields[-1][1]
        return end + -end % alignment, alignment


def roff(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


def split_writer(comment):
    """A comment ends with who writes the field, after a full stop or a wide space."""
    found = re.search(r"^(|.*?(?:\.|  ))\s*(once|owner of the row|owner or closer|owner|mutex|atomic|control|closer)\.?$",
                      comment)
    meaning, writer = found.groups() if found else (comment, "")
    return re.sub(r"(?<!\.)\.$", "", re.sub(r"\s+", " ", meaning).strip()), writer


def table(layout, struct):
    yield ".TS"
    yield "r r l lx."
    yield "at\tsize\tfield\tmeaning [writer]"
    for offset, size, _, name, comment in layout.fields(struct):
        if offset is None:
            continue
        name = re.sub(r"\[.*\]", "", name)
        if name.startswith("pad"):
            continue
        meaning, writer = split_writer(comment)
        yield f"{offset}\t{size or ''}\t{name}\tT{{"
        yield roff(f"{meaning} [{writer}]" if writer else meaning).strip() or "\\&"
        yield "T}"
    yield ".TE"


def rewrite(page, layout):
    def one(found):
        return "\n".join([found.group(1), *table(layout, found.group(2)), found.group(3)])
    return re.sub(r"(\.\\\" fields of struct (\w+))\n.*?(\.\\\" end of fields)", one, page, flags=re.S)


def main():
    layout = Layout((ROOT / "lib" / "record.h").read_text(encoding="utf-8"))
    old = PAGE.read_text(encoding="utf-8")
    new = rewrite(old, layout)
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if old == new else f"{PAGE.name} is not true to record.h: run scripts/{Path(__file__).name}")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
