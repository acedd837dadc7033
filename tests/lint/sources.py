#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules about the text of the repository. usage: sources.py links|places|licence|self-test

Prints FILE:LINE: what; what to do, and fails when there is any.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Hosts a text may point at. Nothing is fetched from them by a build or a test.
HOSTS = {
    "127.0.0.1", "localhost", "example.org", "example.com", "github.com", "kubernetes.io",
    "www.apache.org", "json-schema.org", "www.w3.org", "spdx.org", "www.postgresql.org",
    "nginx.org", "redis.io", "prometheus.io", "twenty.com", "www.rfc-editor.org",
}
MACHINE_PATH = re.compile(r"""(?<![\w.$})>-])/(?:work|root|Users|(?:home|mnt)/\w+)/[\w.]""")
URL = re.compile(r"\bhttps?://(?:[^\s/@\"'`<>]*@)?(\[[^\]]*\]|[A-Za-z0-9.-]+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE_ENDINGS = {".cpp", ".hpp", ".sh", ".py"}


def listed():
    """Every file of the checkout: what git knows and what it would take, or all without git."""
    try:
        names = subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        return sorted({ROOT / name for name in names if name and (ROOT / name).is_file()})
    except (OSError, subprocess.CalledProcessError):
        return sorted(path for path in ROOT.rglob("*")
                      if path.is_file() and not {"build", ".git"} & set(path.parts))


def text_of(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a fuzz corpus holds bytes on purpose


def check_links(path, text):
    """Relative links of Markdown files lead somewhere."""
    if path.suffix != ".md":
        return
    for number, line in enumerate(text.splitlines(), 1):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:|#", target):
                continue
            if not (path.parent / target.split("#")[0]).exists():
                yield number, f"link to {target} leads nowhere; correct it or remove it"


def check_places(path, text):
    """No path of one person's machine, no host that is not on the list."""
    if "corpus" in path.parts or path.name == "LICENSE":
        return
    for number, line in enumerate(text.splitlines(), 1):
        found = MACHINE_PATH.search(line)
        if found:
            yield number, f"{found.group().strip()}… is a path of one machine; use a relative one"
        for host in URL.findall(line):
            known = any(host == good or host.endswith("." + good) for good in HOSTS)
            known = known or not re.search(r"\.[a-z]{2,}$", host)
            known = known or host.endswith((".test", ".invalid", ".example", ".local", ".svc"))
            if not known:
                yield number, f"host {host} is not known; remove it or add it to tests/lint/sources.py"


def check_licence(path, text):
    """Sources say their licence in the first line (after #!)."""
    lines = text.splitlines()[:2]
    script = bool(lines) and lines[0].startswith("#!")
    if not lines or not (path.suffix in SOURCE_ENDINGS or script):
        return
    if "SPDX-License-Identifier: Apache-2.0" not in lines[1 if script and len(lines) > 1 else 0]:
        yield 1, "no licence line; begin with SPDX-License-Identifier: Apache-2.0"


CHECKS = {"links": check_links, "places": check_places, "licence": check_licence}

# check, file name, text, whether the check must object
SELF_TEST = [
    ("links", "a.md", "see [b](missing.md)", True),
    ("links", "a.md", "see [b](a.md#part) and [c](https://example.org)", False),
    ("places", "a.md", "run /" + "work/x/dev", True),
    ("places", "a.md", "data in $HOME/work/x and build/release", False),
    ("places", "a.cpp", "https:/" + "/packages.unknown-host.net/simple", True),
    ("places", "a.cpp", "http://127.0.0.1:4000/ https://crm.example.org/", False),
    ("licence", "a.cpp", "#pragma once\n", True),
    ("licence", "a.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n", False),
    ("licence", "tool", "#!/bin/sh\nset -e\n", True),
    ("licence", "a.txt", "words", False),
]


def self_test():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for check, name, text, objects in SELF_TEST:
            path = pathlib.Path(folder) / name
            path.write_text(text)
            if bool(list(CHECKS[check](path, text))) != objects:
                print(f"{check} on {text!r}: {'missed' if objects else 'objected'}")
                wrong += 1
            os.remove(path)
    return wrong


def main(check):
    if check == "self-test":
        return self_test()
    wrong = 0
    for path in listed():
        for line, what in CHECKS[check](path, text_of(path)):
            print(f"{path.relative_to(ROOT)}:{line}: {what}")
            wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1])))
