#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""The chart and the kustomize bases, on an API server of their own: packaging_test.py PROGRAM"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import yaml

from kube_api import TOOLS, Api, kubeconfig, kubectl, wait_for_crds
from rbac_used import rights
from server_schemas import write_schemas

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts/stackspec-controller")
NAMESPACE = "stackspec-system"
PROGRAM = ""
ALL_ON = ["--set", "replicas=2", "--set", "serviceMonitor.enabled=true", "--set", "prometheusRule.enabled=true",
          "--set", "prometheusRule.runbooks=https://docs.example.org/alerts", "--set", "catalog.configMap=releases",
          "--set", "imagePullSecrets={registry}", "--set", "priorityClassName=high", "--set", "podLabels.a=b",
          "--set", "networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b", "--set", "extraArgs={--log-level=debug}",
          "--set-string", "image.digest=sha256:" + "0" * 64]
VARIANTS = {"default": [], "all": ALL_ON, "namespaces": ["--set", "watchNamespaces={shop,school}"]}


def tool(name, *arguments, text=None, check=True):
    done = subprocess.run([os.path.join(TOOLS, name), *arguments], input=text, text=True, cwd=ROOT,
                          env={**os.environ, "KUBECONFIG": kubeconfig()}, capture_output=True)
    if check and done.returncode != 0:
        raise AssertionError(f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout + ("" if check else done.stderr)


def rendered(variant):
    return tool("helm", "template", "stackspec", CHART, "-n", NAMESPACE, *VARIANTS[variant])


def objects(text):
    return [each for each in yaml.safe_load_all(text) if each]


def named(found, kind, name, namespace=None):
    (one,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"] == name
              and namespace in (None, each["metadata"].get("namespace"))]
    return one


def folded(value):
    return re.sub(r"(\\n|\s)+", " ", json.dumps(value, sort_keys=True))


def granted(role):
    """{(group, resource, name, verb)} of a rendered role."""
    return {(group, resource, name, verb) for rule in role["rules"] for group in rule["apiGroups"]
            for resource in rule["resources"] for name in rule.get("resourceNames", [""]) for verb in rule["verbs"]}


def wanted(*parts):
    rules = yaml.safe_load((ROOT / "manifests/rules.yaml").read_text())
    return {(group, resource, name, verb) for part, group, resource, names, verb in rights(rules)
            if part in parts for name in names or [""]}


class Text(unittest.TestCase):
    """What needs no server but its schemas."""

    @classmethod
    def setUpClass(cls):
        kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        wait_for_crds()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        write_schemas(Api(), cls.folder.name, ["StackSpec", "StackBackup", "Deployment"])

    def conform(self, text):
        said = tool("kubeconform", "-strict", "-summary", "-output", "json", "-skip",
                    "ServiceMonitor,PrometheusRule,CustomResourceDefinition", "-schema-location",
                    self.folder.name + "/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json", "-",
                    text=text, check=False)
        answer = json.loads(said[said.index("{"):])
        self.assertEqual(answer.get("resources") or [], [], "objects that the schemas of the server refuse")
        self.assertGreater(answer["summary"]["valid"], 0)

    def test_a_wrong_object_is_found(self):
        broken = rendered("default").replace("revisionHistoryLimit: 3", "revisionHistoryLimits: 3")
        with self.assertRaises(AssertionError):
            self.conform(broken)

    def test_the_chart_is_good_with_every_kind_of_values(self):
        for variant, arguments in VARIANTS.items():
            with self.subTest(variant):
                tool("helm", "lint", "--strict", CHART, *arguments)
                self.conform(rendered(variant))

    def test_values_that_cannot_work_are_refused(self):
        for values, word in ((["--set", "replica=2"], "replica"), (["--set", "image.tag=latest"], "tag"),
                             (["--set", "replicas=2,leaderElect=false"], "leaderElect"),
                             (["--set", "watchNamespaces={Shop}"], "watchNamespaces"),
                             (["--set", "serviceAccount.create=false"], "name"),
                             (["--set", "workers=0"], "workers")):
            with self.subTest(values):
                said = tool("helm", "template", "x", CHART, *values, check=False)
                self.assertIn("values don't meet the specifications", said)
                self.assertIn(word, said)

    def test_nothing_critical_is_found_by_kube_score(self):
        for text in (rendered("default"), rendered("all"), tool("kustomize", "build", "manifests/controller")):
            # A processor limit only slows down what the node has idle; a tag is never moved.
            said = tool("kube-score", "score", "--output-format", "ci", "--ignore-container-cpu-limit",
                        "--ignore-test", "container-image-pull-policy", "-", text=text, check=False)
            self.assertIn("[OK]", said)
            self.assertEqual([line for line in said.splitlines() if line.startswith("[CRITICAL]")], [])

    def test_roles_are_the_rules_everywhere(self):
        chart, bases = objects(rendered("default")), objects(tool("kustomize", "build", "manifests/default"))
        for found in (chart, bases):
            self.assertEqual(granted(named(found, "ClusterRole", "stackspec-controller")), wanted("stacks"))
            self.assertEqual(granted(named(found, "Role", "stackspec-controller-leader")), wanted("own"))
        few = objects(rendered("namespaces"))
        self.assertEqual([each for each in few if each["kind"].startswith("ClusterRole")], [])
        for namespace in ("shop", "school"):
            self.assertEqual(granted(named(few, "Role", "stackspec-controller", namespace)), wanted("stacks"))
            named(few, "RoleBinding", "stackspec-controller", namespace)

    def test_crds_are_the_files_of_crds(self):
        files = {each["metadata"]["name"]: each["spec"] for path in (ROOT / "crds").glob("*.yaml")
                 for each in objects(path.read_text())}
        for text in (rendered("default"), tool("kustomize", "build", "manifests/crds")):
            found = {each["metadata"]["name"]: each["spec"] for each in objects(text)
                     if each["kind"] == "CustomResourceDefinition"}
            self.assertEqual(sorted(found), sorted(files))
            for name, spec in files.items():
                # Only blanks inside of rules may differ: kustomize folds long lines in its own way.
                self.assertTrue(folded(found[name]) == folded(spec), f"{name} is another one")
        self.assertIn("helm.sh/resource-policy", rendered("default"))
        self.assertNotIn("CustomResourceDefinition", tool("helm", "template", "x", CHART, "--set", "crds.install=false"))

    def test_chart_and_bases_run_the_same_pod(self):
        def pod(found):
            spec = named(found, "Deployment", "stackspec-controller")["spec"]["template"]["spec"]
            spec["affinity"] = None
            return spec
        self.assertEqual(pod(objects(rendered("default"))), pod(objects(tool("kustomize", "build", "manifests/default"))))

    def test_samples_are_good(self):
        self.conform(tool("kustomize", "build", "manifests/samples"))
        for path in sorted((ROOT / "manifests/samples").glob("*.yaml")):
            if path.name != "kustomization.yaml":
                done = subprocess.run([PROGRAM, "lint", str(path)], text=True, capture_output=True)
                self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_kustomize_bumps_the_image_of_a_stack(self):
        (stack,) = objects(tool("kustomize", "build", "docs/gitops/kustomize"))
        self.assertEqual(stack["spec"]["image"], "docker.io/twentycrm/twenty:v1.17.4")


class Server(unittest.TestCase):
    def setUp(self):
        kubectl("create", "namespace", NAMESPACE)
        kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        self.addCleanup(kubectl, "delete", "namespace", NAMESPACE, "shop", "--ignore-not-found", "--timeout=300s")
        self.addCleanup(kubectl, "delete", "clusterrole,clusterrolebinding", "stackspec-controller", "--ignore-not-found")

    def helm(self, *arguments):
        return tool("helm", *arguments, "-n", NAMESPACE)

    def install(self, *values):
        # The CRDs are there from the class above; a cluster where kubectl brought them needs the same flags.
        self.helm("upgrade", "--install", "stackspec", CHART, "--take-ownership", "--force-conflicts", *values)

    def versions(self):
        """{kind/name: resourceVersion} of what is installed."""
        found = kubectl("get", "deploy,sa,role,rolebinding,service,netpol,crd", "-n", NAMESPACE, "-o", "json")
        return {each["kind"] + "/" + each["metadata"]["name"]:
                (each["metadata"].get("generation"), each["metadata"]["uid"],
                 None if each["kind"] == "Deployment" else each["metadata"]["resourceVersion"])
                for each in json.loads(found)["items"]}

    def test_installing_twice_changes_nothing(self):
        self.install()
        before = self.versions()
        self.install()
        self.assertEqual(self.versions(), before)
        self.assertIn("CustomResourceDefinition/stackspecs.stackspec.dev", before)

    def test_uninstalling_leaves_crds_and_stacks(self):
        self.install()
        kubectl("create", "namespace", "shop")
        kubectl("-n", "shop", "apply", "-f", str(ROOT / "manifests/samples/minimal.yaml"))
        self.helm("uninstall", "stackspec")
        self.assertIn("crm", kubectl("-n", "shop", "get", "stk"))
        self.assertNotIn("stackspec-controller", kubectl("-n", NAMESPACE, "get", "deploy,sa,role", check=False))

    def test_namespaces_get_roles_and_the_cluster_none(self):
        kubectl("create", "namespace", "shop")
        self.install("--set", "watchNamespaces={shop}")
        self.assertIn("not found", kubectl("get", "clusterrole", "stackspec-controller", check=False).lower())
        self.assertTrue(self.may("create", "deployments.apps", "shop"))
        self.assertFalse(self.may("get", "stackspecs.stackspec.dev", "default"))

    def test_the_bases_apply_without_a_warning_and_twice_to_no_effect(self):
        said = kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "manifests/default"))
        self.assertNotIn("Warning", said)
        before = self.versions()
        kubectl("apply", "--server-side", "-k", str(ROOT / "manifests/default"))
        self.assertEqual(self.versions(), before)

    def test_pods_of_both_are_admitted_under_restricted(self):
        for apply in (self.install, lambda: kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "manifests/default"))):
            apply()
            deployment = json.loads(kubectl("-n", NAMESPACE, "get", "deploy", "stackspec-controller", "-o", "json"))
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try", "namespace": NAMESPACE},
                   "spec": deployment["spec"]["template"]["spec"]}
            said = kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
            self.assertIn("pod/try created", said)
            self.assertNotIn("Warning", said)

    def may(self, verb, resource, namespace):
        resource, _, sub = resource.partition("/")
        said = kubectl("auth", "can-i", verb, resource, "--subresource", sub, "-n", namespace,
                       "--as", f"system:serviceaccount:{NAMESPACE}:stackspec-controller", check=False)
        return said.strip().endswith("yes")

    def test_the_account_may_what_it_needs_and_nothing_that_destroys(self):
        self.install()
        for verb, resource in (("update", "stackspecs.stackspec.dev/status"), ("create", "jobs.batch"),
                               ("create", "persistentvolumeclaims"), ("list", "secrets")):
            self.assertTrue(self.may(verb, resource, "shop"), f"{verb} {resource}")
        for verb, resource in (("update", "stackspecs.stackspec.dev"), ("delete", "stackspecs.stackspec.dev"),
                               ("delete", "persistentvolumeclaims"), ("delete", "persistentvolumes"),
                               ("delete", "namespaces"), ("delete", "deployments.apps"), ("delete", "services"), ("delete", "secrets"), ("update", "secrets"),
                               ("create", "pods/exec"), ("create", "pods"), ("create", "roles.rbac.authorization.k8s.io"),
                               ("deletecollection", "deployments.apps"), ("update", "leases.coordination.k8s.io")):
            self.assertFalse(self.may(verb, resource, "shop"), f"{verb} {resource}")

    def test_samples_are_admitted(self):
        kubectl("create", "namespace", "shop")
        said = kubectl("-n", "shop", "apply", "--dry-run=server", "--validate=strict", "-k", str(ROOT / "manifests/samples"))
        self.assertNotIn("Warning", said)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
