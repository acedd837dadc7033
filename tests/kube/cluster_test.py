#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""tests/cluster/cluster leaves nothing behind, and two of it do not meet."""
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
CLUSTER = os.path.join(ROOT, "tests/cluster/cluster")


def processes_of(folder):
    """Command lines of living processes that name the folder."""
    found = []
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in command:
            found.append(command)
    return found


def eventually(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


class Cluster(unittest.TestCase):
    def start(self, *command):
        folder = tempfile.mkdtemp(prefix="stackspec-cluster-test.", dir="/tmp")
        environment = {name: value for name, value in os.environ.items() if name != "CLUSTER_DIR"}
        process = subprocess.Popen([CLUSTER, "run", "--no-node", *command], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=environment | {"CLUSTER_DIR": folder})
        return folder, process

    def test_two_at_once_see_their_own_objects_outlive_a_restart_and_are_gone(self):
        script = (f"kubectl create namespace mine && {CLUSTER} restart apiserver &&"
                  " kubectl get namespaces -o name | grep -c mine && exit 7")
        for folder, process in [self.start("sh", "-c", script) for _ in range(2)]:
            said, _ = process.communicate(timeout=300)
            self.assertEqual((process.returncode, said), (7, "namespace/mine created\n1\n"))
            self.assertFalse(os.path.exists(folder))
            self.assertEqual(processes_of(folder), [])

    def test_a_killed_run_is_cleaned_up(self):
        folder, process = self.start("sh", "-c", "echo ready; exec sleep 600")
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.assertTrue(processes_of(folder))
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertEqual(process.stdout.read(), "")  # the command was ended too: nobody holds the pipe
        process.stdout.close()
        eventually(lambda: not os.path.exists(folder) and not processes_of(folder), 60,
                   lambda: processes_of(folder))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
