#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Alerts use metrics that exist, say what a person needs, and have their part of docs/alerts.md."""
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALERTS = "charts/stackspec-controller/files/alerts.yaml"
METRIC = re.compile(r"\b((?:stackspec|controller_runtime|workqueue|process)_\w+)")


def problems(groups, metrics, sections):
    rules = [rule for group in groups for rule in group["rules"]]
    names = [rule["alert"] for rule in rules]
    for rule in rules:
        name = rule["alert"]
        for metric in METRIC.findall(rule["expr"]):
            if re.sub(r"_(bucket|sum|count)$", "", metric) not in metrics and metric not in metrics:
                yield f"{name}: there is no metric {metric}; docs/metrics.md has them all"
        if rule.get("labels", {}).get("severity") not in ("critical", "warning", "info"):
            yield f"{name}: severity must be critical, warning or info"
        annotations = rule.get("annotations", {})
        if not annotations.get("summary") or "{{" in annotations["summary"]:
            yield f"{name}: needs a summary that is the same sentence every time"
        if not annotations.get("description"):
            yield f"{name}: needs a description"
        if name not in sections:
            yield f"{name}: has no part of docs/alerts.md; write `## {name}`"
    for name in sorted(set(sections) - set(names)):
        yield f"docs/alerts.md: {name} is no alert"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: is there twice"


GOOD = {"alert": "A", "expr": "stackspec_up > 1", "labels": {"severity": "info"},
        "annotations": {"summary": "s", "description": "d"}}
# change of a good alert, part of the complaint
SELF_TEST = [
    ({}, None), ({"expr": "stackspec_gone"}, "no metric stackspec_gone"), ({"labels": {}}, "severity"),
    ({"annotations": {"summary": "s"}}, "description"),
    ({"annotations": {"summary": "{{ $value }}", "description": "d"}}, "same sentence"),
    ({"alert": "B"}, "no part"),
]


def self_test():
    for change, wanted in SELF_TEST:
        found = list(problems([{"rules": [{**GOOD, **change}]}], {"stackspec_up"}, ["A"]))
        if (wanted is None) != (not found) or (wanted and not any(wanted in each for each in found)):
            yield f"self-test: {change} gives {found}, wanted {wanted}"


def main():
    groups = yaml.safe_load((ROOT / ALERTS).read_text())["groups"]
    metrics = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/alerts.md").read_text(), re.M)
    wrong = [*self_test(), *problems(groups, metrics, sections)]
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
