#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""What Flux, Helm 4 and kubectl wait make of StackSpecs as the controller leaves them."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

from kube_api import TOOLS, Api, kubeconfig, kubectl

DOCUMENTS = pathlib.Path(__file__).resolve().parent / "kstatus"
CRDS = DOCUMENTS.parents[2] / "crds"
EXPECTED = json.loads((DOCUMENTS / "expected.json").read_text())
NAMESPACE = "kstatus"
STACKS = f"/apis/stackspec.dev/v1alpha1/namespaces/{NAMESPACE}/stackspecs"
REQUESTS = {"backup-pending": "InProgress", "backup-running": "InProgress", "backup-proven": "Current",
            "backup-failed": "Failed", "restore-pending": "InProgress", "restore-done": "Current"}


def kstatus(files):
    said = subprocess.run([os.path.join(TOOLS, "kstatus"), *map(str, files)], check=True, text=True,
                          capture_output=True)
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    return {pathlib.Path(path).stem: status for path, status, _ in rows}


def document(name):
    return json.loads((DOCUMENTS / (name + ".json")).read_text())


class Library(unittest.TestCase):
    def test_says_what_is_expected_of_every_moment(self):
        found = kstatus(DOCUMENTS / (name + ".json") for name in EXPECTED)
        self.assertEqual(found, {name: row["kstatus"] for name, row in EXPECTED.items()})

    def test_says_what_is_expected_of_backups_and_restores(self):
        self.assertEqual(kstatus((DOCUMENTS / "requests").glob("*.json")), REQUESTS)


class Kubectl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kubectl("apply", "--server-side", "-f", str(CRDS))
        kubectl("wait", "crd/stackspecs.stackspec.dev", "--for=condition=Established", "--timeout=300s")
        kubectl("create", "namespace", NAMESPACE)
        cls.api = Api()

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", NAMESPACE, "--timeout=300s")

    def store(self, name):
        """The document on the server, under its own name; generations begin with 1 there."""
        wanted = document(name)
        status = wanted.pop("status")
        behind = wanted["metadata"]["generation"] - status["observedGeneration"]
        wanted["metadata"] = {"name": name, "namespace": NAMESPACE}
        code, made, _ = self.api.call("POST", STACKS + "?fieldValidation=Strict", wanted)
        self.assertEqual(code, 201, made)
        if name == "created":
            self.assertEqual(made["status"], {"observedGeneration": -1})  # the CRD's own default
            return
        status["observedGeneration"] = 1 - behind
        for condition in status.get("conditions", []):
            condition["observedGeneration"] = 1 - behind
        made["status"] = status
        code, stored, _ = self.api.call("PUT", f"{STACKS}/{name}/status?fieldValidation=Strict", made)
        self.assertEqual(code, 200, stored)
        self.assertEqual(stored["status"], status)  # the schema drops nothing that the controller writes

    def test_takes_what_is_told_of_backups_and_restores(self):
        for path in (DOCUMENTS / "requests").glob("*.json"):
            wanted = json.loads(path.read_text())
            status = wanted.pop("status")
            wanted["metadata"] = {"name": path.stem, "namespace": NAMESPACE}
            where = STACKS.replace("stackspecs", wanted["kind"].lower() + "s")
            code, made, _ = self.api.call("POST", where + "?fieldValidation=Strict", wanted)
            self.assertEqual(code, 201, made)
            self.assertEqual(made["status"], {"observedGeneration": -1})
            made["status"] = status
            code, stored, _ = self.api.call("PUT", f"{where}/{path.stem}/status?fieldValidation=Strict", made)
            self.assertEqual(code, 200, stored)
            self.assertEqual(stored["status"], status)

    def test_waits_until_the_spec_of_now_is_proven(self):
        for name in EXPECTED:
            self.store(name)
        command = [os.path.join(TOOLS, "kubectl"), "--kubeconfig", kubeconfig(), "-n", NAMESPACE, "wait",
                   "--for=condition=Ready", "--timeout=2s"]
        waits = {name: subprocess.Popen([*command, "stk/" + name], text=True, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT) for name in EXPECTED}
        said = {name: wait.communicate()[0] for name, wait in waits.items()}
        for name, row in EXPECTED.items():
            self.assertEqual("condition met" in said[name], row["wait"], f"{name}: {said[name]}")
        said = kubectl("-n", NAMESPACE, "get", "stk", "upgrading")
        for word in ("v1.15.4", "v1.16.6", "Upgrading", "4/9"):  # the journey at a glance
            self.assertIn(word, said)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
