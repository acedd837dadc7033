#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when docs/verification.md names a test that is not there."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
tests = "\n".join(file.read_text() for file in sorted((root / "tests").rglob("*.cpp")))
there = set(re.findall(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", tests, re.M))
rows = [line for line in (root / "docs/verification.md").read_text().splitlines() if line.startswith("|")]

wrong = []
for row in rows:
    for suite, name in re.findall(r"\b([A-Z]\w+)\.([A-Z]\w+)", row.rsplit("|", 2)[-2]):
        if (suite, name) not in there:
            wrong.append(f"docs/verification.md: there is no test {suite}.{name}")
    for file, chapter in re.findall(r"(tests/[\w/]+\.py) (test_\d+)", row):
        if f"def {chapter}_" not in (root / file).read_text():
            wrong.append(f"docs/verification.md: {file} has no {chapter}")
print("\n".join(wrong))
sys.exit(bool(wrong) or not rows)
