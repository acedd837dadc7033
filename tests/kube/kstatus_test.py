#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""What Flux, Helm 4 and kubectl wait make of StackSpecs as the controller leaves them."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

from kube_api import TOOLS, Api, kubeconfig, kubectl, wait_for_crds

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
        wait_for_crds()
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

    def tell(self, name, document_name):
        """Writes the status of a document as if it were about the newest generation."""
        _, live, _ = self.api.call("GET", f"{STACKS}/{name}")
        generation = live["metadata"]["generation"]
        live["status"] = document(document_name)["status"] | {"observedGeneration": generation}
        for condition in live["status"]["conditions"]:
            condition["observedGeneration"] = generation
        code, stored, _ = self.api.call("PUT", f"{STACKS}/{name}/status", live)
        self.assertEqual(code, 200, stored)

    def helm(self, *arguments):
        return subprocess.Popen([os.path.join(TOOLS, "helm"), "--kubeconfig", kubeconfig(), "-n", NAMESPACE,
                                 *arguments, "--wait"], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def made(self, name, tag):
        end = time.monotonic() + 120
        while True:
            code, live, _ = self.api.call("GET", f"{STACKS}/{name}")
            if code == 200 and live["spec"]["tag"] == tag:
                return
            self.assertLess(time.monotonic(), end, live)
            time.sleep(0.05)

    def test_helm_waits_for_what_is_proven_and_fails_with_what_stalls(self):
        with tempfile.TemporaryDirectory() as folder:
            chart = pathlib.Path(folder) / "crm"
            (chart / "templates").mkdir(parents=True)
            (chart / "Chart.yaml").write_text("{apiVersion: v2, name: crm, version: 0.1.0}\n")
            (chart / "templates/stack.yaml").write_text(
                "apiVersion: stackspec.dev/v1alpha1\nkind: StackSpec\nmetadata: {name: helmed}\n"
                "spec: {tag: {{ .Values.tag }}}\n")
            install = self.helm("install", "helmed", str(chart), "--set", "tag=v1.15", "--timeout", "5m")
            self.made("helmed", "v1.15")
            self.tell("helmed", "installing")
            with self.assertRaises(subprocess.TimeoutExpired):  # it waits
                install.wait(timeout=2)
            self.tell("helmed", "ready")
            said, _ = install.communicate(timeout=300)
            self.assertEqual(install.returncode, 0, said)

            upgrade = self.helm("upgrade", "helmed", str(chart), "--set", "tag=v1.16", "--timeout", "15m")
            self.made("helmed", "v1.16")
            self.tell("helmed", "rolled-back")
            said, _ = upgrade.communicate(timeout=300)  # long before its own time is over
            self.assertNotEqual(upgrade.returncode, 0, said)
            self.assertIn("v1.16.6 refused", said)

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
