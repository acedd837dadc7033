# SPDX-License-Identifier: Apache-2.0
"""As much of Redis' protocol as the stand-in needs."""
import socket
import urllib.parse


class Redis:
    """One connection; raises OSError when the server cannot be reached or is gone."""

    def __init__(self, url, timeout=5.0):
        parts = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection(
            (parts.hostname or "localhost", parts.port or 6379), timeout)
        self._file = self._socket.makefile("rb")
        if parts.password:
            user = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.call("AUTH", *user, urllib.parse.unquote(parts.password))
        database = parts.path.strip("/")
        if database and database != "0":
            self.call("SELECT", database)

    def call(self, *words):
        data = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self._socket.sendall(b"*%d\r\n" % len(data)
                             + b"".join(b"$%d\r\n%s\r\n" % (len(d), d) for d in data))
        return self._answer()

    def keys(self, pattern):
        found, cursor = [], b"0"
        while True:
            cursor, some = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", "500")
            found += some
            if cursor == b"0":
                return found

    def close(self):
        self._file.close()
        self._socket.close()

    def _answer(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError("redis: " + rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self._answer() for _ in range(int(rest))]
        return rest
