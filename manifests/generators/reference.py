# SPDX-License-Identifier: Apache-2.0
"""The reference of the objects, from the schemas that a cluster gets."""

PREFACE = """# Reference of the objects

This page is written by `manifests/generate` from `crds/*.yaml`; the same texts are shown by
`kubectl explain stackspec.spec`. What is absent has the default of the program. Fields marked
*not supported yet* are refused with a message, never ignored.

"""


def kind_of(schema):
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind = schema.get("type", "any")
    if kind == "array":
        return "list of " + kind_of(schema["items"])
    if kind == "object" and "additionalProperties" in schema:
        return "map to " + kind_of(schema["additionalProperties"])
    return kind


def limits(schema):
    parts = []
    if "enum" in schema:
        parts.append("one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    if "minimum" in schema and schema.get("type") == "integer":
        high = schema.get("maximum")
        parts.append(f"{schema['minimum']} to {high}" if high is not None else f"at least {schema['minimum']}")
    pattern = schema.get("pattern", "")
    if 0 < len(pattern) <= 60 and "](" not in pattern and not schema.get("x-kubernetes-int-or-string"):
        parts.append("matches `" + pattern.replace("|", "\\|") + "`")
    if "maxLength" in schema and not pattern:
        parts.append(f"up to {schema['maxLength']} characters")
    if "maxItems" in schema:
        parts.append(f"up to {schema['maxItems']}")
    if "default" in schema:
        parts.append(f"default `{schema['default']}`")
    return "; ".join(parts)


def rows(schema, path, needed):
    """One row a field, outer before inner."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        star = "**" if name in needed else ""
        text = field.get("description", "").replace("|", "\\|")
        about = limits(field)
        yield f"| `{here}` | {kind_of(field)}{' (needed)' if star else ''} | {text}{' (' + about + ')' if about else ''} |"
        inner, there = field, here
        while inner.get("type") == "array":
            inner, there = inner["items"], there + "[]"
        yield from rows(inner, there, inner.get("required", []))


def rules(schema, path):
    """Every rule that a schema alone cannot say, with the field it judges."""
    for rule in schema.get("x-kubernetes-validations", []):
        place = (path + rule["fieldPath"] if "fieldPath" in rule else path) or "object"
        place = place.lstrip(".")
        message = rule["message"].replace("|", "\\|").removeprefix(place + ": ").removeprefix(place + " ")
        yield f"* `{place}`: {message}"
    for name, field in schema.get("properties", {}).items():
        yield from rules(field, f"{path}.{name}")
    if "items" in schema:
        yield from rules(schema["items"], path + "[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from rules(schema["additionalProperties"], path + ".*")


def section(crd):
    names = crd["spec"]["names"]
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    text = f"## {names['kind']}\n\n{schema['description']}\n\n"
    text += f"`{crd['spec']['group']}/{version['name']}`; `kubectl get {names['shortNames'][0]}`"
    text += ", ".join([""] + [f"`kubectl get {name}`" for name in names.get("categories", [])]) + ".\n\n"
    columns = ", ".join(f"{column['name']}{' (`-o wide`)' if column.get('priority') else ''}"
                        for column in version.get("additionalPrinterColumns", []))
    text += f"Columns of `kubectl get`: {columns}.\n\n"
    for part in ("spec", "status"):
        inner = schema["properties"][part]
        text += f"### {names['kind']} {part}\n\n{inner.get('description', '')}\n\n"
        text += "| Field | Type | Meaning |\n|---|---|---|\n"
        text += "\n".join(rows(inner, part, inner.get("required", []))) + "\n\n"
    found = list(dict.fromkeys(rules(schema, "")))
    if found:
        text += f"### Rules of {names['kind']}\n\n" + "\n".join(found) + "\n\n"
    return text


def page(crds):
    order = sorted(crds, key=lambda crd: crd["spec"]["names"]["kind"] != "StackSpec")
    return (PREFACE + "".join(section(crd) for crd in order)).rstrip("\n") + "\n"
