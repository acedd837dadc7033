#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""The CRDs on a real API server, and the table of objects.py there and under `stackspec lint`.

usage: objects_test.py PROGRAM [TEST...]
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

import objects
from kube_api import Api, kubectl, wait_for_crds

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CRDS = [os.path.join(ROOT, "crds", name) for name in sorted(os.listdir(os.path.join(ROOT, "crds")))
        if name.endswith(".yaml")]
GROUP = "/apis/stackspec.dev/v1alpha1/namespaces/objects"
PLURALS = {"StackSpec": "stackspecs", "StackBackup": "stackbackups", "StackRestore": "stackrestores"}
PROGRAM = ""


def object_of(row, body):
    if isinstance(body, str) or "apiVersion" in body:
        return body
    return objects.of_kind("StackSpec", body) | {"metadata": {"name": row.name}}


def path_of(thing, name=""):
    kind = "StackSpec" if isinstance(thing, str) else thing["kind"]
    return f"{GROUP}/{PLURALS[kind]}{'/' + name if name else ''}"


def fields_of(answer):
    """The fields that a refusal of the API server names."""
    named = [cause.get("field", "") for cause in answer.get("details", {}).get("causes", [])]
    strict = re.findall(r'(?:unknown|duplicate) field "([^"]+)"', answer.get("message", ""))
    return {re.sub(r"^<nil>$", "", field) for field in named + strict} - {""}


class OnTheServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.said = [kubectl("apply", "--server-side", "-f", path) for path in CRDS]
        wait_for_crds()
        kubectl("create", "namespace", "objects")
        cls.api = Api()

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", "objects", "--wait=false")

    def crds(self):
        crds = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
        ours = [crd for crd in crds if crd["spec"]["group"] == "stackspec.dev"]
        self.assertEqual({crd["spec"]["names"]["kind"] for crd in ours}, set(PLURALS))
        return ours

    def test_crds_are_applied_without_a_warning_and_structural(self):
        for said in self.said:
            self.assertRegex(said, r"^customresourcedefinition\S+ serverside-applied\n$")
        for crd in self.crds():
            with self.subTest(crd["metadata"]["name"]):
                conditions = {one["type"]: one for one in crd["status"]["conditions"]}
                self.assertNotIn("NonStructuralSchema", conditions)
                self.assertEqual(conditions["NamesAccepted"]["status"], "True")
                self.assertEqual(crd["status"]["acceptedNames"]["categories"], ["twenty"])
                self.assertLess(len(json.dumps(crd)), 262144)

    def test_every_field_is_explained(self):
        for crd in self.crds():
            said = kubectl("explain", crd["status"]["acceptedNames"]["shortNames"][0], "--recursive")
            self.assertIn("KIND:", said)
            self.every_field(crd["spec"]["names"]["kind"],
                             crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])

    def every_field(self, where, schema):
        for name, child in schema.get("properties", {}).items():
            if (where, name) in [(kind, "metadata") for kind in PLURALS]:
                continue  # the API server describes it itself
            with self.subTest(f"{where}.{name}"):
                self.assertTrue(child.get("description"), "no description")
            self.every_field(f"{where}.{name}", child)
        for inner in ("items", "additionalProperties"):
            if isinstance(schema.get(inner), dict):
                self.every_field(f"{where}.{inner}", schema[inner])

    def test_a_new_object_is_in_progress_by_kstatus(self):
        code, answer, _ = self.api.call("POST", f"{GROUP}/stackspecs?dryRun=All",
                                        objects.of_kind("StackSpec", objects.TAG))
        self.assertEqual(code, 201, answer)
        self.assertEqual(answer["status"], {"observedGeneration": -1})

    def test_a_table_tells_version_target_step_why_and_age(self):
        self.store(objects.of_kind("StackSpec", {"tag": "v1.17.4"}) | {"metadata": {"name": "columns"}}, {
            "observedGeneration": 1, "phase": "Upgrading", "message": "migrating 3 workspaces",
            "version": "v1.15.4", "targetVersion": "v1.17.4", "upgrade": {"progress": "8/13 Migrate"},
            "conditions": [{"type": "Ready", "status": "False", "reason": "Upgrading",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        said = kubectl("-n", "objects", "get", "stk", "columns")
        self.assertRegex(said, r"NAME +READY +VERSION +TARGET +STEP +PHASE +WHY +AGE\n")
        self.assertRegex(said, r"columns +False +v1\.15\.4 +v1\.17\.4 +8/13 Migrate +Upgrading +migrating 3 workspaces +\d+s")
        self.assertIn("columns", kubectl("-n", "objects", "get", "twenty"))
        self.remove(path_of({"kind": "StackSpec"}, "columns"))

    def test_two_conditions_of_one_type_are_refused(self):
        condition = {"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        stored = self.store(objects.of_kind("StackSpec", objects.TAG) | {"metadata": {"name": "conditions"}})
        stored["status"] = {"conditions": [condition, condition]}
        code, answer, _ = self.api.call("PUT", path_of(stored, "conditions/status"), stored)
        self.assertEqual((code, fields_of(answer)), (422, {"status.conditions[1]"}), answer)
        self.remove(path_of(stored, "conditions"))

    def store(self, thing, status=None):
        code, stored, _ = self.api.call("POST", path_of(thing) + "?fieldValidation=Strict", thing)
        self.assertEqual(code, 201, stored)
        if status is not None:
            stored["status"] = status
            path = path_of(thing, stored["metadata"]["name"]) + "/status?fieldValidation=Strict"
            code, stored, _ = self.api.call("PUT", path, stored)
            self.assertEqual(code, 200, stored)
        return stored

    def remove(self, path):
        self.api.call("DELETE", path)

    def answer_to(self, row):
        new = object_of(row, row.body)
        query = "?dryRun=All&fieldValidation=Strict"
        kind = "application/yaml" if isinstance(new, str) else "application/json"
        if row.old is None:
            return self.api.call("POST", path_of(new) + query, new, kind)
        stored = self.store(object_of(row, row.old), row.status)
        path = path_of(new, stored["metadata"]["name"])
        new = new | {"metadata": stored["metadata"], "status": stored.get("status", {})}
        try:
            return self.api.call("PUT", path + query, new)
        finally:
            self.remove(path)

    def test_every_row_gets_its_verdict_from_the_api_server(self):
        codes = {"Decode": {400, 413}, "Admission": {422}}
        for row in objects.ROWS:
            with self.subTest(row.what):
                code, answer, warnings = self.answer_to(row)
                self.assertIn(code, codes.get(row.place, {200, 201}), answer)
                self.assertEqual(warnings, [])
                if row.place in codes:
                    self.assertIn(row.message, answer["message"])
                    self.assertEqual(fields_of(answer), {row.field} - {""}, answer["message"])


class UnderLint(unittest.TestCase):
    def test_every_row_gets_the_same_verdict_and_field(self):
        with tempfile.TemporaryDirectory() as folder:
            for row in objects.ROWS:
                thing = object_of(row, row.body)
                path = os.path.join(folder, "object.yaml")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(thing if isinstance(thing, str) else json.dumps(thing))
                with self.subTest(row.what):
                    self.judge(row, subprocess.run([PROGRAM, "lint", path], text=True, cwd=folder,
                                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT))

    def judge(self, row, done):
        refused = row.place in ("Decode", "Admission", "Controller") and row.old is None
        # By itself a change can be good, or be "not supported yet".
        if row.old is not None and "not supported yet" in done.stdout:
            return
        self.assertEqual(done.returncode, 1 if refused else 0, done.stdout)
        if refused and row.field:
            lines = [line for line in done.stdout.splitlines()
                     if row.place == "Controller" or "not supported yet" not in line]
            fields = {line.split(": ")[1] for line in lines if line.count(": ") > 1}
            self.assertEqual(fields, {row.field}, done.stdout)


class TheTable(unittest.TestCase):
    def test_every_rule_of_the_crds_refuses_a_row(self):
        refusals = {(row.message, row.field) for row in objects.ROWS if row.place == "Admission" and row.message}
        rules = []
        for path in CRDS:
            with open(path, encoding="utf-8") as file:
                text = file.read()
            # With a messageExpression the server says that one; the rows say a part of it.
            for rule in re.split(r"\n *- rule: ", text)[1:]:
                said = re.search(r'messageExpression: "(.*)"', rule) or re.search(r'message: "(.*)"', rule)
                rules.append(said.group(1))
        self.assertGreater(len(rules), 20)
        for rule in sorted(set(rules)):
            with self.subTest(rule):
                fields = {field for message, field in refusals if message in rule}
                self.assertGreaterEqual(len(fields), rules.count(rule), f"refused only at {fields}")


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
