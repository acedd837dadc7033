#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Compares the rights of the controller with what an API server saw it do.

usage: rbac_used.py [--namespace NS] [--account NAME] AUDIT_LOG...
       rbac_used.py --self-test

Fails and says which requests were made without a right in manifests/rules.yaml, and which rights
nobody used and rbac_exceptions.yaml does not excuse.
"""
import argparse
import json
import pathlib
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "manifests/rules.yaml"
EXCEPTIONS = ROOT / "tests/kube/rbac_exceptions.yaml"


def requests(lines, user):
    """{(namespace, group, resource, name, verb)} of one user; `pods/log` is a resource."""
    found = set()
    for line in lines:
        if not line.strip():
            continue
        event = json.loads(line)
        if event.get("user", {}).get("username") != user or event.get("stage") == "RequestReceived":
            continue
        what = event.get("objectRef")
        if not what:
            continue  # discovery, /version, health
        resource = what["resource"] + ("/" + what["subresource"] if "subresource" in what else "")
        found.add((what.get("namespace", ""), what.get("apiGroup", ""), resource, what.get("name", ""), event["verb"]))
    return found


def rights(rules):
    """[(part, group, resource, names, verb)], one for each word of each rule."""
    return [(part, rule["group"], resource, frozenset(rule.get("names", ())), verb)
            for part in ("stacks", "own") for rule in rules[part]
            for resource in rule["resources"] for verb in rule["verbs"]]


def covers(right, request, own_namespace):
    part, group, resource, names, verb = right
    namespace, *what, name, asked = request
    if (group, resource, verb) != (*what, asked) or (names and name not in names):
        return False
    return part == "stacks" or (part == "own" and namespace == own_namespace)


def problems(rules, used, exceptions, own_namespace):
    excused = {(each["group"], each["resource"], each["verb"]) for each in exceptions["notUsed"]}
    sometimes = {(each["group"], each["resource"], each["verb"]) for each in exceptions["notUsed"] if each.get("sometimes")}
    elsewhere = {(each["group"], each["resource"], each["verb"]) for each in exceptions["grantedElsewhere"]}
    granted = rights(rules)
    for request in sorted(used):
        namespace, group, resource, name, verb = request
        if (group, resource, verb) in elsewhere or any(covers(right, request, own_namespace) for right in granted):
            continue
        yield f"used, not granted: {verb} {resource}.{group or 'core'} {namespace}/{name}; add it to manifests/rules.yaml with its reason"
    for right in granted:
        part, group, resource, _, verb = right
        seen = any(covers(right, request, own_namespace) for request in used)
        known = (group, resource, verb) in excused
        if not seen and not known:
            yield f"granted, not used: {verb} {resource}.{group or 'core'} ({part}); take it away, or excuse it in rbac_exceptions.yaml"
        if seen and known and (group, resource, verb) not in sometimes:
            yield f"excused, but used: {verb} {resource}.{group or 'core'}; take it out of rbac_exceptions.yaml"
    for group, resource, verb in sorted(excused - {(right[1], right[2], right[4]) for right in granted}):
        yield f"excused, but not granted: {verb} {resource}.{group or 'core'}; take it out of rbac_exceptions.yaml"


# ---- self-test ----
USER = "system:serviceaccount:ops:controller"
SMALL = {"stacks": [{"group": "", "resources": ["pods"], "verbs": ["list"]},
                    {"group": "", "resources": ["pods/log"], "verbs": ["get"]},
                    {"group": "s", "resources": ["classes"], "verbs": ["get"]}],
         "own": [{"group": "c", "resources": ["leases"], "names": ["one"], "verbs": ["update"]}]}


def event(verb, resource, namespace="", name="", group="", user=USER, stage="ResponseComplete"):
    resource, _, subresource = resource.partition("/")
    what = {"resource": resource, "namespace": namespace, "name": name, "apiGroup": group}
    if subresource:
        what["subresource"] = subresource
    return json.dumps({"stage": stage, "verb": verb, "user": {"username": user},
                       "objectRef": {key: value for key, value in what.items() if value}})


ALL = [event("list", "pods", "shop"), event("get", "pods/log", "shop", "p"),
       event("update", "leases", "ops", "one", "c"), event("get", "classes", "", "fast", "s")]

# what is told apart, events, exceptions (notUsed, grantedElsewhere), part of the only complaint or None
SELF_TEST = [
    ("all of it", ALL, [], [], None),
    ("a verb that is not granted", ALL + [event("delete", "pods", "shop", "p")], [], [], "not granted: delete pods"),
    ("somebody else's", ALL + [event("delete", "pods", "shop", "p", user="admin")], [], [], None),
    ("an early stage", ALL + [event("delete", "pods", stage="RequestReceived")], [], [], None),
    ("a subresource is not its resource", ALL + [event("get", "pods", "shop", "p")], [], [], "not granted: get pods.core"),
    ("another name", ALL + [event("update", "leases", "ops", "two", "c")], [], [], "not granted: update leases.c ops/two"),
    ("another namespace", ALL + [event("update", "leases", "shop", "one", "c")], [], [], "not granted: update leases.c shop"),
    ("another group", ALL + [event("list", "pods", "shop", group="metrics")], [], [], "not granted: list pods.metrics"),
    ("nobody used it", ALL[:3], [], [], "not used: get classes.s"),
    ("that is excused", ALL[:3], [("s", "classes", "get")], [], None),
    ("an excuse that is not needed", ALL, [("s", "classes", "get")], [], "excused, but used: get classes.s"),
    ("an excuse that is not always needed", ALL, [("s", "classes", "get", True)], [], None),
    ("an excuse for nothing", ALL, [("x", "y", "get")], [], "excused, but not granted: get y.x"),
    ("granted elsewhere", ALL + [event("create", "reviews", group="a")], [], [("a", "reviews", "create")], None),
]


def self_test():
    wrong = 0
    for name, events, not_used, elsewhere, wanted in SELF_TEST:
        exceptions = {key: [dict(zip(("group", "resource", "verb", "sometimes"), each)) for each in rows]
                      for key, rows in (("notUsed", not_used), ("grantedElsewhere", elsewhere))}
        found = list(problems(SMALL, requests(events, USER), exceptions, "ops"))
        if len(found) != (wanted is not None) or (wanted and wanted not in found[0]):
            print(f"self-test: {name}: {found}, wanted {wanted}")
            wrong += 1
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--namespace", default="stackspec-system")
    parser.add_argument("--account", default="stackspec-controller")
    parser.add_argument("logs", nargs="*")
    given = parser.parse_args()
    if given.self_test:
        return self_test()
    user = f"system:serviceaccount:{given.namespace}:{given.account}"
    used = set()
    for log in given.logs:
        with open(log) as lines:
            used |= requests(lines, user)
    if not used:
        print(f"no request of {user} in {' '.join(given.logs) or 'no log'}; was the controller run with its own account?")
        return 1
    wrong = list(problems(yaml.safe_load(RULES.read_text()), used, yaml.safe_load(EXCEPTIONS.read_text()), given.namespace))
    print("\n".join(wrong))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main()))
