#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/gitops are what the tools they are for read."""
import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/gitops"
# What Renovate's kubernetes manager takes for an image: a line of a file that has apiVersion and kind.
RENOVATE_IMAGE = re.compile(r"^\s*-?\s*image:\s*['\"]?(?P<image>[^\s'\"]+)['\"]?\s*(#.*)?$", re.M)
# What Flux takes for a place to write to.
FLUX_MARKER = re.compile(r"^\s*(?P<field>\w+): (?P<value>\S+) # (?P<marker>{\"\$imagepolicy\": \"[^\"]+\"})$", re.M)


def documents(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def check_yaml():
    for path in sorted(EXAMPLES.rglob("*.yaml")):
        if path.name == "images.yaml":
            continue  # a transformer's configuration, no object
        for each in documents(path):
            if not {"apiVersion", "kind"} <= set(each):
                yield f"{path.relative_to(ROOT)}: a document is no object"


def check_renovate():
    settings = json.loads((EXAMPLES / "renovate/renovate.json").read_text())
    (pattern,) = settings["customManagers"][0]["matchStrings"]
    found = re.search(pattern.replace("(?<", "(?P<"), (EXAMPLES / "stack-tag.yaml").read_text())
    if not found or found["currentValue"] != "v1.16.6" or found["depName"] != "docker.io/twentycrm/twenty":
        yield "renovate.json: its expression does not find the tag of docs/gitops/stack-tag.yaml"
    images = [each["image"] for each in RENOVATE_IMAGE.finditer((EXAMPLES / "stack.yaml").read_text())]
    if images != ["docker.io/twentycrm/twenty:v1.16.6"]:
        yield f"stack.yaml: Renovate's kubernetes manager would find {images}"
    for manager in (settings["kubernetes"], settings["customManagers"][0]):
        (files,) = manager["managerFilePatterns"]
        if not re.search(files.strip("/"), "stacks/crm.yaml"):
            yield f"renovate.json: {files} does not match stacks/crm.yaml"


def check_flux():
    policies = {f"{each['metadata']['namespace']}:{each['metadata']['name']}"
                for each in documents(EXAMPLES / "flux/image-automation.yaml") if each["kind"] == "ImagePolicy"}
    for name, wanted in (("stack.yaml", "image"), ("stack-tag.yaml", "tag")):
        found = FLUX_MARKER.search((EXAMPLES / name).read_text())
        if not found or found["field"] != wanted:
            yield f"{name}: no line `{wanted}: … # {{\"$imagepolicy\": …}}`"
            continue
        policy = json.loads(found["marker"])["$imagepolicy"]
        part = policy.removesuffix(":tag")
        if part not in policies or (policy != part) != (wanted == "tag"):
            yield f"{name}: the marker {policy} names no policy of flux/image-automation.yaml for a {wanted}"


def main():
    wrong = [line for check in (check_yaml, check_renovate, check_flux) for line in check()]
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
