# SPDX-License-Identifier: Apache-2.0
"""The ConfigMap that teaches Argo CD our objects, from the Lua files that the tests run."""

PREFACE = """# SPDX-License-Identifier: Apache-2.0
# Made by manifests/generate from the Lua files beside it; change them. Merge it into argocd-cm:
#   kubectl -n argocd patch configmap argocd-cm --patch-file docs/gitops/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels: {app.kubernetes.io/name: argocd-cm, app.kubernetes.io/part-of: argocd}
data:
"""
GROUP = "stackspec.dev"
KINDS = {"StackSpec": "stackspec", "StackBackup": "stackbackup", "StackRestore": "stackrestore"}


def lua(path):
    """A script without its licence line, which has no place in somebody's settings."""
    return "".join(line + "\n" for line in path.read_text().splitlines() if "SPDX-License" not in line)


def indented(text, blanks):
    return "".join((" " * blanks + line).rstrip() + "\n" for line in text.splitlines())


def argocd(folder):
    text = PREFACE
    for kind, name in KINDS.items():
        text += f"  resource.customizations.health.{GROUP}_{kind}: |\n"
        text += indented(lua(folder / f"health-{name}.lua"), 4)
    text += f"  resource.customizations.actions.{GROUP}_StackSpec: |\n    discovery.lua: |\n"
    text += indented(lua(folder / "actions/discovery.lua"), 6) + "    definitions:\n"
    for path in sorted((folder / "actions").glob("*.lua")):
        if path.stem != "discovery":
            text += f"    - name: {path.stem}\n      action.lua: |\n" + indented(lua(path), 8)
    text += f"  # Progress is no reason to compare an Application with Git again.\n"
    text += f"  resource.customizations.ignoreResourceUpdates.{GROUP}_StackSpec: |\n"
    text += "    jsonPointers: [/status/components, /status/migrations, /status/workspaces]\n"
    return text
