# SPDX-License-Identifier: Apache-2.0
"""As much of a Kubernetes client as the tests need; the cluster is that of STACKSPEC_TEST_KUBECONFIG."""
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

MOST_BYTES = 3 * 1024 * 1024  # of a request, says the API server
TOOLS = os.environ.get("STACKSPEC_TOOLS", os.path.expanduser("~/.cache/stackspec/tools"))


def kubeconfig():
    path = os.environ.get("STACKSPEC_TEST_KUBECONFIG")
    if not path:
        sys.exit("STACKSPEC_TEST_KUBECONFIG is not set; run ./dev test kube, or this under tests/cluster/cluster run")
    return path


def kubectl(*arguments, text=None, check=True):
    """Output of kubectl; its warnings are in it too."""
    done = subprocess.run(
        [os.path.join(TOOLS, "kubectl"), "--kubeconfig", kubeconfig(), *arguments], input=text,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stdout}")
    return done.stdout


def wait_for_crds():
    """All there are. kubectl cannot wait for one that has no conditions yet: it says so and ends."""
    end = time.monotonic() + 300
    while True:
        said = kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=300s", check=False)
        if said and "error" not in said.lower():
            return
        assert time.monotonic() < end, said
        time.sleep(0.1)


class Api:
    def __init__(self):
        config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
        cluster = config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        self._token = config["users"][0]["user"]["token"]
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])

    def call(self, method, path, body=None, content_type="application/json"):
        """Status code, the answer's document and its Warning headers."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            self._server + path, method=method, data=data,
            headers={"Authorization": "Bearer " + self._token, "Content-Type": content_type})
        try:
            answer = urllib.request.urlopen(request, context=self._tls, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        except (urllib.error.URLError, ConnectionError):
            # The API server answers and hangs up while so much is still being sent to it.
            if data is None or len(data) < MOST_BYTES:
                raise
            return 413, {"message": "request entity too large"}, []
        with answer:
            return answer.status, json.load(answer), answer.headers.get_all("Warning") or []
