#!/usr/bin/python3 -IB
# SPDX-License-Identifier: Apache-2.0
"""upgrade_test.py PROGRAM [Upgrade.test_…]: whole journeys on real processes, everything real but
Twenty itself (tests/standin/). Each test has a host of its own and leaves nothing running.
"""
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from harness import Failure, Watcher  # noqa: E402
from stack import (COMPONENTS, OFF, Sampler, Stack, environment_of, is_at,  # noqa: E402
                   read_text)

PROGRAM = ""
LIMIT = 350  # seconds for one run


def out_of_time(*_):
    raise Failure(f"not done within {LIMIT} s")


class Upgrade(unittest.TestCase):
    maxDiff = None

    def run(self, result=None):
        self.result = result
        return super().run(result)

    def make_stack(self, *tags):
        self.stack = Stack(PROGRAM, tags, "upgrade-test")
        self.addCleanup(self.clean)
        return self.stack

    def clean(self):
        """After it nothing may run; what the controller left is a fault of its own."""
        failed = any(test is self for test, _ in self.result.errors + self.result.failures)
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

    def test_refuses_a_bad_release(self):
        """v1.18.0 of the stand-in fails for every workspace and exits 0."""
        stack = self.make_stack("v1.17.4", "v1.18.0", "v1.18.1")
        stack.install("v1.17.4")
        stack.write_data()
        stack.write(tag="v1.18.0")
        told = stack.wait_told("v1.18.0 is refused", lambda told: told.get("latch"))
        self.assertEqual(told["latch"]["reason"], "RolledBack")
        self.assertEqual(told["version"], "v1.17.4")
        self.assertNotEqual(told["phase"], "Upgrading")
        self.assertEqual(stack.result("migrate")["exitCode"], 0)
        server = environment_of(stack.pid("server"))
        self.assertEqual(server["APP_VERSION"], "1.17.4")
        self.assert_data(stack)
        self.assertEqual(stack.workspace_versions(), {"1.17.4"})
        stack.write_record("Written after the rollback")

        stack.upgrade("v1.18.1")
        self.assert_data(stack)
        self.assertEqual(stack.workspace_versions(), {"1.18.1"})
        self.assert_backups(stack, ["v1.17.4", "v1.17.4"])

    def test_upgrades_what_nobody_signed_up_to(self):
        """Without a workspace the version query alone is green though nothing was migrated."""
        stack = self.make_stack("v1.14.0", "v1.15.4", "v1.16.6")
        stack.install("v1.14")
        self.assertEqual(stack.sql("select count(*) from core.workspace"), "0")
        before = int(stack.sql("select count(*) from core._typeorm_migrations"))
        stack.upgrade("v1.16")
        shipped = len(list(stack.releases.glob("v1.16.6/app/**/migrations/common/*.js")))
        after = int(stack.sql("select count(*) from core._typeorm_migrations"))
        self.assertGreater(shipped, before)
        self.assertEqual(after, shipped)
        nullable = stack.sql("select is_nullable from information_schema.columns where "
                             "table_schema = 'core' and table_name = 'fieldMetadata' and "
                             "column_name = 'universalIdentifier'")
        self.assertEqual(nullable, "NO")
        self.assert_backups(stack, ["v1.14.0", "v1.15.4"])
        stack.write_data()
        self.assert_data(stack)
        self.assertEqual(stack.workspace_versions(), {"1.16.6"})

    def test_survives_kills_of_the_controller(self):
        """20 kills, some by the clock and some right after an action, spread over 3 upgrades."""
        seed = int(os.environ.get("STACKSPEC_SEED") or random.SystemRandom().randrange(10**6))
        print(f"seed {seed}; again: STACKSPEC_SEED={seed}", file=sys.stderr, flush=True)
        chance = random.Random(seed)
        stack = self.make_stack("v1.14.0", "v1.15.4", "v1.16.6", "v1.17.4", "v1.18.1", "v1.19.0")
        sampler = self.watch(stack)
        stack.install("v1.14")
        stack.write_data()
        kills = 0
        for tag, wanted in (("v1.16", 8), ("v1.18", 16), ("v1.19", 20)):
            stack.write(tag=tag)
            kills += self.kill_during(stack, tag, wanted - kills, chance)
            stack.wait_ready(tag)
            self.assert_data(stack)
            stack.write_record(f"Written at {tag}")
        sampler.finish()
        self.assertEqual(kills, 20)

        releases = ["1.14.0", "1.15.4", "1.16.6", "1.17.4", "1.18.1", "1.19.0"]
        self.assertEqual(sampler.wanted, ["v" + release for release in releases])
        starts = stack.starts()
        for component in ("server", "worker"):
            served = [start.version for start in starts if start.what == component]
            # The worker runs only where users are let in, not at the hops between.
            hops = releases if component == "server" else ["1.14.0", "1.16.6", "1.18.1", "1.19.0"]
            self.assertEqual(served, hops, f"starts of the {component}")
        for component in ("postgres", "redis", "gateway"):
            self.assertEqual(len(sampler.pids[component]), 1, component)
        tasks = [start.what for start in starts if start.task and start.what]
        self.assertEqual(sorted(tasks), sorted(set(tasks)), "a task name was started twice")
        twice = {name: pids for name, pids in sampler.task_pids.items() if len(pids) != 1}
        self.assertEqual(twice, {}, "a task name was started twice")
        migrated = [start.version for start in starts if "-migrate-1" in start.what]
        self.assertEqual(migrated, releases[1:])
        self.assert_backups(stack, ["v" + release for release in releases[:-1]])
        self.assert_never_migrates(stack, sampler)
        self.assert_one_process_each(stack)

    def kill_during(self, stack, tag, count, chance):
        """Kills and starts again at once, up to `count` times while the upgrade is in flight."""
        for done in range(count):
            by_clock = chance.random() < 0.5
            delay, actions = chance.uniform(0.1, 1.5), chance.randrange(1, 4)
            before = stack.log.read_text(errors="replace").count('"action"')
            end = time.monotonic() + (delay if by_clock else 20)
            while time.monotonic() < end:
                seen = stack.log.read_text(errors="replace").count('"action"')
                if not by_clock and seen >= before + actions:
                    break
                time.sleep(0.005)
            if stack.is_stored() and is_at(stack.told(), tag):
                return done
            stack.kill()
            stack.start()
        return count

    def assert_one_process_each(self, stack):
        for component, folder in (("postgres", "postgres/data"), ("redis", "redis"),
                                  ("gateway", "gateway")):
            self.assertEqual(stack.roots(stack.folder / folder), [stack.pid(component)], component)
        for component in ("server", "worker"):
            word = f"dist/standin {component}"
            found = [about for _, about in stack.leftovers() if word in about]
            self.assertEqual(len(found), 1, found)

    def test_outlives_postgres_in_a_backup(self):
        """SIGKILL of the postmaster while pg_dump is at work."""
        stack = self.make_stack("v1.16.6", "v1.17.4")
        stack.install("v1.16")
        stack.write_data()
        stack.sql("create table core.ballast as select n, md5(n::text) as text "
                  "from generate_series(1, 600000) n")
        stack.write(tag="v1.17")
        draft = stack.wait_for("a dump is being written", lambda: next(
            (path for path in stack.folder.glob("backups/.tmp-*/database.dump")
             if path.stat().st_size > 0), None), 60)
        old = stack.pid("postgres")
        os.kill(old, signal.SIGKILL)
        task = draft.parent.name.removeprefix(".tmp-")
        self.assertFalse((draft.parent.parent / "manifest.json").exists())
        self.assertNotEqual(read_text(stack.folder / f"tasks/{task}/out/exit"), "0\n")

        told = stack.wait_told("upgraded, or unfenced", lambda told: is_at(told, "v1.17") or (
            told["history"][0]["result"] == "Unfenced" and not told.get("upgrade")))
        if not is_at(told, "v1.17"):
            self.assertEqual(told["version"], "v1.16.6")
            self.assertEqual(stack.front.send("GET", "/")[0], 200)
            stack.stackspec("retry", "crm", "--data", str(stack.data))
            stack.wait_ready("v1.17")
        self.assertNotEqual(stack.pid("postgres"), old)
        self.assert_data(stack)
        self.assertEqual(stack.sql("select count(*) from core.ballast"), "600000")
        self.assert_backups(stack, ["v1.16.6"])

    def test_unfences_when_the_disk_is_full(self):
        stack = self.make_stack("v1.16.6", "v1.17.4")
        folder = stack.work / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=320m,mode=777", "tmpfs", folder]
        small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        if small:
            self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False)
        folder.chmod(0o777)
        stack.install("v1.16", limit=None if small else 24 << 20,
                      backup={"destination": {"path": str(folder)}})
        stack.write_data()
        if not small:
            # Files of 24 MB at most: more than one of PostgreSQL's own is, less than the dump.
            for name in ("one", "two", "three", "four"):
                stack.sql(f"create table core.{name} as select sha512(n::text::bytea)::text "
                          "from generate_series(1, 100000) n")
        stack.fundraising("POST")
        stack.write(tag="v1.17")
        stack.wait_gate("FundraisingRuns")  # The disk was measured, nothing is fenced yet.
        if small:
            with open(folder / "filler", "wb", buffering=0) as filler:
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(1 << 16))
        stack.fundraising("DELETE")
        told = stack.wait_told("unfenced", lambda told: not told.get("upgrade")
                               and told["history"][0]["result"] == "Unfenced")
        self.assertEqual(told["version"], "v1.16.6")
        self.assertEqual(environment_of(stack.pid("server"))["APP_VERSION"], "1.16.6")
        stack.wait_gate("BackOff")
        self.assertIn("1 failed tries, the last: ", stack.gates()["BackOff"]["seen"])
        self.assert_data(stack)
        stack.write_record("Written after the disk was full")
        why = told["history"][0]["message"]
        events = [event["note"] for event in stack.events() if event["reason"] == "Unfenced"]
        self.assertEqual(events, [why])
        self.assertFalse(list(folder.glob("*/manifest.json")))
        self.assertFalse(list(folder.glob(".tmp-*")))
        if not small:
            return
        self.assertIn("BackupFailed", why)
        self.assertIn(f"no space left in {folder}", why)
        (folder / "filler").unlink()
        stack.stackspec("retry", "crm", "--data", str(stack.data))
        stack.wait_ready("v1.17")
        self.assert_data(stack)

    def test_names_the_foreign_session_that_blocks(self):
        stack = self.make_stack("v1.16.6", "v1.17.4")
        stack.install("v1.16")
        stack.write_data()
        stack.fundraising("POST")
        early = self.open_session(stack, "nightly-report")
        stack.write(tag="v1.17")
        self.assertIn("nightly-report", stack.wait_gate("ForeignSessions")["seen"])
        self.assertEqual(stack.told()["upgrade"]["step"], "Preflight")
        self.assertEqual(stack.front.send("GET", "/")[0], 200)
        self.end_session(early)

        stack.wait_gate("FundraisingRuns")
        late = self.open_session(stack, "warehouse-sync")
        stack.fundraising("DELETE")
        gate = stack.wait_gate("ForeignSessions")
        self.assertIn("warehouse-sync", gate["seen"])
        self.assertIn(f"pid {late.backend}", gate["seen"])
        self.assertIn(f"pg_terminate_backend({late.backend})", gate["next"])
        self.assertEqual(stack.told()["upgrade"]["step"], "Fence")
        self.assertEqual(stack.front.send("GET", "/")[0], 503)
        self.assertEqual(stack.backups(), [])
        self.end_session(late)
        stack.wait_ready("v1.17")
        self.assert_data(stack)
        self.assert_backups(stack, ["v1.16.6"])

    def open_session(self, stack, application):
        """A psql inside a transaction that has read the users' workspaces."""
        command, environment = stack.psql(application)
        session = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True,
                                   stdout=subprocess.PIPE)
        self.addCleanup(self.end_session, session)
        session.stdin.write("begin; select count(*) from core.workspace; "
                            "select pg_backend_pid();\n")
        session.stdin.flush()
        self.assertEqual(session.stdout.readline(), "2\n")
        session.backend = int(session.stdout.readline())
        return session

    def end_session(self, session):
        if session.poll() is None:
            session.stdin.close()
            session.wait(10)
            session.stdout.close()

    def test_restarts_a_dead_worker_by_itself(self):
        stack = self.make_stack("v1.16.6")
        stack.install("v1.16")
        self.kill_worker(stack, {})

    def kill_worker(self, stack, annotations):
        old = stack.pid("worker")
        os.kill(old, signal.SIGKILL)
        stack.write_annotated(annotations)
        stack.wait_for("another worker", lambda: stack.pid("worker") not in (0, old), 30)
        stack.wait_ready("v1.16")

    def test_keeps_what_runs(self):
        """A worker that died comes back when the controller looks; a removed file removes
        nothing."""
        stack = self.make_stack("v1.16.6")
        stack.install("v1.16")
        stack.write_data()
        self.kill_worker(stack, {"stackspec.dev/reconcile-at": "now"})
        stack.front.json("POST", "/rest/jobs", {"name": "Made by the new worker"})
        stack.wait_for("the worker works", lambda: "Made by the new worker" in
                       [name for _, name in stack.front.companies()])

        pids = {component: stack.pid(component) for component in COMPONENTS}
        stack.file.unlink()
        # Handled after the removal, so that was seen too.
        stack.put("StackBackup", "after-removal", {"stackRef": {"name": "crm"}})
        stack.wait_for("the backup is proven", lambda: stack.phase("StackBackup", "after-removal")
                       == "Proven", 60)
        self.assertEqual({component: stack.pid(component) for component in COMPONENTS}, pids)
        self.assertTrue(all(pids.values()), pids)
        self.assertTrue(is_at(stack.told(), "v1.16"))
        self.assertEqual(stack.front.send("GET", stack.content_path), (200, stack.content))

    def test_restores_when_the_loss_is_accepted(self):
        stack = self.make_stack("v1.16.6")
        stack.install("v1.16")
        stack.write_data()
        stack.put("StackBackup", "before-import", {"stackRef": {"name": "crm"}, "reason": "import"})
        stack.wait_for("the backup is proven", lambda: stack.phase("StackBackup", "before-import")
                       == "Proven", 60)
        status = stack.object("StackBackup", "before-import")["status"]
        self.assertEqual(status["proof"], "L4")
        self.assertEqual([(backup["id"], backup["proven"]) for backup in stack.backups()],
                         [("before-import", True)])
        before = stack.companies
        stack.write_record("Written after the backup")

        restore = {"stackRef": {"name": "crm"}, "from": {"backupRef": {"name": "before-import"}}}
        cutoff = status["cutoff"]["time"]
        stack.put("StackRestore", "decided", {**restore, "acceptLossSince": cutoff})
        stack.wait_for("the restore is done", lambda: stack.phase("StackRestore", "decided")
                       == "Done", 90)
        told = stack.told()
        ended = told["history"][0]
        self.assertEqual((told["version"], ended["kind"], ended["result"]),
                         ("v1.16.6", "Restore", "Restored"))
        stack.companies = before
        self.assert_data(stack)
        old = stack.sql("select count(*) from pg_namespace where nspname ~ '^stackspec_old_'")
        self.assertGreaterEqual(int(old), 2)
        aside = stack.sql(r"select nspname from pg_namespace where nspname ~ "
                          r"'^stackspec_old_.*core$'")
        self.assertEqual(stack.sql(f'select count(*) from "{aside}".workspace'), "2")
        stack.write_record("Written after the restore")

        # Last: while it waits, no later restore is looked at.
        stack.put("StackRestore", "hasty", restore)
        message = stack.wait_for("the restore says why not", lambda: (
            stack.object("StackRestore", "hasty") or {"status": {}})["status"].get("message"))
        self.assertIn(f"everything written since {cutoff} would be lost", message)
        self.assertIn("spec.acceptLossSince", message)
        self.assertEqual(stack.phase("StackRestore", "hasty"), "Pending")
        self.assertEqual(stack.front.companies(), stack.companies)
        self.assertEqual(len(list(stack.folder.glob("tasks/*-restore-*"))), 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    PROGRAM = sys.argv.pop(1)
    # Before ctest's own time-out, which would leave the stack's processes behind.
    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(LIMIT)
    unittest.main(verbosity=2)
