#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""kube_bench.py PROGRAM WORLD [STACKS]: figures of `stackspec controller` on a real API server without
a node. kube_world plays what nodes do; one PostgreSQL, one Redis and one nginx stand for those of all
stacks, by a DNS of the bench's own that knows one address. Prints figures, judges nothing."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tests/cluster/cluster"
HOME, NAMESPACE, TAG = "stackspec-system", "bench", "v1.15.4"
REST, EDITS, STARTS, WAVES = 60, 30, 5, 4
WRITES = ("create", "update", "patch", "delete")


def say(text):
    print(text, flush=True)


def percentiles(seconds):
    ordered = sorted(1000 * each for each in seconds)
    return (f"p50 {statistics.median(ordered):.2f} ms, "
            f"p99 {ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]:.2f} ms")


# ---- what is around the controller ----

def serve_names():
    """Every name is 127.0.0.1."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        is_ipv4 = query[end - 4:end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x7f\0\0\1" if is_ipv4 else b""
        server.sendto(query[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, int(is_ipv4), 0, 0)
                      + query[12:end] + answer, client)


class Around:
    """Processes that live as long as the bench."""

    def __init__(self, world):
        self.world, self.running, self.connections = world, [], []
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="stackspec-kube-bench."))
        self.work.chmod(0o755)

    def start(self, *command, **more):
        self.running.append(subprocess.Popen(command, **more))
        return self.running[-1]

    def start_all(self):
        resolver = self.work / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\noptions timeout:2\n")
        subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)
        self.start(sys.executable, __file__, "--names")
        self.start("redis-server", "--save", "", "--port", "6379", "--maxmemory-policy", "noeviction",
                   "--maxclients", "4000", stdout=subprocess.DEVNULL)
        self.start_nginx()
        self.start_worker()
        self.start_postgres()
        self.kubectl("create", "namespace", HOME)
        self.kubectl("create", "namespace", NAMESPACE)
        self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        for crd in ("stackspecs", "stackbackups", "stackrestores"):
            # `wait --for=condition` ends at once when there are no conditions yet.
            self.kubectl("wait", f"crd/{crd}.stackspec.dev", "--timeout=120s",
                         "--for=jsonpath={.status.acceptedNames.kind}")
        # It would make pods that no node runs; kube_world does it all.
        os.kill(int((pathlib.Path(os.environ["CLUSTER_DIR"]) / "controller-manager.pid").read_text()),
                signal.SIGTERM)

    def start_postgres(self):
        programs = max(pathlib.Path("/usr/lib/postgresql").iterdir()) / "bin"
        folder = self.work / "postgres"
        folder.mkdir()
        shutil.chown(folder, "nobody", "nogroup")
        as_nobody = {"user": "nobody", "group": "nogroup", "cwd": folder}
        subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "-N",
                        "--no-sync"], check=True, stdout=subprocess.DEVNULL, **as_nobody)
        self.start(str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-F",
                   "-c", "max_connections=2000", "-c", "listen_addresses=127.0.0.1", stderr=subprocess.DEVNULL,
                   **as_nobody)
        url = f"-h {folder} -U postgres -d postgres -v ON_ERROR_STOP=1 -q".split()
        wait_for("PostgreSQL", lambda: subprocess.run(
            ["psql", *url, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0)
        subprocess.run(["psql", *url, "-c", "create role twenty login superuser", "-c",
                        'create database "default" owner twenty'], check=True)
        releases = self.work / "releases"
        subprocess.run([ROOT / "tests/standin/make-releases", releases, TAG], check=True,
                       stdout=subprocess.DEVNULL)
        release = releases / TAG
        environment = dict(line.split("=", 1) for line in (release / "image.env").read_text().splitlines())
        environment |= {"PATH": f"{release}/bin:/usr/bin:/bin", "APP_SECRET": "none", "STORAGE_LOCAL_PATH":
                        str(self.work / "files"), "PG_DATABASE_URL": "postgres://twenty@127.0.0.1:5432/default",
                        "REDIS_URL": "redis://127.0.0.1:6379", "DISABLE_CRON_JOBS_REGISTRATION": "true"}
        made = subprocess.run([release / "entrypoint.sh", "true"], env=environment, text=True,
                              cwd=release / "app/packages/twenty-server", capture_output=True)
        if made.returncode != 0:
            sys.exit("kube_bench: no database: " + made.stdout + made.stderr)

    def start_nginx(self):
        file = self.work / "nginx.conf"
        file.write_text(f"""daemon off; worker_processes 1; pid {self.work}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1000; }}
http {{ access_log off; server {{ listen 127.0.0.1:4000; listen 127.0.0.1:4002; default_type application/json;
  location / {{ return 200 '{{"data":{{"__typename":"Query"}}}}'; }} }} }}
""")
        self.start("nginx", "-c", str(file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_worker(self):
        """A worker is whoever says so to Redis."""
        connection = wait_for("Redis", lambda: attempt(
            lambda: socket.create_connection(("127.0.0.1", 6379)), OSError))
        connection.sendall(b"CLIENT SETNAME bull:bench\r\n")
        connection.recv(100)
        self.connections.append(connection)

    def play(self):
        self.start(self.world, "play", stdin=subprocess.PIPE, env=self.helpers())

    @staticmethod
    def helpers():
        """The cluster's own administrator, whom the audit log leaves out."""
        return os.environ | {"KUBECONFIG": os.environ["CLUSTER_DIR"] + "/cluster.conf"}

    def ask(self, *words):
        done = subprocess.run([self.world, *map(str, words)], env=self.helpers(), check=True, text=True,
                              stdout=subprocess.PIPE, timeout=3600)
        return done.stdout.split("\n")[:-1]

    def kubectl(self, *arguments):
        tool = pathlib.Path(os.environ["STACKSPEC_TOOLS"]) / "kubectl"
        return subprocess.run([tool, *arguments], check=True, text=True, env=self.helpers(),
                              stdout=subprocess.PIPE).stdout

    def stop(self):
        for process in reversed(self.running):
            # nginx must end its own; PostgreSQL would wait for its clients.
            process.send_signal(signal.SIGINT if "postgres" in str(process.args[0]) else signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.work, ignore_errors=True)


def attempt(act, *expected):
    with contextlib.suppress(*expected):
        return act()
    return None


def wait_for(what, true, seconds=120):
    end = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > end:
            sys.exit(f"kube_bench: not within {seconds} s: {what}")
        time.sleep(0.02)
    return answer


# ---- the controller ----

class Controller:
    def __init__(self, program, work, name="controller"):
        self.log = work / f"{name}.log"
        with open(self.log, "w") as log:
            self.began = time.time()
            self.process = subprocess.Popen(
                [program, "controller", "--kubeconfig", os.environ["KUBECONFIG"], "--namespace", HOME],
                stdout=log, stderr=log)

    def wait_log(self, text):
        return wait_for(f"{text} in {self.log}", lambda: text in self.log.read_text(), 60)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in status.splitlines())
        return {name: int(found[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "RssFile", "VmHWM")}

    def say_memory(self, what):
        memory = self.memory()
        say(f"{what}: resident {memory['VmRSS']:.1f} MiB (of it our own {memory['RssAnon']:.1f}, "
            f"files {memory['RssFile']:.1f}; most so far {memory['VmHWM']:.1f})")


# ---- what the API server noted ----

class Audit:
    """Requests of the controller; the world's are not noted."""

    def __init__(self):
        self.path = os.environ["STACKSPEC_TEST_AUDIT_LOG"]
        self.position = 0

    def skip(self):
        self.position = os.path.getsize(self.path)

    def more(self):
        with open(self.path, "rb") as log:
            log.seek(self.position)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self.position += len(line)
                event = json.loads(line)
                place = event.get("objectRef", {})
                at = datetime.datetime.fromisoformat(event["requestReceivedTimestamp"].replace("Z", "+00:00"))
                yield (at.timestamp(), event["verb"], place.get("resource", ""), place.get("name", ""),
                       event["stage"])


def children(events, stack):
    return [at for at, verb, resource, name, _ in events if verb in WRITES and name.startswith(stack)
            and resource not in ("stackspecs", "events", "leases")]


def latencies(around, audit, lines):
    """Of each line `stack sent seen`: the first child write after it, and after a bare watcher saw it."""
    time.sleep(1)
    events = list(audit.more())
    bare, whole, added = [], [], []
    for line in lines:
        stack, sent, seen = line.split()
        after = [at for at in children(events, stack) if at >= float(sent)]
        if not after:
            say(f"kube_bench: no child of {stack} was written")
            continue
        bare.append(float(seen) - float(sent))
        whole.append(min(after) - float(sent))
        added.append(min(after) - float(seen))
    return f"{percentiles(whole)}; bare watcher {percentiles(bare)}; added {percentiles(added)}"


# ---- the story ----

class Bench:
    def __init__(self, options):
        self.options, self.around, self.audit = options, Around(options.world), Audit()
        self.controller = None

    def start(self, name="controller"):
        return Controller(self.options.program, self.around.work, name)

    def stacks(self, count):
        """Figures that are taken with one stack and with many."""
        self.say_latency(count)
        self.say_rest(count)
        self.say_starts(count)

    def say_latency(self, count):
        self.audit.skip()
        prefix, stacks = ("s", 1) if count == 1 else ("t0", min(count // WAVES, EDITS))
        lines = self.around.ask("edit", prefix, stacks, EDITS)
        say(f"{count} stacks, edit -> first child write: {latencies(self.around, self.audit, lines)}")
        self.audit.skip()
        lines = []
        for number in range(10):
            lines += self.around.ask("create", f"n{count}x{number}y", 1)[:1]
        say(f"{count} stacks, new stack -> first child write: {latencies(self.around, self.audit, lines)}")

    def say_rest(self, count):
        time.sleep(15)
        self.audit.skip()
        time.sleep(REST)
        events = [event for event in self.audit.more() if event[2] != "leases"]
        watches = [event for event in events if event[1] == "watch"]
        others = [event for event in events if event[1] != "watch"]
        self.controller.say_memory(f"{count} stacks, settled")
        settled = self.around.ask("edit", "s", 1, 1)
        say(f"{count} stacks at rest for {REST} s: {len(others)} requests, {len(watches)} watches opened or "
            f"ended; alive afterwards: {'yes' if settled else 'no'}")
        for event in others[:10]:
            say(f"  {event}")

    def say_starts(self, count):
        lease, child = [], []
        for _ in range(STARTS):
            self.controller.end()
            self.around.ask("touch", "s0000")
            self.audit.skip()
            self.controller = self.start()
            events = []

            def written():
                events.extend(self.audit.more())
                return children(events, "s0000")
            child.append(wait_for("first child write", written)[0] - self.controller.began)
            lease.append(min(at for at, verb, resource, *_ in events
                             if resource == "leases" and verb in WRITES) - self.controller.began)
            self.settle()
        say(f"{count} stacks, start -> Lease written: {percentiles(lease)}; "
            f"-> first child write: {percentiles(child)} ({STARTS} starts)")
        time.sleep(60)  # Every stack is looked at once.
        self.controller.say_memory(f"{count} stacks, found at its start, settled")

    def settle(self):
        def all_ready():
            told = self.around.kubectl("-n", NAMESPACE, "get", "stk", "s0000", "-o", "json")
            stack = json.loads(told)
            status = stack.get("status", {})
            return (status.get("phase") == "Ready" and "upgrade" not in status
                    and status.get("observedGeneration") == stack["metadata"]["generation"])
        wait_for("s0000 is settled", all_ready)

    def say_handovers(self):
        taken = []
        for turn in range(5):
            standby = self.start(f"standby-{turn}")
            standby.wait_log("controller started")
            time.sleep(2)
            ended = time.time()
            self.controller.process.send_signal(signal.SIGTERM)
            wait_for("standby leads", lambda: '"leading"' in standby.log.read_text(), 60)
            taken.append(time.time() - ended)
            self.controller.process.wait(60)
            self.controller = standby
        say(f"SIGTERM -> standby leads: {percentiles(taken)} (5 handovers)")

    def run_main(self):
        self.around.start_all()
        self.around.play()
        # One stack for the recording, to be written again by a bare writer.
        recorder = self.around.start(self.options.world, "record", "s0000", self.options.recording, text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.around.helpers())
        recorder.stdout.readline()
        self.controller = self.start()
        self.controller.wait_log("leading")
        self.around.ask("create", "s", 1)
        time.sleep(3)
        recorder.stdin.close()
        say(f"writes of a new stack and its world: {recorder.stdout.readline().strip()}")
        self.stacks(1)
        self.say_handovers()
        self.say_new_stacks()
        self.stacks(self.options.stacks)

    def say_new_stacks(self):
        """The controller and the bare writer in turns, so that both have the same machine."""
        count = self.options.stacks // WAVES
        ours, bare = [], []
        for wave in range(WAVES):
            ours.append(float(self.around.ask("create", f"t{wave}", count)[-1]))
            bare.append(self.ask_bare(wave * count, count))
        each = ", ".join(f"{one / other:.2f}" for one, other in zip(ours, bare))
        say(f"{WAVES * count} new stacks settled: {sum(ours):.1f} s; the same writes by a bare writer: "
            f"{sum(bare):.1f} s; ratio {sum(ours) / sum(bare):.2f} ({WAVES} turns: {each})")
        self.controller.say_memory(f"{self.options.stacks} stacks, just settled")

    def ask_bare(self, first, count):
        self.options.turn.write_text(f"{first} {count}")
        return float(self.options.answer.read_text())

    def run_bare(self):
        """On an API server of its own, which others watch too."""
        self.around.start_all()
        self.around.start(self.options.world, "watch", stdin=subprocess.PIPE, env=self.around.helpers())
        while turn := self.options.turn.read_text():
            first, count = turn.split()
            self.options.answer.write_text(self.around.ask("replay", self.options.recording, first, count)[0])


def outside(options):
    with tempfile.TemporaryDirectory(prefix="stackspec-kube-bench.") as folder:
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env=STACKSPEC_TOOLS"]
        pipes = [f"{folder}/{pipe}" for pipe in ("turn", "answer")]
        for pipe in pipes:
            os.mkfifo(pipe)

        def start(part):
            return subprocess.Popen([
                *as_root, CLUSTER, "run", "--no-node", "unshare", "--mount", "--propagation", "private",
                sys.executable, "-B", __file__, options.program, options.world, str(options.stacks),
                "--part", part, "--folder", folder])

        parts = [start("bare"), start("main")]
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        # Whoever waits for the one that has ended finds the end of its pipe.
        while any(part.poll() is None for part in parts):
            for pipe in pipes:
                os.close(os.open(pipe, os.O_RDWR))
            time.sleep(0.1)
        if any(part.returncode != 0 for part in parts):
            sys.exit("kube_bench: a part of it failed")


def main():
    if "--names" in sys.argv:
        serve_names()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("world")
    parser.add_argument("stacks", type=int, nargs="?", default=1000)
    parser.add_argument("--part", choices=["main", "bare"])
    parser.add_argument("--folder", type=pathlib.Path, help="what the two parts share")
    options = parser.parse_args()
    if options.stacks < WAVES:
        parser.error(f"STACKS: want at least {WAVES}, which are made in turns with the bare writer")
    options.program = str(pathlib.Path(options.program).resolve())
    options.world = str(pathlib.Path(options.world).resolve())
    if not options.part:
        outside(options)
        return
    options.recording = str(options.folder / "recording")
    options.turn, options.answer = options.folder / "turn", options.folder / "answer"
    bench = Bench(options)
    try:
        if options.part == "main":
            bench.run_main()
        else:
            bench.run_bare()
    finally:
        if bench.controller:
            bench.controller.process.kill()
        bench.around.stop()


if __name__ == "__main__":
    main()
