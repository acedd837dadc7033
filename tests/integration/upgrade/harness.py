# SPDX-License-Identifier: Apache-2.0
"""A host under StackSpec for tests and the demo: the program, one stack called crm, its users.

Everything is real but Twenty itself (tests/standin/). What a test claims is read from processes,
files, the database and the stack's HTTP API, not from the controller's own words alone.
"""
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
STACK = "crm"


class Failure(Exception):
    """It cannot go on; the text says why."""


class Front:
    """The stack as its users reach it."""

    def __init__(self, url):
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            data = json.dumps(body) if isinstance(body, dict) else body
            connection.request(method, path, data)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None):
        status, text = self.send(method, path, body)
        if status not in (200, 201, 202):
            raise Failure(f"{method} {path} answered {status}: {text[:200]!r}")
        return json.loads(text)

    def companies(self):
        answer = self.json("GET", "/rest/companies?limit=1000")
        return sorted((row["id"], row["name"]) for row in answer["data"]["companies"])


class Watcher(threading.Thread):
    """A user who reloads the page all the time: how long, how often and with which answers it was
    away."""

    def __init__(self, front):
        super().__init__(daemon=True)
        self.front, self.stopped = front, threading.Event()
        self.answers, self.spans = set(), []

    def run(self):
        away = None
        while not self.stopped.wait(0.05):
            try:
                status = self.front.send("GET", "/")[0]
            except (OSError, http.client.HTTPException):
                status = 0
            self.answers.add(status)
            now = time.monotonic()
            if status != 200 and away is None:
                away = now
            if status == 200 and away is not None:
                self.add(away, now)
                away = None

    def add(self, begin, end):
        # While nginx changes over, old and new workers answer side by side for a moment.
        if self.spans and begin - self.spans[-1][1] < 0.5:
            begin = self.spans.pop()[0]
        self.spans.append((begin, end))

    @property
    def outages(self):
        return [end - begin for begin, end in self.spans]

    def finish(self):
        self.stopped.set()
        self.join()
        return self


class Host:
    """The controller's program, its folders, and what can be seen of the stack from outside."""

    def __init__(self, program, prefix):
        self.program = os.path.abspath(program)
        self.controller = None
        self.work = make_work_folder(prefix)
        self.data, self.releases = self.work / "data", self.work / "releases"
        self.log = self.work / "controller.log"

    # ---- the program ----

    def stackspec(self, *arguments):
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failure(f"stackspec {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def make_releases(self, tags):
        run = subprocess.run([ROOT / "tests/standin/make-releases", self.releases, *tags],
                             capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise Failure("make-releases: " + run.stderr)
        for folder, _, _ in os.walk(self.releases):
            os.chmod(folder, 0o755)

    def launch(self, source, before_exec=None):
        """Starts the controller over `source`, a file or folder of documents."""
        command = [self.program, "standalone", "--platform", "local", "--data", str(self.data),
                   "--releases", str(self.releases), "--stack", str(source), "--stop-on-exit"]
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C is ours to handle, in order.
            self.controller = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                               stderr=log, start_new_session=True,
                                               preexec_fn=before_exec)

    def status(self):
        return json.loads(self.stackspec("status", STACK, "--data", str(self.data), "-o", "json"))

    def is_stored(self):
        self.must_run()
        if not (self.data / "objects.db").exists():
            return False
        try:
            return bool(self.status())
        except Failure:
            return False

    def must_run(self):
        if self.controller.poll() is not None:
            raise Failure(f"the controller ended with {self.controller.returncode}; its log:\n"
                          + self.log_tail())

    def log_tail(self, lines=15):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_for(self, what, true, limit=90):
        """Polls until `true()` is, and returns what it said."""
        end = time.monotonic() + limit
        while not (answer := true()):
            self.must_run()
            if time.monotonic() > end:
                raise Failure(f"not within {limit} s: {what}")
            time.sleep(0.1)
        return answer

    def stop(self):
        if self.controller is None or self.controller.poll() is not None:
            return
        self.controller.send_signal(signal.SIGTERM)
        try:
            self.controller.wait(60)
        except subprocess.TimeoutExpired:
            self.controller.kill()
            self.controller.wait()

    # ---- seen from outside ----

    @property
    def folder(self):
        return self.data / "stacks" / f"default.{STACK}"

    def backups(self):
        """The manifests of the backups on storage, oldest first; `proven`: the proof is of exactly
        the dump that lies there."""
        found = []
        for path in self.folder.glob("backups/*/manifest.json"):
            manifest = json.loads(path.read_text())
            proof_path = path.with_name("proof.json")
            proof = json.loads(proof_path.read_text()) if proof_path.exists() else {}
            dump = path.with_name("database.dump")
            manifest["proven"] = (proof.get("level") == "L4"
                                  and proof.get("sha256") == manifest.get("sha256")
                                  and digest_of(dump) == manifest.get("sha256"))
            found.append(manifest)
        return sorted(found, key=lambda manifest: manifest["cutoffTime"] + manifest["id"])

    def leftovers(self):
        """Processes of ours that still run: what has the work folder in its command or folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                about = (entry / "cmdline").read_bytes().decode(errors="replace")
                about += " in " + os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(self.work) in about:
                found.append((int(entry.name), about.replace("\0", " ")[:200]))
        return found

    def clean(self):
        """Stops everything, removes the folders, and returns what had to be killed."""
        self.stop()
        left = self.leftovers()
        for pid, _ in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        shutil.rmtree(self.work, ignore_errors=True)
        return left


def replace_file(path, text):
    """As an editor does it: a new file over the old one."""
    draft = path.with_name("." + path.name + ".draft")
    draft.write_text(text)
    os.replace(draft, path)


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def make_work_folder(prefix):
    """Below a folder that every user can go through: PostgreSQL does not run as root."""
    for base in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"):
        path = pathlib.Path(base or "/tmp").resolve()
        parts = [path, *path.parents]
        if path.is_dir() and all(part.stat().st_mode & stat.S_IXOTH for part in parts):
            work = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=path))
            work.chmod(0o711)
            return work
    raise Failure("no folder for temporary files that every user can enter; set TMPDIR")
