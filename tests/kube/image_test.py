#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""The controller's image holds what it needs and nothing else, and runs on the node: image_test.py PROGRAM"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from kube_api import kubectl

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "localhost/stackspec-image-test:v0"
NAMESPACE = "image"
# 30 MB are the target. What libpq and cpprestsdk bring of Debian is 22 of them, and its patches may
# move that a little.
LIMIT = 30_500_000
PROGRAM = ""


def run(*command, **more):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, **more).stdout


class Tree(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.tree = pathlib.Path(folder.name) / "root"
        cls.listed = run(ROOT / "cmake/runtime-tree", PROGRAM, cls.tree).decode()

    def test_the_program_runs_in_it_without_rights(self):
        said = run("chroot", "--userspec=65532:65532", self.tree, "/usr/bin/stackspec", "version").decode()
        self.assertTrue(said.startswith("stackspec "), said)

    def test_it_holds_nothing_else_to_run(self):
        programs = [path for path in self.tree.rglob("*") if path.is_file() and os.access(path, os.X_OK)
                    and ".so" not in path.name]
        self.assertEqual(programs, [self.tree / "usr/bin/stackspec"])
        self.assertEqual([path for path in self.tree.rglob("*") if path.is_file() and path.stat().st_mode & 0o7022], [])
        self.assertGreater((self.tree / "etc/ssl/certs/ca-certificates.crt").stat().st_size, 100_000)

    def test_it_is_small_and_says_what_is_in_it(self):
        files = {path for path in self.tree.rglob("*") if path.is_file() and not path.is_symlink()}
        size = sum(path.stat().st_size for path in files)
        print(f"image: {size / 1e6:.1f} MB in {len(files)} files")
        self.assertLess(size, LIMIT)
        self.assertEqual(self.listed.splitlines()[-1], f"{size}\ttogether")
        self.assertEqual(len(self.listed.splitlines()), len(files) + 1)

    def test_a_program_that_is_not_whole_is_refused(self):
        done = subprocess.run([ROOT / "cmake/runtime-tree", "/nowhere/stackspec", self.tree / "x"], capture_output=True)
        self.assertEqual(done.returncode, 2)


class Node(unittest.TestCase):
    def test_it_runs_in_a_restricted_pod(self):
        with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
            archive.write(run(ROOT / "tests/cluster/controller-image", NAME, PROGRAM))
            archive.flush()
            run(ROOT / "tests/cluster/cluster", "load", archive.name)
        kubectl("create", "namespace", NAMESPACE)
        self.addCleanup(kubectl, "delete", "namespace", NAMESPACE, "--timeout=300s")
        kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        safe = {"runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": NAMESPACE}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "controller", "image": NAME, "args": ["version"],
                                                      "imagePullPolicy": "Never", "securityContext": safe}]}}
        kubectl("apply", "-f", "-", text=json.dumps(pod))
        kubectl("-n", NAMESPACE, "wait", "pod/try", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=300s")
        self.assertTrue(kubectl("-n", NAMESPACE, "logs", "try").startswith("stackspec "))


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
