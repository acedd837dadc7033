#!/usr/bin/python3 -IB
# SPDX-License-Identifier: Apache-2.0
"""upgrade_test.py PROGRAM [Upgrade.test_…]: whole journeys on real processes, everything real but
Twenty itself (tests/standin/). Each test has a host of its own and leaves nothing running.
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from harness import Watcher  # noqa: E402
from stack import OFF, Sampler, Stack  # noqa: E402

PROGRAM = ""


class Upgrade(unittest.TestCase):
    maxDiff = None

    def make_stack(self, *tags):
        self.stack = Stack(PROGRAM, tags, "upgrade-test")
        self.addCleanup(self.clean)
        return self.stack

    def clean(self):
        """After it nothing may run; what the controller left is a fault of its own."""
        failed = not self._outcome.success
        if failed:
            print(self.stack.log_tail(40), file=sys.stderr)
        left = self.stack.clean()
        if not failed:
            self.assertEqual(left, [], "still running after the controller had stopped the stack")

    def watch(self, stack):
        sampler = Sampler(stack)
        sampler.start()
        self.addCleanup(sampler.finish)
        return sampler

    def assert_data(self, stack):
        self.assertEqual(stack.front.companies(), stack.companies)
        status, content = stack.front.send("GET", stack.content_path)
        self.assertEqual((status, content == stack.content), (200, True))

    def assert_never_migrates(self, stack, sampler):
        """Server and worker: at every start by their own word, and in /proc while they ran."""
        components = [start for start in stack.starts() if start.what in ("server", "worker")]
        self.assertGreater(len(components), 1)
        self.assertEqual({start.off for start in components}, {("true", "true")})
        self.assertEqual({component for component, _ in sampler.environments}, {"server", "worker"})
        self.assertEqual(set(sampler.environments.values()), {("true", "true")}, OFF)

    def assert_backups(self, stack, versions):
        """One proven backup for each hop, of the release it started from."""
        backups = stack.backups()
        self.assertEqual([backup["sourceVersion"] for backup in backups], versions)
        self.assertTrue(all(backup["proven"] for backup in backups))

    def test_goes_hop_by_hop(self):
        stack = self.make_stack("v1.14.0", "v1.15.4", "v1.16.6", "v1.17.4")
        sampler = self.watch(stack)
        # What the user's own environment says about migrations does not count.
        stack.install("v1.14", env={name: "false" for name in OFF})
        stack.write_data()
        watcher = Watcher(stack.front)
        watcher.start()
        stack.upgrade("v1.17")
        watcher.finish()
        sampler.finish()

        self.assertEqual(sampler.wanted, ["v1.14.0", "v1.15.4", "v1.16.6", "v1.17.4"])
        served = [start.version for start in stack.starts() if start.what == "server"]
        self.assertEqual(served, ["1.14.0", "1.15.4", "1.16.6", "1.17.4"])
        migrated = [start.version for start in stack.starts() if "-migrate-" in start.what]
        self.assertEqual(migrated, ["1.15.4", "1.16.6", "1.17.4"])
        self.assert_backups(stack, ["v1.14.0", "v1.15.4", "v1.16.6"])
        self.assert_never_migrates(stack, sampler)
        self.assert_data(stack)
        self.assertEqual(watcher.answers, {200, 503})
        self.assertEqual(len(watcher.outages), 1, watcher.outages)
        history = [(entry["kind"], entry["result"]) for entry in stack.told()["history"]]
        self.assertEqual(history, [("Upgrade", "Upgraded"), ("Install", "Installed")])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=2)
