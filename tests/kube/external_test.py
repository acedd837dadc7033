#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""A stack on a PostgreSQL and a Redis that somebody else runs and others use too: external_test.py
PROGRAM. The tests are chapters of one story and run in the order of their numbers."""
import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/fakes"))

from command_lines import CommandLines  # noqa: E402
from kube_api import kubectl  # noqa: E402
from on_node import HOME, Stack, kubectl_again, new_namespace, wait_for  # noqa: E402

NAMESPACE, OUTSIDE = "tenant", "provider"
PROGRAM = ""
WORD = "unguessable"  # Part of every password: wherever it shows, a secret got out.
PASSWORD, ENCODED = f"{WORD}/p@ss 1%", f"{WORD}%2Fp%40ss%201%25"
SMALL = {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
SPEC = {
    "tag": "v1.17",
    "database": {"external": {"urlSecretRef": {"name": "crm-db", "key": "url"}, "shared": True}},
    "redis": {"external": {"urlSecretRef": {"name": "crm-redis", "key": "url"}}},
    "storage": {"type": "local", "local": {"size": "1Gi"}},
    "server": SMALL, "worker": SMALL | {"terminationGraceSeconds": 15},
    "upgrade": {"soakSeconds": 1},
}
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999,
                "seccompProfile": {"type": "RuntimeDefault"}}
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# Another tenant of the same database, with names that could be Twenty's, and what it needs not to
# be asked for.
TENANTS = f"""
create role crm login password '{PASSWORD}';
create role billing login;
create database shop;
\\c shop
grant create on database shop to crm;
grant create on schema public to crm;
create schema workspace_billing authorization billing;
create schema metadata authorization billing;
set role billing;
create table workspace_billing.invoices (id int primary key, total numeric);
insert into workspace_billing.invoices select i, i * 3 from generate_series(1, 500) i;
create table metadata.things (id int);
"""
NEIGHBOUR = """
select n.oid, n.nspname, n.nspowner::regrole, c.oid, c.relname, c.relfilenode from pg_namespace n
left join pg_class c on c.relnamespace = n.oid where n.nspname in ('workspace_billing', 'metadata') order by 1, 4;
select count(*), sum(total), md5(string_agg(t::text, ',' order by id)) from workspace_billing.invoices t;
"""

crm = Stack(NAMESPACE)


def pod(name, image, env, arguments):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "automountServiceAccountToken": False, "securityContext": POD_SECURITY, "containers": [
            {"name": name, "image": image, "securityContext": SECURITY, "args": arguments,
             "env": [{"name": key, "value": value} for key, value in env.items()]}]}}


def service(name, port):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": port}]}}


def services_of_others():
    new_namespace(OUTSIDE)
    things = [pod("postgres", "docker.io/library/postgres:15",
                  {"POSTGRES_PASSWORD": WORD, "PGDATA": "/tmp/pgdata"}, ["postgres"]),
              pod("redis", "docker.io/library/redis:7", {},
                  ["redis-server", "--dir", "/tmp", "--requirepass", "set-below"]),
              service("postgres", 5432), service("redis", 6379)]
    for thing in things:
        kubectl("-n", OUTSIDE, "apply", "-f", "-", text=json.dumps(thing))
    kubectl("-n", OUTSIDE, "wait", "pod", "--all", "--for=condition=Ready", "--timeout=180s")
    # Ready says that the container runs; a first start of PostgreSQL takes a moment more.
    wait_for("PostgreSQL answers", lambda: sql("select 1", "postgres") == "1")
    sql(TENANTS, "postgres")
    redis(f"config set requirepass {WORD}", password="set-below")
    redis("select 1", "set of-another-tenant kept")


def sql(statements, database="shop", user="postgres"):
    return kubectl("-n", OUTSIDE, "exec", "-i", "postgres", "--", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1",
                   "-U", user, "-d", database, text=statements).strip()


def redis(*commands, password=WORD):
    """The last answer. All by standard input: no secret is to be in arguments of ours either."""
    return kubectl("-n", OUTSIDE, "exec", "-i", "redis", "--", "sh", "-c",
                   "read -r REDISCLI_AUTH; export REDISCLI_AUTH; exec redis-cli",
                   text="\n".join([password, *commands, ""])).split("\n")[-2]


def secret(name, **values):
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    kubectl_again("-n", NAMESPACE, "apply", "-f", "-", text=json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}))


def database_url(password=ENCODED, database="shop"):
    return f"postgres://crm:{password}@postgres.{OUTSIDE}.svc:5432/{database}"


def gate_of(name, seen, stack):
    """The gate by that name that saw what contains `seen`; None while it is not closed."""
    return next((gate for gate in stack.told().get("blockedBy", [])
                 if gate["gate"] == name and seen in gate["seen"]), None)


def look_now(stack=crm):
    kubectl_again("-n", NAMESPACE, "annotate", "stk", stack.name, "--overwrite", f"stackspec.dev/reconcile-at={time.time()}")


class Story(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lines = CommandLines(every=0.1)
        cls.lines.start()
        image = subprocess.run([ROOT / "tests/cluster/controller-image", "localhost/stackspec:v0.1.0", PROGRAM],
                               check=True, capture_output=True).stdout
        subprocess.run([ROOT / "tests/cluster/cluster", "load", "-"], input=image, check=True)
        kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "manifests/default"))
        services_of_others()
        new_namespace(NAMESPACE)
        kubectl("-n", HOME, "rollout", "status", "deployment/stackspec-controller", "--timeout=180s")

    @classmethod
    def tearDownClass(cls):
        cls.lines.finish()
        for namespace in (NAMESPACE, OUTSIDE):
            kubectl("delete", "namespace", namespace, "--wait=false", check=False)
        for namespace in (NAMESPACE, OUTSIDE):
            kubectl("delete", "namespace", namespace, "--timeout=120s", "--ignore-not-found", check=False)
        kubectl("delete", "-k", str(ROOT / "manifests/default"), "--timeout=120s", check=False)

    def wait_gate(self, name, seen, stack=crm):
        return crm.wait(f"gate {name}: {seen}", lambda: gate_of(name, seen, stack))

    def test_10_a_wrong_secret_is_named(self):
        crm.apply("StackSpec", "crm", SPEC)
        self.wait_gate("SecretMissing", "Secret crm-db")
        self.wait_gate("SecretMissing", "Secret crm-redis")
        secret("crm-redis", url=f"redis://:{WORD}@redis.{OUTSIDE}.svc:6379/2")
        secret("crm-db", uri=database_url())
        self.wait_gate("SecretMissing", "key url of Secret crm-db")
        secret("crm-db", url=database_url() + "?schema=core")
        self.wait_gate("DatabaseUrl", "?schema=")
        secret("crm-db", url=database_url("wrong-password"))
        self.wait_gate("DatabaseReachable", "password authentication failed")
        self.assertEqual(crm.pods("server"), [])

    def test_20_it_is_installed_beside_the_other_tenant(self):
        type(self).neighbour = sql(NEIGHBOUR)
        secret("crm-db", url=database_url())
        self.assertEqual(redis("config get maxmemory-policy"), "noeviction")
        crm.wait_ready("v1.17.")
        names = crm.kubectl("get", "statefulsets,services,pvc", "-o", "name")
        self.assertNotIn("postgres", names)
        self.assertNotIn("redis", names)
        crm.fill(10)
        self.assertEqual(sql("select count(*) > 0 from core.workspace"), "t")
        self.assertGreater(int(redis("select 2", "dbsize")), 0)

    def test_30_another_stack_cannot_take_the_database(self):
        other = Stack(NAMESPACE, "other")
        other.apply("StackSpec", "other", SPEC)
        self.wait_gate("DatabaseOwner", f"{NAMESPACE}/crm", other)
        crm.kubectl("delete", "stk", "other", "--timeout=60s")

    def test_31_a_secret_that_names_another_database_is_noticed(self):
        sql("create database empty owner crm", "postgres")
        secret("crm-db", url=database_url(database="empty"))
        look_now()
        self.assertTrue(self.wait_gate("SameDatabase", "/empty")["wanted"].endswith("/shop"))
        secret("crm-db", url=database_url())
        look_now()
        crm.wait_ready("v1.17.")

    def test_40_what_others_built_on_its_tables_is_named_before_the_fence(self):
        sql("create view workspace_billing.busy as select count(*) from core.workspace")
        crm.patch(tag="v1.18.0")
        self.wait_gate("ForeignDependents", "workspace_billing.busy")
        self.assertEqual(crm.call("/"), 200)
        self.assertEqual(len(crm.pods("worker")), 1)

    def test_50_a_bad_release_is_put_back_in_the_shared_database(self):
        # A session of the other tenant, and its key in Redis, are there all the while.
        session = subprocess.Popen(
            [os.path.join(os.environ["STACKSPEC_TOOLS"], "kubectl"), "--kubeconfig",
             os.environ["STACKSPEC_TEST_KUBECONFIG"], "-n", OUTSIDE, "exec", "postgres", "--", "psql",
             "-U", "billing", "-d", "shop", "-c", "select pg_sleep(3600)"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sessions = "select count(*) from pg_stat_activity where usename = 'billing'"
        try:
            wait_for("the other tenant is at work", lambda: sql(sessions) == "1")
            before = crm.companies()
            sql("drop view workspace_billing.busy")
            crm.wait("refused", lambda: crm.condition("Stalled") == ("True", "RolledBack"), 600)
            self.assertEqual(sql(sessions), "1")
        finally:
            session.kill()
            session.wait()
        self.assertEqual(crm.companies(), before)
        self.assertTrue(crm.told()["version"].startswith("v1.17."))
        self.assertGreater(int(sql("select count(*) from pg_namespace where nspname like 'stackspec_old_%'")), 1)
        self.assertEqual(redis("select 1", "get of-another-tenant"), "kept")
        self.assertEqual(sql(NEIGHBOUR), self.neighbour)

    def test_60_a_good_one_goes_through_with_a_proven_backup(self):
        crm.call("/rest/companies", {"name": "Written after the rollback"})
        crm.patch(tag="v1.18.1")
        crm.wait_ready("v1.18.1")
        self.assertIn("Written after the rollback", crm.companies())
        backups = crm.get("stackbackups")["items"]
        self.assertEqual({each["status"]["proof"] for each in backups}, {"L4"})
        for each in backups:
            self.assertTrue(each["status"]["systemIdentifier"].endswith("/shop"), each["status"])
        self.assertEqual(sql(NEIGHBOUR), self.neighbour)

    def test_90_no_secret_got_out(self):
        kinds = "stk,stackbackups,events,pods,jobs,deployments,statefulsets,configmaps,services,networkpolicies"
        told = crm.kubectl("get", kinds, "-o", "yaml")
        told += kubectl("-n", HOME, "logs", "-l", "app.kubernetes.io/name=stackspec-controller", "--tail=-1")
        self.assertGreater(len(told), 10000)
        self.assertNotIn(WORD, told)
        self.assertEqual([line for line in self.lines.seen.copy() if WORD.encode() in line], [])
        self.assertTrue(self.lines.is_alive())


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2, failfast=True)
