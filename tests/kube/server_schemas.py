# SPDX-License-Identifier: Apache-2.0
"""The schemas of a running API server in the form in which kubeconform reads them."""
import json
import os
import time


def strict(schema):
    """An object may only have the fields it names, unless it says otherwise."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(value) for key, value in schema.items()}
    free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not free:
        out["additionalProperties"] = False
    return out


def documents(api):
    code, index, _ = api.call("GET", "/openapi/v3")
    assert code == 200, index
    for path, place in index["paths"].items():
        if path == "api/v1" or path.startswith("apis/"):
            yield api.call("GET", place["serverRelativeURL"])[1]


def kinds(document):
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        for each in schema.get("x-kubernetes-group-version-kind", []):
            yield name, each


def write_schemas(api, folder, needed):
    """One file a kind: <kind>-<group>-<version>.json, the core group called by its version. A server tells of new CRDs a moment late, so
    it is asked again until every kind of `needed` is there."""
    deadline = time.monotonic() + 30
    while True:
        written = set()
        for document in documents(api):
            schemas = strict(document.get("components", {}).get("schemas", {}))
            for name, kind in kinds(document):
                file = "-".join(word.lower() for word in (kind["kind"], kind["group"] or kind["version"], kind["version"]))
                with open(os.path.join(folder, file + ".json"), "w") as out:
                    json.dump({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}, out)
                written.add(kind["kind"])
        if set(needed) <= written:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"the server has no schema of {sorted(set(needed) - written)}")
        time.sleep(0.2)
