# SPDX-License-Identifier: Apache-2.0
"""The controller's rights in the forms in which they are needed."""

MADE = "# Made by manifests/generate from manifests/rules.yaml; change it there.\n"
LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"


def flow(values):
    return "[" + ", ".join('""' if value == "" else value for value in values) + "]"


def rule_lines(rules):
    lines = []
    for rule in rules:
        lines.append(f"- apiGroups: {flow([rule['group']])}")
        lines.append(f"  resources: {flow(rule['resources'])}")
        if "names" in rule:
            lines.append(f"  resourceNames: {flow(rule['names'])}")
        lines.append(f"  verbs: {flow(rule['verbs'])}")
    return lines


def role(kind, name, rules):
    return "\n".join(["apiVersion: rbac.authorization.k8s.io/v1", f"kind: {kind}",
                      f"metadata: {{name: {name}}}", "rules:"] + rule_lines(rules)) + "\n"


def roles(rules):
    return (LICENCE + MADE + role("ClusterRole", "stackspec-controller", rules["stacks"])
            + "---\n" + role("Role", "stackspec-controller-leader", rules["own"]))


def chart_rules(rules):
    """What the templates read with fromYaml."""
    text = LICENCE + MADE
    for part in ("stacks", "own"):
        text += part + ":\n" + "\n".join(rule_lines(rules[part])) + "\n"
    return text


PAGE = """# What the controller may do, and why

This page is written by `manifests/generate` from `manifests/rules.yaml`, of which the roles in
`manifests/controller` and in the chart are made too. A test compares them with what the API server
saw the controller do: nothing else is granted, nothing is missing.

It can never delete a PersistentVolumeClaim, a PersistentVolume, a Namespace or a Secret, never
write a StackSpec's `spec`, never run a command in a pod, and never grant rights. Nothing is asked of
the cluster as a whole: with `watchNamespaces` the same rules are in Roles. What is refused for want
of a right is logged with the verb and the resource.

"""

PARTS = {
    "stacks": ("In every namespace whose stacks it looks after",
               "A ClusterRole; with `watchNamespaces` a Role in each of them."),
    "own": ("In its own namespace", "A Role."),
}


def page(rules):
    text = PAGE
    for part, (title, kind) in PARTS.items():
        text += f"## {title}\n\n{kind}\n\n| Group | Resources | Verbs | Why |\n|---|---|---|---|\n"
        for rule in rules[part]:
            resources = ", ".join(f"`{name}`" for name in rule["resources"])
            if "names" in rule:
                resources += " named " + ", ".join(f"`{name}`" for name in rule["names"])
            text += f"| {rule['group'] or 'core'} | {resources} | {', '.join(rule['verbs'])} | {rule['why']} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n"
