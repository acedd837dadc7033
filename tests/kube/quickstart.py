#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of docs/kubernetes.md as a newcomer would type them.

usage: quickstart.py PROGRAM     under `cluster run --images`; PROGRAM goes into the controller's image
       quickstart.py --list      prints the commands
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from kube_api import TOOLS

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.M | re.S)


def commands():
    text = (ROOT / "docs/kubernetes.md").read_text()
    found = [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]
    if text.count("<!-- run -->") != len(BLOCK.findall(text)) or not found:
        raise SystemExit("quickstart: docs/kubernetes.md has a `run` comment without a block of sh after it")
    return found


def load_image(program):
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        subprocess.run([ROOT / "tests/cluster/controller-image", "localhost/stackspec:v0.1.0", program],
                       stdout=archive, stderr=subprocess.DEVNULL, check=True)
        subprocess.run([ROOT / "tests/cluster/cluster", "load", archive.name], check=True)


def show_what_is():
    for line in ("kubectl get stk,pods,jobs,pvc -A -o wide", "kubectl get stk -A -o yaml",
                 "kubectl -n stackspec-system logs deployment/stackspec-controller --tail=100"):
        print("$ " + line, flush=True)
        subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment(), check=False)


def environment():
    return {**os.environ, "PATH": TOOLS + ":" + os.environ["PATH"],
            "KUBECONFIG": os.environ["STACKSPEC_TEST_KUBECONFIG"]}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(commands()))
        return 0
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    load_image(arguments[0])
    for line in commands():
        began = time.monotonic()
        print("$ " + line, flush=True)
        code = subprocess.run(["bash", "-ec", line], cwd=ROOT, env=environment(), check=False).returncode
        print(f"# {time.monotonic() - began:.1f} s", flush=True)
        if code != 0:
            show_what_is()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
