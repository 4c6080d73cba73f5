#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps the tables of the manual true to the source.

    manual-tables.py           rewrites the tables
    manual-tables.py --check   says whether they are as they should be

gilscope-recording(5) has the fields of lib/record.h with offset, size and comment, between ".\\" fields of struct NAME"
and ".\\" end of fields"; gilscope-report(1) has the thresholds of the verdict, between ".\\" thresholds" and
".\\" end of thresholds".
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def split_writer(comment):
    """A comment ends with who writes the field, after a full stop or a wide space."""
    writers = "once|owner of the row|owner or closer|owner|mutex|atomic|control|closer"
    found = re.search(rf"^(|.*?(?:\.|  ))\s*({writers})\.?$", comment)
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


def recording_page(page):
    layout = Layout((ROOT / "lib" / "record.h").read_text(encoding="utf-8"))

    def one(found):
        return "\n".join([found.group(1), *table(layout, found.group(2)), found.group(3)])
    return re.sub(r"(\.\\\" fields of struct (\w+))\n.*?(\.\\\" end of fields)", one, page, flags=re.S)


def report_page(page):
    code = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "tools").glob("verdict*.[ch]")))
    struct = re.search(r"struct verdict_limits \{(.*?)\n\}", code, re.S).group(1)
    meanings = dict(re.findall(r"double (\w+);\s*/\* (.*?) \*/", struct))
    values = re.search(r"struct verdict_limits verdict_limits = \{(.*?)\};", code, re.S).group(1)
    rows = [".TS", "l n lx.", "threshold\tvalue\twhat it decides"]
    for name, value in re.findall(r"\.(\w+) = ([\d.e]+)", values):
        rows += [f"{name}\t{value}\tT{{", roff(meanings.pop(name)), "T}"]
    if meanings:
        sys.exit(f"thresholds without a value: {', '.join(meanings)}")
    body = "\n".join([*rows, ".TE"])
    return re.sub(r"(\.\\\" thresholds\n).*?(\.\\\" end of thresholds)", lambda m: f"{m.group(1)}{body}\n{m.group(2)}",
                  page, flags=re.S)


PAGES = {"gilscope-recording.5": recording_page, "gilscope-report.1": report_page}


def main():
    wrong = []
    for name, rewrite in PAGES.items():
        path = ROOT / "man" / name
        old = path.read_text(encoding="utf-8")
        new = rewrite(old)
        if old != new:
            wrong.append(name)
            if sys.argv[1:] != ["--check"]:
                path.write_text(new, encoding="utf-8")
    if wrong and sys.argv[1:] == ["--check"]:
        sys.exit(f"not true to the source: {', '.join(wrong)}; run scripts/{Path(__file__).name}")


if __name__ == "__main__":
    main()
