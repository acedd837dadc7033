# SPDX-License-Identifier: Apache-2.0
"""Log lines in the shape Twenty's framework gives them."""
import os
import sys
import time


def _line(level, context, text):
    now = time.localtime()
    hour = now.tm_hour % 12 or 12
    stamp = (f"{now.tm_mon:02}/{now.tm_mday:02}/{now.tm_year}, "
             f"{hour}:{now.tm_min:02}:{now.tm_sec:02} {'AM' if now.tm_hour < 12 else 'PM'}")
    where = f"[{context}] " if context else ""
    sys.stdout.write(f"[Nest] {os.getpid()}  - {stamp} {level:>7} {where}{text}\n")
    sys.stdout.flush()


def info(context, text):
    _line("LOG", context, text)


def warn(context, text):
    _line("WARN", context, text)


def error(context, text):
    _line("ERROR", context, text)


def plain(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
