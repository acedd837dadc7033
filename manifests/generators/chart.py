# SPDX-License-Identifier: Apache-2.0
"""The chart's README, from the comments of its values."""
import json
import re

import yaml

PREFACE = """# stackspec-controller

Keeps Twenty CRM stacks as their `StackSpec` objects say: installed, upgraded release by release
with proven backups, rolled back with their data when a release is bad. How to use it:
[docs/kubernetes.md](../../docs/kubernetes.md). This page is written by `manifests/generate` from
the comments of `values.yaml`.

    helm install stackspec charts/stackspec-controller --namespace stackspec-system --create-namespace

* The CRDs are templates, not files of `crds/`: `helm upgrade` upgrades them, and with `crds.keep`
  (the default) `helm uninstall` leaves them and every stack where they are.
* Uninstalling stops nothing: the stacks go on serving, nobody upgrades or repairs them.
* `watchNamespaces` gives Roles in those namespaces and nothing in the cluster. The CRDs then need
  somebody who may install them: `crds.install=false` and `kubectl apply -k manifests/crds`.

| Value | Default | Meaning |
|---|---|---|
"""


def commented(text):
    """Yields (path, comment) of every key, '' where there is none. A comment begins with `# -- `."""
    path, comment = [], []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("#"):
            said = bare.lstrip("#").strip()
            if said.startswith("-- "):
                comment = [said[3:]]
            elif comment:
                comment.append(said)
            continue
        found = re.match(r"( *)([A-Za-z]\w*):", line)
        if not found:
            comment = []
            continue
        depth = len(found.group(1)) // 2
        path = path[:depth] + [found.group(2)]
        yield tuple(path), " ".join(comment)
        comment = []


def value_at(values, path):
    for name in path:
        values = values[name]
    return values


def readme(text):
    values = yaml.safe_load(text)
    table, told = [], set()
    for path, comment in commented(text):
        value = value_at(values, path)
        if comment:
            told.add(path)
            shown = json.dumps(value).replace("|", "\\|")
            table.append(f"| `{'.'.join(path)}` | `{shown}` | {comment} |")
        elif not isinstance(value, dict) and not any(path[:n] in told for n in range(1, len(path))):
            raise SystemExit(f"generate: values.yaml: {'.'.join(path)} has no comment; begin one with `# -- `")
    return PREFACE + "\n".join(table) + "\n"
