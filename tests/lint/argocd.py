#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the Lua of docs/gitops/argocd over StackSpecs that the controller wrote, and over odd ones."""
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
LUA = ROOT / "docs/gitops/argocd"
DOCUMENTS = ROOT / "tests/kube/kstatus"

# Runs one script as Argo CD does: the object is the global `obj`, the answer is what it returns.
HARNESS = """
local function text(value)
  if type(value) ~= "table" then return (type(value) == "string") and string.format("%q", value) or tostring(value) end
  local parts = {}
  for key, inner in pairs(value) do parts[#parts + 1] = string.format("[%s]=%s", text(key), text(inner)) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end
local answer = assert(loadfile(arg[1], "t", {obj = OBJECT, ipairs = ipairs, pairs = pairs, tostring = tostring,
  require = function() return {date = os.date, time = os.time} end}))()
print(text(answer))
"""


def literal(value):
    """A JSON value as Lua."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\u{{{ord(c):x}}}" for c in value) + '"'
    if isinstance(value, list):
        return "{" + ",".join(literal(each) for each in value) + "}"
    return "{" + ",".join(f"[{literal(key)}]={literal(each)}" for key, each in value.items()) + "}"


def run(script, document):
    program = f"OBJECT = {literal(document)}\n{HARNESS}"
    done = subprocess.run(["lua5.4", "-", str(LUA / script)], input=program, text=True, capture_output=True)
    if done.returncode != 0:
        return "error: " + done.stderr.strip().splitlines()[0]
    return done.stdout.strip()


def stack(status=None, spec=None, generation=1):
    return {"apiVersion": "stackspec.dev/v1alpha1", "kind": "StackSpec",
            "metadata": {"name": "crm", "namespace": "shop", "generation": generation},
            "spec": spec or {"tag": "v1.16"}, **({"status": status} if status is not None else {})}


def conditions(**states):
    return [{"type": kind, "status": state} for kind, state in states.items()]


# script, object, text that the answer must hold
ODD = [
    ("health-stackspec.lua", {}, '"Progressing"'),
    ("health-stackspec.lua", stack(), '"Progressing"'),
    ("health-stackspec.lua", stack({}), '"Progressing"'),
    ("health-stackspec.lua", stack({"observedGeneration": 1}), "waiting for the controller"),
    ("health-stackspec.lua", stack({"observedGeneration": 1, "conditions": [{}]}), '"Progressing"'),
    ("health-stackspec.lua", stack({"observedGeneration": 1, "phase": "AwaitingApproval", "message": "plan abc",
                                    "conditions": conditions(Ready="Unknown", Reconciling="True")}),
     '{["message"]="AwaitingApproval: plan abc",["status"]="Suspended"}'),
    ("health-stackspec.lua", stack({"observedGeneration": 1, "conditions": conditions(Ready="False")}), '"Degraded"'),
    ("health-stackspec.lua", stack({"observedGeneration": 1, "phase": "Suspended", "message": "m",
                                    "conditions": conditions(Ready="False", Stalled="True")}, {"suspend": True}),
     '"Degraded"'),
    ("health-stackspec.lua", stack({"observedGeneration": 1, "phase": "Upgrading", "message": "step 7/9 Verify",
                                    "conditions": conditions(Ready="Unknown", Reconciling="True")},
                                   {"suspend": True}), '"Upgrading: step 7/9 Verify"'),
    ("health-stackbackup.lua", {"kind": "StackBackup"}, '"Progressing"'),
    ("health-stackbackup.lua", {"status": {"phase": "Running"}}, '"Progressing"'),
    ("health-stackbackup.lua", {"status": {"phase": "Proven"}}, '"Healthy"'),
    ("health-stackbackup.lua", {"status": {"phase": "Failed", "message": "disk full"}}, "disk full"),
    ("health-stackrestore.lua", {"status": {"phase": "Done"}}, '"Healthy"'),
    ("health-stackrestore.lua", {"status": {"phase": "Failed"}}, '"Degraded"'),
    ("actions/discovery.lua", {}, '["resume"]={["disabled"]=true'),
    ("actions/discovery.lua", stack({"version": "v1.16.6"}), '["backup"]={["disabled"]=false'),
    ("actions/discovery.lua", stack({}), '["backup"]={["disabled"]=true'),
    ("actions/discovery.lua", stack({"conditions": conditions(Stalled="True")}), '["retry"]={["disabled"]=false'),
    ("actions/discovery.lua", stack({"failures": 2}), '["retry"]={["disabled"]=false'),
    ("actions/discovery.lua", stack({"version": "v1.16.6"}), '["retry"]={["disabled"]=true'),
    ("actions/discovery.lua", stack({}, {"suspend": True}), '["suspend"]={["disabled"]=true'),
    ("actions/suspend.lua", stack(), '["suspend"]=true'),
    ("actions/resume.lua", stack({}, {"suspend": True}), '["suspend"]=false'),
    ("actions/retry.lua", stack(), '["annotations"]={["stackspec.dev/retry"]="2'),
    ("actions/backup.lua", stack(), '["stackRef"]={["name"]="crm"}'),
    ("actions/backup.lua", stack(), '["operation"]="create"'),
]


def check_documents():
    expected = json.loads((DOCUMENTS / "expected.json").read_text())
    names = {path.stem for path in DOCUMENTS.glob("*.json")} - {"expected"}
    for name in sorted(names ^ set(expected)):
        yield f"tests/kube/kstatus/{name}.json: is in only one of the folder and expected.json"
    for name in sorted(names & set(expected)):
        document = json.loads((DOCUMENTS / (name + ".json")).read_text())
        answer = run("health-stackspec.lua", document)
        if f'["status"]="{expected[name]["argocd"]}"' not in answer:
            yield f"{name}: {answer} (wanted {expected[name]['argocd']})"


def check_odd():
    for script, document, wanted in ODD:
        answer = run(script, document)
        if wanted not in answer:
            yield f"{script} over {json.dumps(document)}: {answer} (wanted {wanted})"


def check_settings():
    """What Argo CD would load is YAML in YAML, and holds every script."""
    data = yaml.safe_load((LUA / "argocd-cm.yaml").read_text())["data"]
    actions = yaml.safe_load(data["resource.customizations.actions.stackspec.dev_StackSpec"])
    named = {each["name"] for each in actions["definitions"]}
    offered = set(re.findall(r'\["([a-z]+)"\]={\["disabled', run("actions/discovery.lua", {})))
    if named != offered:
        yield f"argocd-cm.yaml: defines the actions {sorted(named)}, discovery.lua offers {sorted(offered)}"


def main():
    wrong = [line for check in (check_documents, check_odd, check_settings) for line in check()]
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
