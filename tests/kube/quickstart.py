#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of docs/kubernetes.md as a newcomer would type them.

usage: quickstart.py PROGRAM     under `cluster run --images`; PROGRAM goes into the controller's image
       quickstart.py --list      prints the commands
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from kube_api import TOOLS

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = '  database: {managed: {version: "15"}}\n  upgrade: {soakSeconds: 3}\n'
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


def checkout(folder):
    """The repository as the commands see it. The node has PostgreSQL 15 only, and nobody soaks here."""
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    (folder / "charts").symlink_to(ROOT / "charts")
    sample = folder / "manifests/samples/minimal.yaml"
    sample.write_text(sample.read_text() + SAMPLE)


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
    with tempfile.TemporaryDirectory() as folder:
        checkout(pathlib.Path(folder))
        clean()
        try:
            return run_commands(folder)
        finally:
            clean()


def clean():
    """A cluster as before the first command: other tests bring CRDs of their own."""
    for line in ("helm uninstall stackspec -n stackspec-system --ignore-not-found",
                 "kubectl delete namespace shop stackspec-system --ignore-not-found --timeout=300s",
                 "kubectl delete crd --ignore-not-found --timeout=300s stack{specs,backups,restores}.stackspec.dev"):
        subprocess.run(["bash", "-ec", line], env=environment(), check=True, stdout=subprocess.DEVNULL)


def run_commands(folder):
    for line in commands():
        began = time.monotonic()
        print("$ " + line, flush=True)
        code = subprocess.run(["bash", "-ec", line], cwd=folder, env=environment(), check=False).returncode
        print(f"# {time.monotonic() - began:.1f} s", flush=True)
        if code != 0:
            show_what_is()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
