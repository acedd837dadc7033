#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""What a stack survives on a real node: hardships_test.py PROGRAM [CLASS...]. First what concerns the
whole cluster, then three stacks side by side, each with hardships of its own in the order of their
numbers. Two controllers, installed by the chart, look after all of them."""
import base64
import concurrent.futures
import contextlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

import psycopg2
import yaml
from kube_api import kubectl, wait_for_crds
from on_node import (HOME, Stack, holder, late_writes, new_namespace, now, process_of, wait_for)
from packaging_test import tool
from quickstart import clean, load_image

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts/stackspec-controller")
PROGRAM = ""
STORAGE = "/app/packages/twenty-server/.local-storage"  # of the stand-in, as of Twenty
SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
SPEC = {
    "tag": "v1.15",
    "database": {"managed": {"size": "1Gi", "version": "15"}},
    "storage": {"type": "local", "local": {"size": "1Gi"}},
    # A process that is told to end before it listens does so when its time is up.
    "server": SMALL, "worker": SMALL | {"terminationGraceSeconds": 15},
    "env": {"STANDIN_FAULTS": STORAGE + "/faults.json"},
    "upgrade": {"soakSeconds": 1},
}


def helm(*values):
    tool("helm", "upgrade", "--install", "stackspec", CHART, "-n", HOME, "--create-namespace", "--take-ownership",
         "--force-conflicts", "--set", "replicas=2", *values)


def said(since):
    """What the controllers logged."""
    names = kubectl("-n", HOME, "get", "pods", "-o", "name").split()
    return "".join(kubectl("-n", HOME, "logs", name, "--since-time", since, check=False) for name in names)


def hold_migrations(stack, place="upgrade"):
    """From now on a migration waits for a file: before anything, or at another place of the stand-in
    (tests/standin/README.md). The call that lets it go on."""
    volume = stack.volume("crm-storage")
    (volume / "go").unlink(missing_ok=True)
    (volume / "faults.json").write_text(json.dumps({"hang": [place], "until": STORAGE + "/go"}))
    return (volume / "go").touch


def migrating(stack):
    stack.wait("a migration at work", lambda: "upgrading" in json.dumps(stack.told()["blockedBy"]), 900)


def open_database(stack, **more):
    secret = stack.look("v1", "secrets/crm-secrets")["data"]
    return psycopg2.connect(
        host=stack.look("v1", "services/crm-postgres")["spec"]["clusterIP"], user="twenty", dbname="default",
        password=base64.b64decode(secret["PG_DATABASE_PASSWORD"]).decode(), **more)


class Cluster(unittest.TestCase):
    """Before the first stack."""

    def test_10_without_crds_it_says_so_and_begins_when_they_come(self):
        since = now().isoformat()
        kubectl("delete", "crd", "--ignore-not-found", "--timeout=60s", "stackspecs.stackspec.dev",
                "stackbackups.stackspec.dev", "stackrestores.stackspec.dev")
        helm("--set", "crds.install=false")
        for kind in ("stackspecs", "stackbackups", "stackrestores"):
            wait_for(f"it misses {kind}",
                     lambda kind=kind: re.search(f"does not serve {kind}[^\"]*CRDs", said(since)), every=1)
        pods = kubectl("-n", HOME, "get", "pods", "-o", "name")
        helm()
        wait_for_crds()
        new_namespace("journey")
        crm = Stack("journey")
        crm.apply("StackSpec", "crm", SPEC | {"suspend": True})
        crm.wait("it is looked after", lambda: crm.condition("Ready")[1] == "Suspended")
        self.assertEqual(kubectl("-n", HOME, "get", "pods", "-o", "name"), pods, "nothing had to be restarted")

    def test_20_every_missing_right_is_named(self):
        """Whoever grants what the controller asks for, and nothing else, gets a stack."""
        rules = yaml.safe_load((ROOT / "manifests/rules.yaml").read_text())["stacks"]
        known = {(rule["group"], resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
        crm, granted, since = Stack("journey"), set(), now()

        def grant():
            rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for group, resource, verb in sorted(granted)]
            kubectl("patch", "clusterrole", "stackspec-controller", "--type=merge", "-p", json.dumps({"rules": rules}))

        def asked_for():
            events = kubectl("-n", "journey", "get", "events", "-o", "jsonpath={.items[*].message}")
            told = said(since.isoformat()).replace('\\"', '"') + events + json.dumps(crm.told()).replace('\\"', '"')
            return {(group, resource, verb) for verb, resource, group in
                    re.findall(r'cannot (\w+) resource "([\w/]+)" in API group "([\w.]*)"', told)} - granted
        grant()
        kubectl("-n", HOME, "delete", "pods", "--all")  # What a watch was granted before, it keeps.
        crm.patch(suspend=False)
        end = time.monotonic() + 900
        while not ("stackspecs" in str(granted) and crm.ready_at("v1.15.")()):
            self.assertLess(time.monotonic(), end, crm.state())
            new = asked_for()
            self.assertLessEqual(new, known, "asked for, and not in manifests/rules.yaml")
            if not new:
                time.sleep(0.3)
                continue
            granted |= new
            grant()
            print(f"{(now() - since).total_seconds():6.1f} s", *sorted(new))
            # Not to wait for its back-off.
            crm.kubectl("annotate", "stk", "crm", "--overwrite", f"stackspec.dev/reconcile-at={len(granted)}")
        for right in (("", "pods", "list"), ("", "pods", "watch"), ("", "secrets", "watch"), ("batch", "jobs", "create"),
                      ("batch", "jobs", "patch"), ("apps", "deployments", "create"), ("", "persistentvolumeclaims", "create"),
                      ("stackspec.dev", "stackspecs/status", "update")):
            self.assertIn(right, granted)
        helm()
        # A leader that the kubelet finds to be hanging is killed: here it may hang for as long as it likes.
        kubectl("-n", HOME, "patch", "deployment", "stackspec-controller", "--type=json", "-p",
                '[{"op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe"}]')
        kubectl("-n", HOME, "rollout", "status", "deployment/stackspec-controller", "--timeout=300s")


class Journey(unittest.TestCase):
    """An upgrade that everything happens to."""
    crm = Stack("journey")
    late = []

    def test_10_nothing_migrates_beside_a_worker_or_a_session_of_the_old_release(self):
        crm = self.crm
        crm.fill()
        type(self).let_go = staticmethod(hold_migrations(crm))
        crm.patch(tag="v1.16")
        crm.wait("a proof under way", lambda: crm.journey().get("step") == "Prove")
        first = crm.journey()["backup"]
        crm.kubectl("scale", "deployment/crm-worker", "--replicas=1")
        both, ended = [], threading.Event()

        def look():
            while not ended.is_set():
                pods = crm.look("v1", "pods?labelSelector=stackspec.dev/stack=crm").get("items", [])
                parts = {pod["metadata"]["labels"].get("stackspec.dev/task", pod["metadata"]["labels"]["app.kubernetes.io/component"])
                         for pod in pods if pod["status"]["phase"] in ("Pending", "Running")}
                if "migrate" in parts and parts & {"server", "worker"}:
                    both.append(parts)
        looking = threading.Thread(target=look)
        looking.start()
        try:
            crm.wait("fenced anew", lambda: "FenceBroken" in crm.kubectl("get", "events"))
            crm.wait("proven anew", lambda: crm.journey().get("step") == "Prove" and crm.journey()["backup"] != first)
            self.hold_by_a_session()
            crm.wait("a migration at work", lambda: crm.jobs("migrate") and self.running("migrate"))
        finally:
            ended.set()
            looking.join()
        self.assertEqual(both, [])
        self.assertEqual(len(crm.jobs("backup")), 2)

    def hold_by_a_session(self):
        """Somebody looks into the database behind the fence: the migration waits until he is gone."""
        crm = self.crm
        session = open_database(crm, application_name="a-report")
        try:
            crm.wait("it waits for the session", lambda: "a-report" in json.dumps(crm.told()["blockedBy"]))
            self.assertEqual(crm.jobs("migrate"), [])
        finally:
            session.close()

    def running(self, kind):
        pods = self.crm.look("v1", f"pods?labelSelector=stackspec.dev/stack=crm,stackspec.dev/task={kind}")["items"]
        return [pod for pod in pods if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]]

    def test_20_a_job_deleted_by_hand_is_begun_again(self):
        crm = self.crm
        (job,) = crm.jobs("migrate")
        name = job["metadata"]["name"]
        volumes = job["spec"]["template"]["spec"]["volumes"]
        (script,) = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        type(self).late = [job, crm.look("v1", "configmaps/" + script)]
        crm.wait("it holds the lock and waits", lambda: "upgrading" in json.dumps(crm.told()["blockedBy"]))
        crm.kubectl("delete", "job", name)
        crm.wait("another attempt", lambda: [job for job in crm.jobs("migrate") if job["metadata"]["name"] != name]
                 and self.running("migrate"))
        self.assertEqual(crm.journey()["step"], "Migrate")
        crm.wait("it has the lock", lambda: "upgrading" in json.dumps(crm.told()["blockedBy"]))

    def test_30_the_api_server_is_restarted(self):
        crm = self.crm
        before, journey = self.running("migrate"), crm.journey()["id"]
        subprocess.run([ROOT / "tests/cluster/cluster", "restart", "apiserver"], check=True)
        crm.wait("somebody leads", lambda: holder())
        pods = self.running("migrate")
        self.assertEqual([pod["metadata"]["uid"] for pod in pods], [pod["metadata"]["uid"] for pod in before])
        self.assertEqual((crm.journey()["id"], crm.journey()["step"]), (journey, "Migrate"))

    def test_40_a_leader_that_stood_still_for_a_minute_writes_nothing_more(self):
        crm = self.crm
        leader = crm.wait("somebody leads", holder)
        process, stopped, began = process_of(leader), now(), time.monotonic()
        os.kill(process, signal.SIGSTOP)
        try:
            crm.wait("another leads", lambda: holder() not in ("", leader))
            self.let_go()
            crm.wait("a later step", lambda: crm.journey().get("step") != "Migrate")
            time.sleep(max(0, began + 60 - time.monotonic()))  # That is how long it stands still.
        finally:
            continued = now()
            os.kill(process, signal.SIGCONT)
        crm.wait("the one that stood still ends", lambda: not os.path.exists(f"/proc/{process}"))
        crm.wait_ready("v1.16.")
        self.assertEqual(late_writes(leader, stopped, continued), [])
        self.assertEqual(len(crm.companies()), 20)
        self.assertEqual(len(crm.jobs("migrate")), 1)

    def test_50_a_migration_that_a_leader_of_the_past_began_late_does_nothing(self):
        crm, (job, script) = self.crm, self.late
        for document, kind in ((script, ("v1", "ConfigMap")), (job, ("batch/v1", "Job"))):
            document["apiVersion"], document["kind"] = kind
            document["metadata"] = {"name": "late", "namespace": crm.namespace}
        spec = job["spec"]
        spec["suspend"] = False
        del spec["selector"]
        spec["template"]["metadata"]["labels"] = {"late": "yes"}
        for volume in spec["template"]["spec"]["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = "late"
        kubectl("create", "-f", "-", text=json.dumps(script))
        kubectl("create", "-f", "-", text=json.dumps(job))

        def verdict():
            (pod,) = crm.look("v1", "pods?labelSelector=late=yes")["items"]
            return pod["status"]["containerStatuses"][0]["state"]["terminated"]
        ended = crm.wait("it ends", verdict)
        self.assertEqual(ended["exitCode"], 11, ended)
        self.assertIn("migration record", ended["message"])
        self.assertEqual(len(crm.companies()), 20)
        self.assertTrue(crm.ready_at("v1.16.")())
        crm.kubectl("delete", "job", "late")

    def test_60_a_backup_by_hand_is_put_back_by_a_restore(self):
        crm = self.crm
        crm.apply("StackBackup", "by-hand", {"stackRef": {"name": "crm"}, "reason": "before the import"})
        crm.kubectl("wait", "stkb/by-hand", "--for=condition=Ready", "--timeout=600s")
        kept = crm.companies()
        crm.call("/rest/companies", {"name": "Imported by mistake"})
        cutoff = crm.get("stkb", "by-hand")["status"]["cutoff"]["time"]
        restore = {"stackRef": {"name": "crm"}, "from": {"backupRef": {"name": "by-hand"}}}
        crm.apply("StackRestore", "not-accepted", restore)
        crm.wait("it says what would be lost", lambda: cutoff in crm.look(
            "stackspec.dev/v1alpha1", "stackrestores/not-accepted")["status"]["message"])
        self.assertIn("Imported by mistake", crm.companies())
        crm.apply("StackRestore", "accepted", restore | {"acceptLossSince": cutoff})
        crm.kubectl("wait", "stkr/accepted", "--for=condition=Ready", "--timeout=600s")
        self.assertEqual(crm.wait("it serves", crm.companies), kept)
        self.assertEqual(crm.condition("Stalled"), ("True", "Restored"))
        crm.kubectl("delete", "stkr", "not-accepted")
        crm.kubectl("annotate", "stk", "crm", "stackspec.dev/retry=1")
        crm.wait_ready("v1.16.")

    def test_70_upgrading_the_controller_by_helm_is_felt_by_no_stack(self):
        crm = self.crm
        uids = self.uids()
        answers, ended = [], threading.Event()

        def use():
            while not ended.is_set():
                answers.append(crm.call("/"))
                time.sleep(0.1)
        using = threading.Thread(target=use)
        using.start()
        try:
            helm("--set", "podAnnotations.release=next", "--set", "workers=3")
            kubectl("-n", HOME, "rollout", "status", "deployment/stackspec-controller", "--timeout=300s")
            crm.kubectl("annotate", "stk", "crm", "--overwrite", "stackspec.dev/reconcile-at=after-helm")
            crm.wait("the new one looks after it", lambda: crm.told().get("lastHandledReconcileAt") == "after-helm")
        finally:
            ended.set()
            using.join()
        self.assertEqual(set(answers), {200})
        self.assertEqual(self.uids(), uids)

    def uids(self):
        pods = self.crm.look("v1", "pods?labelSelector=stackspec.dev/stack=crm")["items"]
        return {pod["metadata"]["uid"] for pod in pods if pod["status"]["phase"] == "Running"}


class Deleted(unittest.TestCase):
    """A StackSpec deleted in the middle of an upgrade, and then its namespace."""
    crm = Stack("deleted")

    def test_10_a_stack(self):
        new_namespace("deleted")
        self.crm.apply("StackSpec", "crm", SPEC)
        self.crm.wait_ready("v1.15.")
        self.crm.fill()
        self.crm.call("/files?name=statutes.txt", b"For the public benefit.")

    def delete_and_keep(self):
        crm = self.crm
        kept = {what: crm.kubectl("get", what, "-o", "name") for what in ("pvc", "secrets", "stackbackups")}
        crm.kubectl("delete", "stk", "crm", "--timeout=60s")
        crm.wait("its pods and Jobs are gone", lambda: not crm.kubectl("get", "pods,jobs", "-o", "name").strip())
        for what, names in kept.items():
            self.assertEqual(crm.kubectl("get", what, "-o", "name"), names)

    def migrations(self):
        with contextlib.closing(open_database(self.crm)) as session, session.cursor() as cursor:
            cursor.execute('SELECT count(*) FROM core."_typeorm_migrations"')
            return cursor.fetchone()[0]

    def test_20_deleting_the_stack_in_a_migration_keeps_its_data(self):
        crm = self.crm
        type(self).let_go = staticmethod(hold_migrations(crm, "workspace"))
        before = self.migrations()
        crm.patch(tag="v1.16")
        migrating(crm)
        crm.wait("half of it is done", lambda: self.migrations() > before)
        type(self).backup = crm.journey()["backup"]
        self.delete_and_keep()
        self.assertEqual(crm.get("stkb", self.backup)["status"]["proof"], "L4")

    def test_30_made_again_on_half_a_migration_it_serves_and_waits_for_a_restore(self):
        crm = self.crm
        self.let_go()
        crm.apply("StackSpec", "crm", SPEC | {"tag": "v1.16"})
        crm.wait("it says what is left behind", lambda: "MigrationCount" in json.dumps(crm.told()["blockedBy"]), 900)
        self.assertTrue(crm.told()["version"].startswith("v1.15."))
        self.assertEqual(crm.call("/"), 200)
        cutoff = crm.get("stkb", self.backup)["status"]["cutoff"]["time"]
        crm.apply("StackRestore", "back", {"stackRef": {"name": "crm"}, "from": {"backupRef": {"name": self.backup}},
                                           "acceptLossSince": cutoff})
        crm.wait("restored", lambda: crm.condition("Stalled") == ("True", "Restored"), 900)
        self.let_go()  # The files are those of the backup too.
        crm.kubectl("annotate", "stk", "crm", "stackspec.dev/retry=restored")
        crm.wait_ready("v1.16.", 900)
        self.assertEqual(len(crm.companies()), 20)
        self.assertEqual([file["size"] for file in crm.files()], [23])

    def test_40_made_again_on_whole_data_it_goes_on_by_itself(self):
        crm = self.crm
        hold_migrations(crm)
        crm.patch(tag="v1.17")
        migrating(crm)
        self.delete_and_keep()
        crm.apply("StackSpec", "crm", SPEC | {"tag": "v1.17"})
        crm.wait("taken up", lambda: crm.told()["version"].startswith("v1.16."), 900)
        migrating(crm)

    def test_50_a_namespace_deleted_in_a_migration_terminates(self):
        self.assertEqual(self.crm.journey()["step"], "Migrate")
        kubectl("delete", "namespace", "deleted", "--timeout=600s")


class Full(unittest.TestCase):
    """Volumes that somebody else made, a place of its own on the node, and no room left in either."""
    crm = Stack("full")

    @classmethod
    def setUpClass(cls):
        new_namespace("full")
        ours = {"stackspec.dev/stack": "crm"}  # as an earlier stack of that name left them behind
        for name, size, storage, labels in (("our-files", "1Gi", "test-local", {}), ("crm-backups", "48Mi", "test-sized", {}),
                                            ("crm-redis", "64Mi", "test-fixed", ours)):
            kubectl("create", "-f", "-", text=json.dumps({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": "full", "labels": labels},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": storage,
                         "resources": {"requests": {"storage": size}}}}))
        cls.crm.kubectl("create", "secret", "generic", "mail", "--from-literal=EMAIL_SMTP_HOST=mail.example.org")
        kubectl("label", "node", "node1", "--overwrite", "stackspec.test/room=yes")

    @classmethod
    def tearDownClass(cls):
        kubectl("label", "node", "node1", "stackspec.test/room-")
        kubectl("patch", "storageclass", "test-fixed", "-p", '{"allowVolumeExpansion": false}')

    def spec(self):
        return SPEC | {
            "database": {"managed": {"size": "400Mi", "storageClassName": "test-sized", "version": "15"}},
            "redis": {"managed": {"size": "64Mi"}},
            "storage": {"type": "local", "local": {"existingClaim": "our-files"}},
            "backup": {"destination": {"pvc": {"size": "48Mi"}}},
            "envFrom": [{"secretRef": {"name": "mail"}}],
            "gateway": {"host": "crm.example.org", "className": "nginx"},
            "scheduling": {"nodeSelector": {"stackspec.test/room": "yes"},
                           "tolerations": [{"key": "stackspec.test/ours", "operator": "Exists"}]}}

    def fill(self, claim, keep=0):
        """All that is free of the volume but so many KiB, by a file that is not the stack's."""
        volume = self.crm.volume(claim)
        free = os.statvfs(volume)
        size = free.f_bavail * free.f_frsize - keep * 1024
        with open(volume / ".filler", "ab") as file, contextlib.suppress(OSError):
            while size > 0:
                size -= file.write(b"x" * min(size, 1 << 20))

    def told(self):
        return json.dumps({key: self.crm.told().get(key) for key in ("message", "blockedBy", "conditions")})

    def test_10_is_made_where_and_of_what_the_spec_says(self):
        crm = self.crm
        crm.apply("StackSpec", "crm", self.spec())
        crm.wait_ready("v1.15.", 900)
        crm.fill()
        claims = {claim["metadata"]["name"] for claim in crm.look("v1", "persistentvolumeclaims")["items"]}
        self.assertEqual(claims, {"our-files", "crm-backups", "crm-redis", "crm-postgres"})
        crm.call("/files?name=statutes.txt", b"For the public benefit.")
        self.assertTrue(list(crm.volume("our-files").glob("workspace-*/attachment/*statutes.txt")))
        for pod in crm.look("v1", "pods")["items"]:
            self.assertEqual(pod["spec"]["nodeSelector"], {"stackspec.test/room": "yes"}, pod["metadata"]["name"])
            self.assertIn("stackspec.test/ours", [each["key"] for each in pod["spec"]["tolerations"]])
        (ingress,) = crm.look("networking.k8s.io/v1", "ingresses")["items"]
        (rule,) = ingress["spec"]["rules"]
        self.assertEqual((ingress["spec"]["ingressClassName"], rule["host"]), ("nginx", "crm.example.org"))
        self.assertEqual(rule["http"]["paths"][0]["backend"]["service"]["name"], "crm-gateway")
        for part in ("server", "worker"):
            said = crm.kubectl("exec", "deployment/crm-" + part, "--", "printenv", "EMAIL_SMTP_HOST")
            self.assertIn("mail.example.org", said)

    def test_20_without_room_on_a_node_nobody_is_sent_away(self):
        crm = self.crm
        crm.kubectl("label", "node", "node1", "stackspec.test/room-")
        crm.patch(tag="v1.16")
        crm.wait("it says that there is no room", lambda: "Unschedulable" in self.told())
        self.assertEqual(crm.journey()["step"], "Preflight")
        self.assertEqual(crm.call("/"), 200)
        self.assertEqual(len(crm.pods("worker")), 1)
        self.fill("crm-backups", keep=16)
        crm.kubectl("label", "node", "node1", "stackspec.test/room=yes")

    def test_30_a_full_volume_of_backups_costs_nothing_but_the_upgrade(self):
        crm = self.crm
        crm.wait("it says what is full and what helps", lambda: "no space left" in self.told()
                 and "spec.backup.destination.pvc.size" in self.told())
        crm.wait("users are back", lambda: crm.call("/") == 200 and crm.pods("worker"))
        self.assertTrue(crm.told()["version"].startswith("v1.15."))
        self.assertEqual(len(crm.companies()), 20)
        crm.patch(backup={"destination": {"pvc": {"size": "96Mi"}}})
        crm.wait("the claim has grown", lambda: crm.look("v1", "persistentvolumeclaims/crm-backups")["status"]["capacity"]["storage"] == "96Mi")
        crm.kubectl("annotate", "stk", "crm", "stackspec.dev/retry=grown")
        crm.wait_ready("v1.16.", 900)
        self.assertEqual(len(crm.companies()), 20)

    def test_40_a_full_volume_of_the_database_is_named_and_grows(self):
        crm = self.crm
        self.fill("crm-postgres")
        crm.kubectl("delete", "pod", "crm-postgres-0")  # What keeps running only fails to write.

        def is_told():
            self.fill("crm-postgres")  # What it gave back when it ended.
            told = self.told()
            return "volume of the database is full" in told and "spec.database.managed.size" in told
        crm.wait("it says what is full and what helps", is_told)
        crm.patch(database={"managed": {"size": "500Mi"}})
        crm.wait_ready("v1.16.", 900)
        self.assertEqual(len(crm.companies()), 20)

    def test_50_a_claim_that_cannot_grow_is_named_and_holds_up_nothing(self):
        crm = self.crm
        crm.patch(redis={"managed": {"size": "128Mi"}})
        crm.wait("it says which", lambda: "claim crm-redis cannot grow from 64Mi to 128Mi" in self.told())
        self.assertEqual(crm.condition("Ready")[0] == "True", False)
        self.assertEqual(crm.call("/"), 200)
        kubectl("patch", "storageclass", "test-fixed", "-p", '{"allowVolumeExpansion": true}')
        crm.wait_ready("v1.16.")


CLASSES = {"Cluster": Cluster, "Journey": Journey, "Deleted": Deleted, "Full": Full}
SIDE_BY_SIDE = ("Journey", "Deleted", "Full")


def run(name):
    class Timed(unittest.TextTestResult):
        def startTest(self, test):
            self.began = time.monotonic()
            super().startTest(test)

        def stopTest(self, test):
            self.stream.writeln(f"    {time.monotonic() - self.began:.0f} s")
            super().stopTest(test)
    text = io.StringIO()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(CLASSES[name])
    good = unittest.TextTestRunner(text, verbosity=2, failfast=True, resultclass=Timed).run(suite).wasSuccessful()
    print(f"{name}\n{text.getvalue()}", flush=True)
    return good


def leave_nothing():
    kubectl("delete", "namespace", "journey", "deleted", "full", "--ignore-not-found", "--timeout=300s", check=False)
    clean()


def main(names):
    load_image(PROGRAM)
    good = all(run(name) for name in names if name not in SIDE_BY_SIDE)
    if good:
        together = [name for name in names if name in SIDE_BY_SIDE]
        with concurrent.futures.ThreadPoolExecutor(max(1, len(together))) as pool:
            good = all(list(pool.map(run, together)))
    return 0 if good else 1


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    if len(sys.argv) > 2:
        sys.exit(main(sys.argv[2:]))
    leave_nothing()
    try:
        sys.exit(main(list(CLASSES)))
    finally:
        leave_nothing()
