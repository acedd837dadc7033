# SPDX-License-Identifier: Apache-2.0
"""Who else on a machine could read a secret: the command lines of all its processes."""
import os
import threading


class CommandLines(threading.Thread):
    """Every command line that any process has while it runs, those in pods too."""

    def __init__(self, every=0.01):
        super().__init__(daemon=True)
        self.every, self.stopped, self.seen = every, threading.Event(), set()

    def run(self):
        while not self.stopped.wait(self.every):
            for entry in os.listdir("/proc"):
                if not entry.isdigit():
                    continue
                try:
                    with open(f"/proc/{entry}/cmdline", "rb") as file:
                        self.seen.add(file.read())
                except OSError:
                    pass

    def finish(self):
        self.stopped.set()
        self.join()
