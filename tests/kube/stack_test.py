#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""A stack's life on a real node, by kubectl alone: stack_test.py PROGRAM. Two controllers run; what is
claimed is read from the cluster, the stack's own HTTP API and the API server's audit log. The tests
are chapters of one story and run in the order of their numbers."""
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

import on_node
from kube_api import Api, kubectl
from on_node import HOME, Stack, holder, late_writes, new_namespace, now, process_of, requests_of_controller

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMESPACE = "story"
PROGRAM = ""
SPEC = {
    "tag": "v1.15",
    "database": {"managed": {"size": "1Gi", "version": "15"}},
    "storage": {"type": "local", "local": {"size": "1Gi"}},
    "worker": {"terminationGraceSeconds": 15},
    "flags": {"IS_AI_ENABLED": True},
    "fundraising": {"version": "v0.1.0", "image": "localhost/fundraising:v0.1.0"},
    "smoke": [{"name": "home", "http": {"path": "/", "expectStatus": 200}}],
    "upgrade": {"soakSeconds": 2},
}
CRM = Stack(NAMESPACE)
mine, get, told, patch, call = CRM.kubectl, CRM.get, CRM.told, CRM.patch, CRM.call
ready_at, condition, companies = CRM.ready_at, CRM.condition, CRM.companies


def wait_for(what, true, seconds=120):
    """`seconds`: on a machine that does nothing else; one that does may take five times as long."""
    return on_node.wait_for(what, true, 5 * seconds, CRM.state)


class Story(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        image = subprocess.run([ROOT / "tests/cluster/controller-image", "localhost/stackspec:v0.1.0", PROGRAM],
                               check=True, capture_output=True).stdout
        subprocess.run([ROOT / "tests/cluster/cluster", "load", "-"], input=image, check=True)
        kubectl("apply", "--server-side", "-k", str(ROOT / "manifests/default"))
        kubectl("-n", HOME, "scale", "deployment/stackspec-controller", "--replicas=2")
        kubectl("-n", HOME, "rollout", "status", "deployment/stackspec-controller", "--timeout=300s")
        new_namespace(NAMESPACE)

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", NAMESPACE, "--timeout=300s")
        kubectl("delete", "-k", str(ROOT / "manifests/default"), "--timeout=300s", check=False)

    def test_10_applying_yaml_makes_a_stack(self):
        document = {"apiVersion": "stackspec.dev/v1alpha1", "kind": "StackSpec",
                    "metadata": {"name": "crm", "namespace": NAMESPACE,
                                 "labels": {"argocd.argoproj.io/instance": "shop"}}, "spec": SPEC}
        mine("apply", "-f", "-", text=json.dumps(document))
        self.assertEqual(condition("Ready")[0] in ("absent", "Unknown"), True)
        mine("wait", "stk/crm", "--for=condition=Ready", "--timeout=300s")
        self.assertTrue(ready_at("v1.15.")())
        call("/rest/signup", {"name": "Harbour Trust", "email": "a@example.org", "activate": True})
        for number in range(20):
            call("/rest/companies", {"name": f"Company {number:02}"})
        self.assertEqual(len(companies()), 20)
        children = json.loads(mine("get", "deployments,statefulsets,services,jobs,pvc,configmaps", "-l",
                                   "stackspec.dev/stack=crm", "-o", "json"))["items"]
        self.assertGreater(len(children), 12)
        for child in children:
            self.assertNotIn("argocd.argoproj.io/instance", child["metadata"]["labels"], child["metadata"]["name"])
            owned = bool(child["metadata"].get("ownerReferences"))
            self.assertEqual(owned, child["kind"] != "PersistentVolumeClaim", child["metadata"]["name"])

    def test_20_at_rest_it_asks_the_api_server_nothing(self):
        time.sleep(8)  # What the last journey stirred up has settled.
        since = now()
        time.sleep(20)
        seen = [each[1:4] for each in requests_of_controller(since) if each[2] != "leases" and each[1] != "watch"]
        self.assertEqual(seen, [])
        # It is alive all the same.
        mine("scale", "deployment/crm-worker", "--replicas=0")
        wait_for("the worker scaled down by hand is back",
                 lambda: get("deployment", "crm-worker")["spec"]["replicas"] == 1, 30)

    def test_30_what_is_edited_by_hand_is_put_back(self):
        mine("set", "env", "deployment/crm-server", "DISABLE_DB_MIGRATIONS=false")

        def is_back():
            env = get("deployment", "crm-server")["spec"]["template"]["spec"]["containers"][0]["env"]
            return {"name": "DISABLE_DB_MIGRATIONS", "value": "true"} in env
        wait_for("the server cannot migrate", is_back, 30)
        mine("delete", "secret", "crm-secrets")
        wait_for("the Secret is back", lambda: "crm-secrets" in mine("get", "secrets", "-o", "name"), 30)
        wait_for("all is well again", ready_at("v1.15."), 60)
        self.assertEqual(len(companies()), 20)

    def test_40_an_image_that_cannot_be_pulled_sends_nobody_away(self):
        patch(tag="v1.16.99")
        wait_for("it says why", lambda: "pull" in json.dumps(told()).lower(), 90)
        self.assertEqual(call("/"), 200)
        self.assertEqual(get("deployment", "crm-worker")["spec"]["replicas"], 1)
        patch(tag="v1.15")
        wait_for("back at rest", ready_at("v1.15."), 60)

    def test_50_an_upgrade_survives_its_controller(self):
        patch(tag="v1.17")
        wait_for("a proof under way", lambda: told().get("upgrade", {}).get("step") == "Prove", 90)
        leader = holder()
        process, stopped = process_of(leader), now()
        os.kill(process, signal.SIGSTOP)
        try:
            wait_for("another leads", lambda: holder() not in ("", leader), 40)
            wait_for("a later step", lambda: told().get("upgrade", {}).get("step") != "Prove", 60)
        finally:
            continued = now()
            os.kill(process, signal.SIGCONT)
        # Else the kubelet does it, whose liveness probe got no answer for a minute.
        wait_for("the one that stood still ends", lambda: not os.path.exists(f"/proc/{process}"), 20)
        wait_for("v1.17", ready_at("v1.17."), 150)
        self.assertEqual(late_writes(leader, stopped, continued), [], "written by the leader of the past")
        self.assertEqual(len(companies()), 20)

    def test_51_release_by_release_each_with_its_proven_backup(self):
        backups = sorted(get("stackbackups")["items"], key=lambda each: each["status"]["cutoff"]["time"])
        self.assertEqual([each["status"]["sourceVersion"][:5] for each in backups], ["v1.15", "v1.16"])
        self.assertEqual({each["status"]["proof"] for each in backups}, {"L4"})
        self.assertEqual({row["version"][:4] for row in call("/rest/workspaces")["data"]["workspaces"]}, {"1.17"})

    def test_60_leadership_is_handed_over_at_once(self):
        leader, began = holder(), now()
        os.kill(process_of(leader), signal.SIGTERM)
        wait_for("another leads", lambda: holder() not in ("", leader), 30)

        def taken_at():
            for at, verb, resource, pod, code in requests_of_controller(began):
                if (verb, resource, code) == ("update", "leases", 200) and pod != leader:
                    return at
            return None
        taken = wait_for("that is in the audit log", taken_at, 30)
        given = [each[0] for each in requests_of_controller(began, taken)
                 if each[1:3] == ("update", "leases") and each[3] == leader][-1]
        print(f"handover: {(taken - began).total_seconds():.3f} s after SIGTERM, "
              f"{(taken - given).total_seconds():.3f} s after the Lease was given back")
        self.assertLess((taken - began).total_seconds(), 3)
        looks = [each for each in requests_of_controller(began - datetime.timedelta(seconds=10), began)
                 if each[1:3] == ("get", "leases") and each[3] != leader]
        self.assertLessEqual(len(looks), 4, "a replica in waiting is told of renewals, it does not ask")
        kubectl("-n", HOME, "rollout", "status", "deployment/stackspec-controller", "--timeout=300s")

    def test_70_a_bad_release_is_put_back_with_its_data(self):
        call("/rest/companies", {"name": "Written after the upgrade"})
        before = companies()
        patch(tag="v1.18.0")
        wait_for("refused", lambda: condition("Stalled") == ("True", "RolledBack"), 150)
        self.assertEqual(condition("Ready")[0], "False")
        self.assertTrue(told()["version"].startswith("v1.17."))
        self.assertEqual(companies(), before)
        call("/rest/companies", {"name": "Written after the rollback"})
        self.assertEqual(len(companies()), len(before) + 1)
        patch(tag="v1.17")
        wait_for("Ready again", ready_at("v1.17."), 60)

    def test_80_a_task_whose_pod_is_deleted_is_interrupted_not_failed(self):
        mine("apply", "-f", "-", text=json.dumps(
            {"apiVersion": "stackspec.dev/v1alpha1", "kind": "StackBackup", "metadata": {"name": "by-hand"},
             "spec": {"stackRef": {"name": "crm"}, "reason": "before the holidays"}}))

        api, pods = Api(), f"/api/v1/namespaces/{NAMESPACE}/pods"

        def delete_one():
            # A backup of so little data takes seconds: kubectl would often come too late.
            for pod in api.call("GET", f"{pods}?labelSelector=stackspec.dev/task=backup")[1]["items"]:
                if pod["status"]["phase"] in ("Pending", "Running"):
                    name = pod["metadata"]["name"]
                    return api.call("DELETE", f"{pods}/{name}", {"gracePeriodSeconds": 0})[0] == 200
            return False
        wait_for("a backup at work is deleted", delete_one, 60)
        wait_for("proven all the same", lambda: get("stackbackup", "by-hand").get("status", {}).get("proof") == "L4", 150)

    def test_90_deleting_the_stack_keeps_its_data(self):
        claims = mine("get", "pvc", "-o", "name")
        secrets = mine("get", "secrets", "-o", "name")
        mine("delete", "stk", "crm", "--timeout=300s")
        wait_for("its pods are gone", lambda: not mine("get", "pods", "-o", "name").strip(), 120)
        self.assertEqual(mine("get", "pvc", "-o", "name"), claims)
        self.assertEqual(mine("get", "secrets", "-o", "name"), secrets)
        self.assertGreaterEqual(len(get("stackbackups")["items"]), 3)

    def test_91_the_same_stack_again_finds_its_data(self):
        document = {"apiVersion": "stackspec.dev/v1alpha1", "kind": "StackSpec",
                    "metadata": {"name": "crm", "namespace": NAMESPACE}, "spec": SPEC | {"tag": "v1.17"}}
        mine("apply", "-f", "-", text=json.dumps(document))
        wait_for("Ready", ready_at("v1.17."), 150)
        self.assertIn("Written after the rollback", companies())


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2, failfast=True)
