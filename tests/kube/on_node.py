# SPDX-License-Identifier: Apache-2.0
"""A stack and its controllers on a real node, as people see them: by the API server, the stack's own
HTTP API and the audit log."""
import datetime
import json
import os
import pathlib
import re
import time
import urllib.error
import urllib.request

from kube_api import Api, kubectl

HOME = "stackspec-system"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
AWAY = re.compile("refused|EOF|reset by peer|nable to connect|unexpected error|TLS handshake|apiserver not ready", re.I)
# What a request may meet while the API server is restarted, or what is looked at is being made.
PASSING = (AssertionError, OSError, LookupError, TypeError, ValueError)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def wait_for(what, true, seconds=300, show=lambda: "", every=0.1):
    """The first answer of `true` that is one; a look that fails is looked again."""
    end = time.monotonic() + seconds
    while True:
        problem = None
        try:
            if answer := true():
                return answer
        except PASSING as passing:
            problem = passing
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what} ({problem})\n{show()}")
        time.sleep(every)


def kubectl_again(*arguments, seconds=120, **more):
    """Says it again while the API server is away, which some test restarts."""
    end = time.monotonic() + seconds
    while True:
        try:
            return kubectl(*arguments, **more)
        except AssertionError as problem:
            if not AWAY.search(str(problem)) or time.monotonic() > end:
                raise
        time.sleep(1)


class Stack:
    def __init__(self, namespace, name="crm"):
        self.namespace, self.name = namespace, name
        self.api = Api()

    def kubectl(self, *arguments, **more):
        return kubectl_again("-n", self.namespace, *arguments, **more)

    def get(self, *what):
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def look(self, group, what):
        """A GET of the API, which is much cheaper than a kubectl; {} when it is not there."""
        prefix = "/api/v1" if group == "v1" else "/apis/" + group

        def get():
            code, document, _ = self.api.call("GET", f"{prefix}/namespaces/{self.namespace}/{what}")
            return (document if code == 200 else {},) if code in (200, 404) else None
        return wait_for("an answer about " + what, get, 120)[0]

    def apply(self, kind, name, spec, **metadata):
        self.kubectl("apply", "-f", "-", text=json.dumps(
            {"apiVersion": "stackspec.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}))

    def patch(self, **spec):
        self.kubectl("patch", "stk", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def told(self):
        return self.look("stackspec.dev/v1alpha1", "stackspecs/" + self.name).get("status", {})

    def journey(self):
        return self.told().get("upgrade", {})

    def condition(self, name):
        for each in self.told().get("conditions", []):
            if each["type"] == name:
                return each["status"], each["reason"]
        return "absent", ""

    def ready_at(self, version):
        def look():
            document = self.look("stackspec.dev/v1alpha1", "stackspecs/" + self.name)
            status = document["status"]
            return (status.get("phase") == "Ready" and status.get("version", "").startswith(version)
                    and "upgrade" not in status
                    and status.get("observedGeneration") == document["metadata"]["generation"])
        return look

    def wait(self, what, true, seconds=300):
        return wait_for(f"{self.namespace}: {what}", true, seconds, self.state)

    def wait_ready(self, version, seconds=600):
        self.wait(f"Ready at {version}", self.ready_at(version), seconds)

    def state(self):
        """Of everything, for the report of a failure."""
        logs = kubectl("-n", HOME, "logs", "-l", "app.kubernetes.io/name=stackspec-controller", "--prefix",
                       "--tail=25", check=False)
        return (self.kubectl("get", "stk,pods,jobs,pvc", "-o", "wide", check=False)
                + json.dumps(self.told(), indent=1) + logs)

    def pods(self, component):
        """Those that may do something: not ended."""
        found = self.look("v1", f"pods?labelSelector=stackspec.dev/stack={self.name},"
                          f"app.kubernetes.io/component={component}")
        return [pod for pod in found["items"] if pod["status"]["phase"] in ("Pending", "Running")]

    def jobs(self, kind):
        found = self.look("batch/v1", f"jobs?labelSelector=stackspec.dev/stack={self.name},stackspec.dev/task={kind}")
        return sorted(found["items"], key=lambda job: job["metadata"]["creationTimestamp"])

    def call(self, path, body=None):
        """The stack as its users reach it; the status code instead of an answer that is no 200."""
        address = self.look("v1", f"services/{self.name}-gateway")["spec"]["clusterIP"]
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"http://{address}:4000{path}", data=data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                told = answer.read()
                return json.loads(told or b"null") if path.startswith("/rest") else answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def files(self):
        address = self.look("v1", f"services/{self.name}-gateway")["spec"]["clusterIP"]
        with urllib.request.urlopen(f"http://{address}:4000/files", timeout=20) as answer:
            return json.load(answer)["data"]["files"]

    def companies(self):
        return sorted(row["name"] for row in self.call("/rest/companies?limit=1000")["data"]["companies"])

    def fill(self, companies=20):
        self.call("/rest/signup", {"name": "Harbour Trust", "email": "a@example.org", "activate": True})
        for number in range(companies):
            self.call("/rest/companies", {"name": f"Company {number:02}"})

    def volume(self, claim):
        """The folder of a claim on the node, which is this machine."""
        volume = self.look("v1", "persistentvolumeclaims/" + claim)["spec"]["volumeName"]
        return pathlib.Path(os.environ["CLUSTER_DIR"]) / "volumes" / volume


def new_namespace(name):
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")


# ---- the controllers ----

def holder():
    """The pod that leads; the Lease names it before an underscore."""
    _, lease, _ = Api().call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/stackspec-controller")
    return lease["spec"].get("holderIdentity", "").split("_")[0]


def process_of(pod):
    for entry in pathlib.Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
            named = (entry / "root/etc/hostname").read_text().strip() == pod
        except OSError:
            continue
        if named and b"stackspec\0controller\0" in command:
            return int(entry.name)
    raise AssertionError(f"no process of {pod}")


def requests_of_controller(since, until=None):
    """What the API server noted: (moment, verb, resource, pod, code)."""
    with open(os.environ["STACKSPEC_TEST_AUDIT_LOG"], encoding="utf-8") as log:
        for line in log:
            event = json.loads(line)
            user = event.get("user", {})
            if not user.get("username", "").endswith(f":{HOME}:stackspec-controller"):
                continue
            if event.get("stage") == "RequestReceived" or "objectRef" not in event:
                continue
            at = moment(event["requestReceivedTimestamp"])
            if at < since or (until and at > until):
                continue
            pod = user.get("extra", {}).get("authentication.kubernetes.io/pod-name", ["?"])[0]
            yield (at, event["verb"], event["objectRef"]["resource"], pod,
                   event.get("responseStatus", {}).get("code", 0))


def late_writes(leader, stopped, continued):
    """Of a leader that stood still in between: all that it wrote afterwards and had taken."""
    return [each for each in requests_of_controller(stopped)
            if each[0] > continued and each[3] == leader and each[1] in WRITES and each[4] < 400
            and each[2] != "leases"]
