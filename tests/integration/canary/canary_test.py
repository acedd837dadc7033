#!/usr/bin/python3 -IB
# SPDX-License-Identifier: Apache-2.0
"""canary_test.py --program STACKSPEC: no secret in any output.

A stack whose Secrets hold canary strings is installed, upgraded, and refuses a release whose error
message says a secret. Then every canary is looked for, in plain, base64, percent-encoded and JSON
form, in all that the program says, writes and starts.
"""
import base64
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/fakes"))

from command_lines import CommandLines  # noqa: E402

PROGRAM = ""
GOOD, NEXT, BAD = "v1.15.4", "v1.16.6", "v1.17.4"

# Characters that base64, percent-encoding and JSON change. The password goes into a URL as it is.
CANARIES = {
    "APP_SECRET": 'canary-1/app+secret%&="x"0123456789',
    "ENCRYPTION_KEY": "canary-2/encryption+key?0123456789",
    "ACCESS_TOKEN_SECRET": "canary-3 access token 0123456789",
    "REFRESH_TOKEN_SECRET": "canary-4\\refresh\\token0123456789",
    "PG_DATABASE_PASSWORD": "canary5databasepassword0123456789",
    "accessKeyId": "CANARY6ACCESSKEYID012345",
    "secretAccessKey": "canary-7/s3/secret+access+key0123456789",
    "EMAIL_PASSWORD": "canary-8/smtp@password:0123456789",
    "OUTSIDE_TOKEN": "canary-9/fundraising+token0123456789",
    "SPOKEN": "canary-10/said+by+Twenty+itself0123456789",
}

STACK = """apiVersion: stackspec.dev/v1alpha1
kind: StackSpec
metadata: {name: crm}
spec:
  tag: %s
  storage:
    type: s3
    s3: {bucket: b, region: eu, endpoint: "http://127.0.0.1:9", credentialsSecretRef: {name: s3}}
  secretsRef: {name: keys}
  envFrom: [{secretRef: {name: smtp}}]
  fundraising: {version: v0.1.0, envFrom: [{secretRef: {name: outside}}]}
  upgrade: {soakSeconds: 1}
"""


def secrets_text():
    """The keys in two ways, as kubectl takes them: stringData and data."""
    def encoded(name):
        return base64.b64encode(CANARIES[name].encode()).decode()

    own = ("APP_SECRET", "ENCRYPTION_KEY", "ACCESS_TOKEN_SECRET", "REFRESH_TOKEN_SECRET",
           "PG_DATABASE_PASSWORD")
    secrets = {
        "keys": {"stringData": {name: CANARIES[name] for name in own}},
        "s3": {"data": {name: encoded(name) for name in ("accessKeyId", "secretAccessKey")}},
        "smtp": {"data": {name: encoded(name) for name in ("EMAIL_PASSWORD", "SPOKEN")}},
        "outside": {"stringData": {"OUTSIDE_TOKEN": CANARIES["OUTSIDE_TOKEN"]}},
    }
    return "---\n".join(json.dumps({"apiVersion": "v1", "kind": "Secret",
                                    "metadata": {"name": name}, **content}) + "\n"
                        for name, content in secrets.items())


def forms(value):
    """The value, and what it becomes on its way through JSON, URLs and base64."""
    raw = value.encode()
    plain = base64.b64encode(raw)
    found = {raw, json.dumps(value)[1:-1].encode(), urllib.parse.quote(value).encode(),
             urllib.parse.quote(value, safe="").encode(), urllib.parse.quote_plus(value).encode(),
             plain, plain.rstrip(b"="), base64.urlsafe_b64encode(raw), raw.hex().encode()}
    # Inside of other text its base64 begins at any of three places; the whole groups are the same.
    for lead in range(3):
        whole = (lead + len(raw)) // 3 * 4
        found.add(base64.b64encode(b"x" * lead + raw)[4 if lead else 0:whole])
    return found


def canaries_in(content):
    """Names of the canaries that the bytes hold."""
    return sorted(name for name, value in CANARIES.items()
                  if any(form in content for form in forms(value)))


def replace_file(path, text, mode=0o600):
    draft = path.with_name("." + path.name + ".draft")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.chmod(mode)
    os.replace(draft, path)


def make_work_folder():
    """Below a folder that every user can go through: PostgreSQL does not run as root."""
    for base in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"):
        path = pathlib.Path(base or "/tmp").resolve()
        if path.is_dir() and all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents)):
            work = pathlib.Path(tempfile.mkdtemp(prefix="stackspec-canary.", dir=path))
            work.chmod(0o711)
            return work
    raise RuntimeError("no folder for temporary files that every user can enter; set TMPDIR")


class Host:
    """The program over a folder of documents, and all that it says."""

    def __init__(self):
        self.work = make_work_folder()
        self.data, self.releases = self.work / "data", self.work / "releases"
        self.files, self.log = self.work / "files", self.work / "controller.log"
        self.controller, self.said = None, b""
        self.files.mkdir(mode=0o700)

    def make_releases(self):
        subprocess.run([ROOT / "tests/standin/make-releases", self.releases, GOOD, NEXT, BAD],
                       capture_output=True, check=True)
        for folder, _, _ in os.walk(self.releases):
            os.chmod(folder, 0o755)
        # Twenty's own error says a secret, as drivers do with the URLs they cannot reach.
        fault = {"failWorkspace": "all", "message": "no login with " + CANARIES["SPOKEN"]}
        (self.releases / BAD / "faults.json").write_text(json.dumps(fault))

    def start(self):
        command = [PROGRAM, "standalone", "--platform", "local", "--data", self.data, "--releases",
                   self.releases, "--stack", self.files, "--stop-on-exit", "--log-level", "debug"]
        with open(self.log, "ab") as log:
            self.controller = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                               stderr=log, start_new_session=True)
        self.wait_for("its HTTP address", (self.data / "http-address").exists)

    def run(self, *arguments):
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, check=False)
        self.said += done.stdout + done.stderr
        return done

    def status(self):
        done = self.run("status", "crm", "--data", self.data, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def get(self, path):
        host, port = (self.data / "http-address").read_text().strip().split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            self.said += body
            return answer.status, body.decode()
        finally:
            connection.close()

    def sign_up(self, url):
        body = json.dumps({"name": "Harbour Trust", "email": "ann@example.org"}).encode()
        with urllib.request.urlopen(urllib.request.Request(url + "/rest/signup", body)) as answer:
            answer.read()

    def wait_for(self, what, true, limit=30):
        end = time.monotonic() + limit
        while not true():
            if self.controller.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"not seen: {what}\n{self.log_tail()}")
            time.sleep(0.1)

    def log_tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])

    def go_to(self, tag):
        """Asks for a release and follows it to rest. True: it is Ready."""
        replace_file(self.files / "crm.yaml", STACK % tag)
        self.wait_for("the stack is stored",
                      lambda: self.status().get("spec", {}).get("tag") == tag)
        done = self.run("status", "crm", "--data", self.data, "-w", "--until", "rest",
                        "--timeout", 150)
        self.run("status", "crm", "--data", self.data)
        return done.returncode == 0

    def environments(self):
        """Of the stack's own processes."""
        for entry in pathlib.Path("/proc").iterdir():
            try:
                content = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if str(self.data).encode() in content:
                yield content

    def stop(self):
        if self.controller is not None and self.controller.poll() is None:
            self.controller.send_signal(signal.SIGTERM)
            try:
                self.controller.wait(60)
            except subprocess.TimeoutExpired:
                self.controller.kill()
                self.controller.wait()

    def clean(self):
        self.stop()
        for entry in pathlib.Path("/proc").iterdir():
            try:
                about = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if str(self.work).encode() in about and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                pass
        shutil.rmtree(self.work, ignore_errors=True)


def series(page):
    """The series of a metrics page, without those of a stack, which come and go with it."""
    names = (line.rsplit(" ", 1)[0] for line in page.splitlines() if not line.startswith("#"))
    return {name for name in names if name and 'namespace="' not in name}


class Canary(unittest.TestCase):
    """One run of the real program; each test looks at another thing that it left."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.host, cls.lines = Host(), CommandLines()
        cls.addClassCleanup(cls.host.clean)
        host = cls.host
        host.make_releases()
        cls.lines.start()
        cls.addClassCleanup(cls.lines.finish)
        replace_file(host.files / "open.yaml", secrets_text(), mode=0o644)
        host.start()
        host.wait_for("the refusal of the open file",
                      lambda: b"open.yaml" in host.log.read_bytes())
        cls.metrics_at_start = host.get("/metrics")
        cls.kept_out = cls.stored_kinds(host)
        (host.files / "open.yaml").unlink()
        replace_file(host.files / "secrets.yaml", secrets_text())
        cls.answers = [host.go_to(GOOD)]
        # Without a workspace Twenty's upgrade does nothing at all.
        host.sign_up(host.status()["status"]["url"])
        cls.versions = [host.status()["status"].get("version")]
        cls.health = {path: host.get(path)[0] for path in ("/healthz", "/readyz")}
        for tag in (NEXT, BAD):
            cls.answers.append(host.go_to(tag))
            cls.versions.append(host.status()["status"].get("version"))
        cls.end = host.status()["status"]
        cls.metrics_at_end = host.get("/metrics")
        cls.wrong_modes = cls.modes(host)
        cls.in_use = set(canaries_in(b"\0".join(host.environments())))
        host.stop()
        cls.lines.finish()

    @staticmethod
    def stored_kinds(host):
        with sqlite3.connect(f"file:{host.data}/objects.db?mode=ro", uri=True) as database:
            return {row[0] for row in database.execute("SELECT kind FROM objects")}

    @staticmethod
    def modes(host):
        """Files of the running system that hold a canary and that others may read."""
        wrong = []
        for path in (*host.data.rglob("*"), *host.files.iterdir()):
            # A journal may come and go between the listing and the look.
            try:
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077 and canaries_in(
                        path.read_bytes()):
                    wrong.append(f"{path.relative_to(host.work)} {status.st_mode & 0o777:o}")
            except FileNotFoundError:
                pass
        return wrong

    def test_the_run_was_what_it_should_be(self):
        self.assertEqual(self.answers, [True, True, False], self.host.log_tail())
        self.assertEqual(self.versions, [GOOD, NEXT, NEXT])
        self.assertEqual(self.end["latch"]["reason"], "RolledBack")
        self.assertEqual(self.in_use, set(CANARIES), "some canary is given to no process")

    def test_a_canary_is_found_in_every_form(self):
        for name, value in CANARIES.items():
            for text in (value, json.dumps({"a": value}), "http://u:" + urllib.parse.quote(value, ""),
                         *(base64.b64encode(("u:xyz"[:lead] + value + "!").encode()).decode()
                           for lead in range(3))):
                self.assertEqual(canaries_in(b"before " + text.encode() + b" after"), [name], text)

    def test_the_program_says_no_secret(self):
        self.assertGreater(len(self.host.said), 5000)
        self.assertIn(b'"level":"debug"', self.host.log.read_bytes())
        self.assertEqual(canaries_in(self.host.said), [])
        self.assertEqual(canaries_in(self.host.log.read_bytes()), [])

    def test_what_twenty_says_of_a_secret_is_redacted(self):
        spoken = CANARIES["SPOKEN"].encode()
        logs = [path for path in self.host.data.glob("stacks/*/tasks/*-migrate-*/log")
                if spoken in path.read_bytes()]
        self.assertTrue(logs, "the stand-in did not say its canary: this test shows nothing")
        self.assertIn("[redacted]", json.dumps(self.end))

    def test_no_file_of_the_data_folder_holds_a_secret(self):
        # The secret store is objects.db, looked at below. User data is what users wrote and what
        # PostgreSQL and Redis keep. SPOKEN alone may be in what Twenty itself wrote: its logs and
        # the results made of them, which others cannot read.
        looked = 0
        for path in self.host.data.rglob("*"):
            parts = path.relative_to(self.host.data).parts
            if not path.is_file() or path.name.startswith("objects.db"):
                continue
            looked += 1
            found = set(canaries_in(path.read_bytes()))
            if "tasks" in parts and path.name in ("log", "result.json") or "log" in parts:
                found.discard("SPOKEN")
            with self.subTest(path="/".join(parts)):
                self.assertEqual(found, set())
        self.assertGreater(looked, 100)

    def test_the_store_holds_secrets_in_secret_objects_only(self):
        for path in self.host.data.glob("objects.db*"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600, path.name)
        kinds = {}
        with sqlite3.connect(f"file:{self.host.data}/objects.db?mode=ro", uri=True) as database:
            rows = database.execute("SELECT kind, name, meta || content || status FROM objects")
            logged = database.execute("SELECT kind, rv, object FROM log")
            for kind, name, text in (*rows, *logged):
                kinds.setdefault(kind, set()).update(canaries_in(text.encode()))
                if kind != "Secret":
                    with self.subTest(kind=kind, name=name):
                        self.assertEqual(canaries_in(text.encode()), [])
        self.assertLessEqual({"Secret", "StackSpec", "Event"}, set(kinds))
        self.assertEqual(kinds["Secret"], set(CANARIES), "the canaries are not in use")

    def test_no_command_line_holds_a_secret(self):
        self.assertTrue(any(b"pg_dump" in line or b"pg_restore" in line for line in self.lines.seen),
                        "the samples missed the short processes")
        self.assertEqual([line for line in self.lines.seen if canaries_in(line)], [])

    def test_files_with_secrets_are_closed_to_others(self):
        allowed = re.compile(r".*/(tasks/[^/]+/log|log/[a-z]+\.log) 640$")
        self.assertEqual([path for path in self.wrong_modes if not allowed.match(path)], [])

    def test_a_secret_file_that_others_can_read_is_refused(self):
        self.assertLessEqual(self.kept_out, {"Event"}, "something was stored from it")
        line = next(line for line in self.host.log.read_text().splitlines() if "open.yaml" in line)
        self.assertIn("chmod 600", line)
        self.assertEqual(json.loads(line)["level"], "error")

    def test_health_is_answered(self):
        self.assertEqual(self.health, {"/healthz": 200, "/readyz": 200})

    def test_every_label_value_is_there_at_start(self):
        self.assertEqual([self.metrics_at_start[0], self.metrics_at_end[0]], [200, 200])
        start, end = (series(page) for _, page in (self.metrics_at_start, self.metrics_at_end))
        self.assertGreater(len(start), 100)
        self.assertEqual(sorted(end - start), [])


if __name__ == "__main__":
    position = sys.argv.index("--program")
    PROGRAM = os.path.abspath(sys.argv[position + 1])
    del sys.argv[position:position + 2]
    unittest.main(verbosity=2)
