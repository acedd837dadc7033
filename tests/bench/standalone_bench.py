#!/usr/bin/env -S /usr/bin/python3 -IB
# SPDX-License-Identifier: Apache-2.0
"""standalone_bench.py PROGRAM: figures of `stackspec standalone` with one real stack: its start, its
rest, and whose an outage is. Prints figures, judges nothing."""
import contextlib
import os
import pathlib
import sqlite3
import sys
import threading
import time
from http.client import HTTPException

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration/upgrade"))
from harness import Front, Watcher  # noqa: E402
from stack import Stack, is_live, pid_in, read_text  # noqa: E402

REST = 60  # seconds


def first_line(stack, text, since):
    """Milliseconds from `since` to the first log line with the text."""
    while text not in read_text(stack.log):
        stack.must_run()
        time.sleep(0.001)
    return 1000 * (time.monotonic() - since)


def resource_version(stack):
    path = f"file:{stack.data}/objects.db?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
        return database.execute("select rv from counter").fetchone()[0]


def processor_ms(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon") or line.startswith("VmRSS"):
            name, value = line.split(":")
            yield f"{name} {int(value.split()[0]) / 1024:.1f} MiB"


class Account(threading.Thread):
    """While users are away: is a task at work, does a component start or end, or is it only us?"""

    def __init__(self, stack, watcher):
        super().__init__(daemon=True)
        self.stack, self.watcher, self.stopped = stack, watcher, threading.Event()
        self.samples = {"tasks": 0, "Twenty starts or ends": 0, "ours": 0}

    def run(self):
        while not self.stopped.wait(0.01):
            if self.watcher.answers and self.is_away():
                self.samples[self.what()] += 1

    def is_away(self):
        try:
            return self.stack.front.send("GET", "/")[0] != 200
        except (OSError, HTTPException):
            return True

    def what(self):
        for record in self.stack.folder.glob("tasks/*/record"):
            pid = pid_in(record)
            if pid and is_live(pid) and not (record.parent / "out/exit").exists():
                return "tasks"
        # Up and answering, or down: at rest. Anything between is a start or an end.
        for component in ("server", "worker"):
            told = self.stack.folder / f"wanted/{component}.json"
            wanted = '"replicas":0' not in read_text(told).replace(" ", "")
            if bool(self.stack.pid(component)) != wanted:
                return "Twenty starts or ends"
        if self.stack.pid("server") and not self.answers():
            return "Twenty starts or ends"
        return "ours"

    def answers(self):
        try:
            server = Front(f"http://127.0.0.1:{self.stack.port('server')}")
            return server.send("GET", "/healthz")[0] == 200
        except (OSError, HTTPException):
            return False


def main():
    stack = Stack(sys.argv[1], ["v1.15.4", "v1.16.6", "v1.17.4"], "bench")
    try:
        stack.write(tag="v1.15.4")
        began = time.monotonic()
        stack.start()
        for text in ("controller started", "first action"):
            line = {"first action": '"message":"action"'}.get(text, text)
            print(f"start -> {text}: {first_line(stack, line, began):.0f} ms")
        stack.wait_for("the controller has stored the stack", stack.is_stored)
        stack.wait_ready("v1.15.4")
        stack.front = Front(stack.told()["url"])
        stack.write_data()

        time.sleep(5)
        pid = stack.controller.pid
        before, spent = resource_version(stack), processor_ms(pid)
        time.sleep(REST)
        writes = resource_version(stack) - before
        print(f"at rest: {', '.join(resident_mib(pid))}; {writes} writes in {REST} s; "
              f"{(processor_ms(pid) - spent) * 60 / REST:.0f} ms of processor a minute")

        watcher = Watcher(stack.front)
        account = Account(stack, watcher)
        watcher.start()
        account.start()
        stack.upgrade("v1.17.4")
        account.stopped.set()
        account.join()
        watcher.finish()
        total = sum(account.samples.values()) or 1
        shares = [f"{name} {100 * count / total:.0f} %" for name, count in account.samples.items()]
        outages = [f"{each:.1f} s" for each in watcher.outages]
        print(f"outage of two hops: {', '.join(outages)}: {', '.join(shares)}")
    finally:
        stack.clean()


if __name__ == "__main__":
    main()
