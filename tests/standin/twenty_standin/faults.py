# SPDX-License-Identifier: Apache-2.0
"""Faults a test orders, from the file STANDIN_FAULTS names or faults.json of the release folder."""
import json
import os
import signal
import time

from log import error


def load(release_folder):
    path = os.environ.get("STANDIN_FAULTS") or os.path.join(release_folder, "faults.json")
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def at(faults, place):
    """Does what was ordered for `place`: server, worker, upgrade, listed, core, workspace, migrate, cron."""
    if place in _places(faults, "hang"):
        while not os.path.exists(faults.get("until", "")):
            time.sleep(0.01)
    if place in _places(faults, "outOfMemory"):
        os.kill(os.getpid(), signal.SIGKILL)
    if place in _places(faults, "crash"):
        error("ExceptionHandler", f"crash ordered for {place}")
        raise SystemExit(int(faults.get("crashCode", 1)))
    if place == "workspace":
        time.sleep(float(faults.get("slowWorkspaceSeconds", 0)))
    if place in ("server", "worker"):
        time.sleep(float(faults.get("slowBootSeconds", 0)))


def fails_workspace(faults, number):
    wanted = faults.get("failWorkspace", [])
    if wanted == "all":
        return True
    return number in (wanted if isinstance(wanted, list) else [wanted])


def _places(faults, key):
    value = faults.get(key, [])
    return value if isinstance(value, list) else [value]
