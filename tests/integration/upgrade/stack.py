# SPDX-License-Identifier: Apache-2.0
"""One stack under test: its documents, its users' data, and an account of everything started."""
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import sqlite3
import subprocess
import threading

from harness import STACK, Failure, Front, Host, replace_file

COMPONENTS = ("postgres", "redis", "gateway", "server", "worker", "fundraising")
OFF = ("DISABLE_DB_MIGRATIONS", "DISABLE_CRON_JOBS_REGISTRATION")
JOURNEY = 100  # seconds, on a machine busy with other things

# Put into every release's entrypoint: one line for each start, written by the process itself.
AUDIT = r"""
printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$$" "${APP_VERSION:-}" "${STACKSPEC_TASK:-}" \
  "${DISABLE_DB_MIGRATIONS:-}" "${DISABLE_CRON_JOBS_REGISTRATION:-}" "$*" >>'%FILE%'
"""


class Start:
    """One line of the audit: a release's entrypoint was started."""

    def __init__(self, line):
        pid, self.version, self.task, migrations, crons, arguments = line.split("\t")
        self.pid, self.off, self.arguments = int(pid), (migrations, crons), arguments

    @property
    def what(self):
        """The task's name, or the component."""
        if self.task:
            # A task's script may run the entrypoint too; only the script itself is a start.
            return self.task if self.arguments.startswith("sh ") else ""
        return "worker" if "worker" in self.arguments else "server"


class Sampler(threading.Thread):
    """Looks at the record files and the processes they name all the time."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.stopped = host, threading.Event()
        self.wanted, self.pids, self.task_pids = [], {}, {}
        self.environments = {}  # (component, pid): the values of OFF in /proc/<pid>/environ

    def run(self):
        while not self.stopped.wait(0.05):
            self.look()

    def look(self):
        told = read_json(self.host.folder / "wanted/server.json")
        if told and told.get("replicas") and self.wanted[-1:] != [told["version"]]:
            self.wanted.append(told["version"])
        for component in COMPONENTS:
            pid = self.host.pid(component)
            if pid:
                self.pids.setdefault(component, set()).add(pid)
                if component in ("server", "worker"):
                    self.note_environment(component, pid)
        for record in self.host.folder.glob("tasks/*/record"):
            pid = pid_in(record)
            if pid:
                self.task_pids.setdefault(record.parent.name, set()).add(pid)

    def note_environment(self, component, pid):
        values = environment_of(pid)
        if "PG_DATABASE_URL" in values:
            self.environments[(component, pid)] = tuple(values.get(name) for name in OFF)

    def finish(self):
        self.stopped.set()
        self.join()
        return self


class Stack(Host):
    def __init__(self, program, tags, name):
        super().__init__(program, f"stackspec-{name}.")
        self.make_releases(tags)
        self.audit_file = self.work / "audit"
        self.audit_file.touch()
        self.audit_file.chmod(0o666)
        for entrypoint in self.releases.glob("v*/entrypoint.sh"):
            first, rest = entrypoint.read_text().split("\n", 1)
            audit = AUDIT.replace("%FILE%", str(self.audit_file))
            entrypoint.write_text(first + audit + rest)
        self.documents = self.work / "documents"
        self.documents.mkdir()
        self.file = self.documents / "crm.json"
        self.spec = {"tag": "v1.14", "storage": {"type": "local", "local": {"size": "1Gi"}},
                     "fundraising": {"version": "v0.1.0"}, "upgrade": {"soakSeconds": 1}}

    # ---- what a person does ----

    def write(self, **changes):
        self.spec.update(changes)
        self.put("StackSpec", STACK, self.spec, path=self.file)

    def write_annotated(self, annotations):
        self.put("StackSpec", STACK, self.spec, annotations, self.file)

    def put(self, kind, name, spec, annotations=None, path=None):
        document = {"apiVersion": "stackspec.dev/v1alpha1", "kind": kind,
                    "metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}
        replace_file(path or self.documents / f"{name}.json", json.dumps(document, indent=1))

    def start(self, limit=None):
        """`limit`: no process of the stack can write a file of more bytes."""
        self.launch(self.documents, limit and (
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))

    def kill(self):
        """SIGKILL of the controller, and of nothing else."""
        self.controller.kill()
        self.controller.wait()

    def install(self, tag, limit=None, **changes):
        self.write(tag=tag, **changes)
        self.start(limit)
        self.wait_for("the controller has stored the stack", self.is_stored)
        self.wait_ready(tag)
        self.front = Front(self.told()["url"])

    def upgrade(self, tag):
        self.write(tag=tag)
        self.wait_ready(tag)

    # ---- what the controller says ----

    def told(self):
        return self.status()["status"]

    def wait_told(self, what, true, limit=JOURNEY):
        def look():
            told = self.told()
            return told if true(told) else None
        try:
            return self.wait_for(what, look, limit)
        except Failure as failure:
            raise Failure(f"{failure}; status: {json.dumps(brief(self.told()))}\n"
                          + self.log_tail(30)) from failure

    def wait_ready(self, tag):
        """Ready at the release that `tag` means, nothing in flight."""
        return self.wait_told(f"Ready at {tag}", lambda told: is_at(told, tag))

    def gates(self):
        return {gate["gate"]: gate for gate in self.told().get("blockedBy", [])}

    def wait_gate(self, name, limit=60):
        return self.wait_for(f"blocked by {name}", lambda: self.gates().get(name), limit)

    def object(self, kind, name):
        """As stored; None when it is not."""
        path = f"file:{self.data}/objects.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as database:
            query = "select content, status from objects where kind = ? and name = ?"
            row = database.execute(query, (kind, name)).fetchone()
        return row and {"content": json.loads(row[0]), "status": json.loads(row[1]) or {}}

    def phase(self, kind, name):
        found = self.object(kind, name)
        return found["status"].get("phase", "") if found else ""

    def events(self):
        path = f"file:{self.data}/objects.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as database:
            rows = database.execute("select content from objects where kind = 'Event'").fetchall()
        return [json.loads(row[0]) for row in rows]

    # ---- what is there ----

    def pid(self, component):
        """Of the live process; 0 when there is none."""
        pid = pid_in(self.folder / f"run/{component}.record")
        return pid if pid and is_live(pid) else 0

    def roots(self, folder):
        """Processes that work in the folder and were started by none of those."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(entry / "cwd") == str(folder):
                    about = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
                    parents[int(entry.name)] = int(about[1])
        return [pid for pid, parent in parents.items() if parent not in parents]

    def port(self, name):
        return read_json(self.folder / "ports.json")[name]

    def starts(self):
        return [Start(line) for line in self.audit_file.read_text().splitlines()]

    def psql(self, application="upgrade-test"):
        """The command and environment of a psql on the stack's database. The server must run."""
        url = environment_of(self.pid("server"))["PG_DATABASE_URL"]
        return ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url], {**os.environ,
                                                              "PGAPPNAME": application}

    def sql(self, text):
        command, environment = self.psql()
        done = subprocess.run([*command, "-c", text], env=environment, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"{text}: {done.stderr}")
        return done.stdout.strip()

    def workspace_versions(self):
        answer = self.front.json("GET", "/rest/workspaces")
        return {row["version"] for row in answer["data"]["workspaces"]}

    def result(self, kind):
        """What the newest task of the kind wrote down."""
        found = sorted(self.folder.glob(f"tasks/*-{kind}-*/out/result.json"),
                       key=lambda path: path.stat().st_mtime)
        return read_json(found[-1])

    def fundraising(self, method):
        """POST starts a run, which holds the fence back; DELETE ends all runs."""
        front = Front(f"http://127.0.0.1:{self.port('fundraising')}")
        return front.json(method, "/runs", {"seconds": 600})

    # ---- users' data ----

    def write_data(self, companies=20):
        for name in ("Harbour Trust", "Meadow Fund"):
            self.front.json("POST", "/rest/signup", {"name": name, "email": "ann@example.org"})
        for number in range(companies):
            self.front.json("POST", "/rest/companies", {"name": f"Company {number:03}"})
        self.content = random.Random(20).randbytes(200_000)
        answer = self.front.json("POST", "/files?name=report.pdf", self.content)
        self.content_path = "/files/" + answer["data"]["file"]["path"]
        self.companies = self.front.companies()
        if len(self.companies) != companies:
            raise Failure(f"{len(self.companies)} companies came back, not {companies}")

    def write_record(self, name):
        self.front.json("POST", "/rest/companies", {"name": name})
        self.companies = self.front.companies()


def brief(told):
    return {key: told.get(key) for key in
            ("phase", "message", "version", "upgrade", "latch", "blockedBy", "history")}


def is_at(told, tag):
    version = told.get("version", "")
    return (told.get("phase") == "Ready" and not told.get("upgrade") and not told.get("blockedBy")
            and (version == tag or version.startswith(tag + ".")))


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def read_text(path):
    return path.read_text() if path.exists() else ""


def pid_in(record):
    try:
        found = re.match(r"\D*(\d+)", record.read_text())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def is_live(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = file.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
