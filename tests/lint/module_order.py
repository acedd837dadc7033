#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a module includes one that controller/CMakeLists.txt does not let it use."""
import pathlib, re, sys

root = pathlib.Path(__file__).resolve().parents[2] / "controller"
uses = {}
for name, body in re.findall(r"stackspec_module\((\w+)(.*?)\)", (root / "CMakeLists.txt").read_text(), re.S):
    listed = re.search(r"\bUSES\b([\s\w]*?)(?:\b(?:SOURCES|PRIVATE_LIBRARIES|PUBLIC_LIBRARIES)\b|$)", body)
    uses[name] = set(listed.group(1).split()) if listed else set()

wrong = []
for file in sorted(root.glob("*/**/*.[ch]pp")):
    module = file.relative_to(root).parts[0]
    for target in re.findall(r'^#include "(\w+)/', file.read_text(), re.M):
        if target != module and target not in uses.get(module, set()):
            wrong.append(f"{file.relative_to(root)} includes {target}/, which {module} does not use")
print("\n".join(wrong))
sys.exit(bool(wrong))
