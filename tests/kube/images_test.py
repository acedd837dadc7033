#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""The images of tests/cluster/stack-images run on the node as the platform runs them."""
import json
import os
import sys
import time
import unittest
import urllib.request

from kube_api import kubectl

HERE = os.path.dirname(os.path.realpath(__file__))
NAMESPACE = "images"


def in_namespace(*arguments, **more):
    return kubectl("-n", NAMESPACE, *arguments, **more)


def state():
    return in_namespace("get", "pods,jobs,pvc,events", "-o", "wide")


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kubectl("create", "namespace", NAMESPACE)
        kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted",
                "pod-security.kubernetes.io/warn=restricted")
        said = in_namespace("apply", "--server-side", "-f", os.path.join(HERE, "stack_of_images.yaml"))
        assert "Warning" not in said, said
        cls.wait("condition=complete", "job/install")
        cls.wait("condition=available", "deployment", "--all")

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "namespace", NAMESPACE, "--timeout=300s")

    @classmethod
    def wait(cls, condition, *what):
        said = in_namespace("wait", "--for=" + condition, "--timeout=300s", *what, check=False)
        if "timed out" in said or "error" in said.lower():
            raise AssertionError(f"{said}\n{state()}")

    def address(self, service):
        return in_namespace("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")

    def call(self, path, body=None):
        request = urllib.request.Request(f"http://{self.address('gateway')}:4000{path}",
                                         data=json.dumps(body).encode() if body else None)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def test_a_user_signs_up_through_the_gateway(self):
        self.call("/rest/signup", {"name": "Charity", "email": "a@example.org", "activate": True})
        self.assertIn("Charity", self.call("/rest/workspaces"))

    def test_the_worker_does_a_job_of_the_server(self):
        self.call("/rest/signup", {"name": "Jobs", "email": "b@example.org", "activate": True})
        self.call("/rest/jobs", {"name": "made by the worker"})
        deadline = time.monotonic() + 30
        while "made by the worker" not in self.call("/rest/companies?limit=100"):
            self.assertLess(time.monotonic(), deadline, state())

    def test_what_was_written_outlives_the_pod_of_the_database(self):
        self.call("/rest/signup", {"name": "Durable", "email": "c@example.org", "activate": True})
        in_namespace("delete", "pod", "postgres-0", "--wait")
        self.wait("condition=ready", "pod/postgres-0")
        rows = in_namespace("exec", "postgres-0", "--", "psql", "-U", "twenty", "-d", "default",
                            "-Atc", "SELECT count(*) FROM core.workspace WHERE \"displayName\" = 'Durable'")
        self.assertEqual(rows.strip(), "1")

    def test_twentys_image_is_laid_out_like_the_official_one(self):
        said = in_namespace("exec", "deploy/server", "--", "sh", "-c",
                            "pwd; id -u; node --version; psql --version; ls /app/entrypoint.sh; echo $APP_VERSION")
        self.assertRegex(said, r"^/app/packages/twenty-server\n1000\nv24\S*\npsql .* 15\.\S+.*\n/app/entrypoint.sh\n1.15.4\n$")

    def test_a_claim_grows_and_a_full_volume_is_full(self):
        in_namespace("create", "-f", "-", text=json.dumps({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "small"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "test-sized",
                     "resources": {"requests": {"storage": "1Mi"}}}}))
        self.wait("jsonpath={.status.phase}=Bound", "pvc/small")
        in_namespace("patch", "pvc", "small", "-p", '{"spec": {"resources": {"requests": {"storage": "2Mi"}}}}')
        self.wait("jsonpath={.status.capacity.storage}=2Mi", "pvc/small")
        volume = in_namespace("get", "pvc", "small", "-o", "jsonpath={.spec.volumeName}")
        path = kubectl("get", "pv", volume, "-o", "jsonpath={.spec.hostPath.path}")
        self.assertEqual(os.statvfs(path).f_blocks * os.statvfs(path).f_frsize, 2 * 2**20)
        with self.assertRaises(OSError), open(os.path.join(path, "file"), "wb") as file:
            file.write(b"x" * (3 * 2**20))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
