# SPDX-License-Identifier: Apache-2.0
"""The server: health, a login query that really reads the tables, records and files."""
import hashlib
import json
import os
import queue
import re
import signal
import socket
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

import commands
import database
import faults
import release
import worker
from log import error, info
from resp import Redis

_RECORDS = {"companies": "company", "people": "person", "opportunities": "opportunity"}
_LIMIT = 50 * 1024 * 1024


class Failure(Exception):
    def __init__(self, status, message, code=""):
        super().__init__(message)
        self.status, self.code = status, code


class Pool:
    """Idle connections are kept, as a real server does: a fence finds them."""

    def __init__(self, first):
        self._idle = queue.SimpleQueue()
        self._idle.put(first)

    def run(self, work):
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = database.connect()
        try:
            return work(connection)
        finally:
            if connection.closed or self._idle.qsize() >= 4:
                connection.close()
            else:
                self._idle.put(connection)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, this, pool):
        self.this, self.pool = this, pool
        self.flags = {}
        self.storage = os.path.realpath(os.environ.get("STORAGE_LOCAL_PATH") or ".local-storage")
        super().__init__(("0.0.0.0", port), Handler)
        self.active, self.idle = 0, threading.Condition()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        self._serve(_GET)

    def do_POST(self):
        self._serve(_POST)

    def log_message(self, *_):
        pass

    def body(self):
        return self._body

    def json_body(self):
        try:
            value = json.loads(self._body or b"{}")
        except ValueError:
            raise Failure(400, "the body is not JSON") from None
        if not isinstance(value, dict):
            raise Failure(400, "the body is not a JSON object")
        return value

    def _serve(self, routes):
        with self.server.idle:
            self.server.active += 1
        try:
            self._answer(routes)
        finally:
            with self.server.idle:
                self.server.active -= 1
                self.server.idle.notify_all()

    def _answer(self, routes):
        length = int(self.headers.get("Content-Length") or 0)
        if length > _LIMIT:
            self.close_connection = True
            return self._send(413, {"error": "too large"})
        self._body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        if self.server.this.faults.get("brokenPages") and not url.path.startswith("/healthz"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        try:
            return self._send(*self._route(routes, url))
        except Failure as failure:
            extra = {"code": failure.code} if failure.code else {}
            return self._send(failure.status, {"errors": [{"message": str(failure), **extra}]})
        except psycopg2.Error as failure:
            text = (failure.diag.message_primary or str(failure)).strip()
            error("ExceptionsHandler", f"QueryFailedError: {text}\n  code: '{failure.pgcode}'")
            return self._send(500, {"errors": [{"message": text, "code": failure.pgcode}]})

    def _route(self, routes, url):
        for pattern, handle in routes:
            found = re.fullmatch(pattern, url.path)
            if found:
                answer = handle(self, urllib.parse.parse_qs(url.query), *found.groups())
                return answer if isinstance(answer, tuple) else (200, answer)
        raise Failure(404, f"Cannot {self.command} {url.path}")

    def _send(self, status, value, kind="application/json"):
        data = value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if self.headers.get("x-request-id"):
            self.send_header("x-request-id", self.headers["x-request-id"])
        self.end_headers()
        self.wfile.write(data)


def _page(handler, _query):
    this = handler.server.this
    return 200, (f"<!doctype html><html><head><title>Twenty</title></head><body><h1>Twenty "
                 f"{this.code_version}</h1></body></html>\n").encode(), "text/html; charset=utf-8"


def _health(*_):
    return {"status": "ok", "info": {}, "error": {}, "details": {}}


def _health_of(handler, _query, part):
    if handler.server.this.code >= (2, 0):
        raise Failure(404, f"Cannot GET /healthz/{part}")
    if part not in _PARTS:
        raise Failure(400, f"unknown indicator {part}")
    try:
        up = _PARTS[part](handler.server)
    except (psycopg2.Error, OSError):
        up = False
    word = "up" if up else "down"
    return (200 if up else 503), {"status": "ok" if up else "error", "details": {part: {"status": word}}}


def _worker_up(_server):
    redis = Redis(os.environ["REDIS_URL"])
    try:
        return f"name={worker.CLIENT} ".encode() in redis.call("CLIENT", "LIST")
    finally:
        redis.close()


def _redis_up(_server):
    redis = Redis(os.environ["REDIS_URL"])
    try:
        return redis.call("PING") == b"PONG"
    finally:
        redis.close()


def _app_up(server):
    rows = server.pool.run(lambda c: database.select(
        c, 'SELECT "version" FROM "core"."workspace" WHERE "activationStatus"::text IN '
        "('ACTIVE', 'SUSPENDED')"))
    return all(release.minor_of(version) == server.this.code for version, in rows)


_PARTS = {"database": lambda s: s.pool.run(lambda c: database.select(c, "SELECT 1")),
          "redis": _redis_up, "worker": _worker_up, "connectedAccount": lambda _: True,
          "app": _app_up}


def _graphql(handler, _query):
    this = handler.server.this
    if this.faults.get("brokenQuery"):
        raise Failure(500, "column WorkspaceEntity.orderedFault does not exist", "42703")
    workspaces = handler.server.pool.run(lambda c: _login(c, this))
    return {"data": {"__typename": "Query", "currentWorkspaces": workspaces}}


def _login(connection, this):
    """Reads what the release expects, in every workspace: an older schema answers 42703 or 42P01."""
    rows = database.select(connection, 'SELECT "id"::text, "displayName" FROM "core"."workspace" '
                                       "WHERE \"activationStatus\"::text IN ('ACTIVE', 'SUSPENDED')")
    for sql in release.login_queries(this.code):
        if "{s}" not in sql:
            database.select(connection, sql)
            continue
        for workspace, _ in rows:
            schema = database.quoted(database.schema_of(workspace))
            database.select(connection, sql.replace("{s}", schema))
    return [{"id": workspace, "displayName": name} for workspace, name in rows]


def _signup(handler, _query):
    body, this = handler.json_body(), handler.server.this
    name = str(body.get("name", "Acme"))
    workspace = handler.server.pool.run(lambda c: database.create_workspace(
        c, this.code, name, str(body.get("email", "tim@apple.dev")), this.app_version,
        body.get("activate", True)))
    return 201, {"data": {"workspace": {"id": workspace, "displayName": name,
                                        "schema": database.schema_of(workspace)}}}


def _workspace_of(handler, connection):
    wanted = handler.headers.get("x-workspace-id")
    rows = database.select(connection, 'SELECT "id"::text FROM "core"."workspace" WHERE '
                           "\"activationStatus\"::text = 'ACTIVE' AND (%s::text IS NULL OR "
                           '"id"::text = %s) ORDER BY "createdAt", "id" LIMIT 1', (wanted, wanted))
    if not rows:
        raise Failure(404, "no such active workspace")
    return rows[0][0]


def _table(handler, connection, plural):
    schema = database.schema_of(_workspace_of(handler, connection))
    return f"{database.quoted(schema)}.{database.quoted(_RECORDS[plural])}"


def _list(handler, query, plural):
    limit = min(int(query.get("limit", ["60"])[0]), 1000)

    def work(connection):
        table = _table(handler, connection, plural)
        rows = database.select(connection, f'SELECT "id"::text, "name", "createdAt" FROM {table} '
                                           'ORDER BY "createdAt", "id" LIMIT %s', (limit,))
        return rows, database.select(connection, f"SELECT count(*) FROM {table}")[0][0]
    rows, count = handler.server.pool.run(work)
    return {"data": {plural: [{"id": i, "name": n, "createdAt": t} for i, n, t in rows]},
            "totalCount": count}


def _add(handler, _query, plural):
    name = handler.json_body().get("name")
    if not isinstance(name, str):
        raise Failure(400, "name is required")
    row = handler.server.pool.run(lambda c: database.select(
        c, f'INSERT INTO {_table(handler, c, plural)} ("name") VALUES (%s) RETURNING "id"::text',
        (name,)))
    return 201, {"data": {_RECORDS[plural]: {"id": row[0][0], "name": name}}}


def _workspaces(handler, _query):
    """With the feature flags this process has cached: changed rows show after flush and restart."""
    server = handler.server

    def work(connection):
        version = ('"version"' if database.has_column(connection, "core", "workspace", "version")
                   else "NULL")
        return database.select(connection, 'SELECT "id"::text, "displayName", '
                               f'"activationStatus"::text, {version} FROM "core"."workspace" '
                               'ORDER BY "createdAt", "id"')
    rows = server.pool.run(work)
    return {"data": {"workspaces": [
        {"id": i, "displayName": n, "activationStatus": a, "version": v, "flags": _flags(server, i)}
        for i, n, a, v in rows]}}


def _flags(server, workspace):
    if workspace not in server.flags:
        server.flags[workspace] = dict(server.pool.run(lambda c: database.select(
            c, 'SELECT "key", "value" FROM "core"."featureFlag" WHERE "workspaceId" = %s',
            (workspace,))))
    return server.flags[workspace]


def _job(handler, _query):
    name = str(handler.json_body().get("name", "job"))
    workspace = handler.server.pool.run(lambda c: _workspace_of(handler, c))
    redis = Redis(os.environ["REDIS_URL"])
    redis.call("RPUSH", worker.QUEUE,
               json.dumps({"schema": database.schema_of(workspace), "name": name}))
    redis.close()
    return 202, {"data": {"queued": name}}


def _upload(handler, query):
    if os.environ.get("STORAGE_TYPE", "local").lower().replace("_", "") == "s3":
        raise Failure(501, "the stand-in has no S3 client")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", query.get("name", ["file"])[0]).lstrip(".") or "file"
    data = handler.body()
    digest = hashlib.sha256(data).hexdigest()

    def work(connection):
        workspace = _workspace_of(handler, connection)
        path = f"workspace-{workspace}/attachment/{digest[:16]}-{name}"
        _store(os.path.join(handler.server.storage, path), data)
        database.execute(connection, 'INSERT INTO "core"."file" ("workspaceId", "fullPath", "size", '
                         '"sha256") VALUES (%s, %s, %s, %s) ON CONFLICT ("fullPath") DO NOTHING',
                         (workspace, path, len(data), digest))
        return path
    path = handler.server.pool.run(work)
    return 201, {"data": {"file": {"path": path, "sha256": digest, "size": len(data)}}}


def _store(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{threading.get_ident()}.part"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _download(handler, _query, path):
    storage = handler.server.storage
    full = os.path.realpath(os.path.join(storage, urllib.parse.unquote(path)))
    if not full.startswith(storage + os.sep) or not os.path.isfile(full):
        raise Failure(404, "no such file")
    with open(full, "rb") as file:
        return 200, file.read(), "application/octet-stream"


def _files(handler, _query):
    rows = handler.server.pool.run(lambda c: database.select(
        c, 'SELECT "fullPath", "size", "sha256" FROM "core"."file" ORDER BY "fullPath"'))
    return {"data": {"files": [{"path": p, "size": s, "sha256": h} for p, s, h in rows]},
            "totalCount": len(rows)}


_PLURALS = "|".join(_RECORDS)
_GET = [("/healthz", _health), ("/healthz/([^/]+)", _health_of), ("/", _page),
        ("/rest/workspaces", _workspaces), (f"/rest/({_PLURALS})", _list), ("/files", _files),
        ("/files/(.+)", _download)]
_POST = [("/graphql", _graphql), ("/metadata", _graphql), ("/rest/signup", _signup),
         ("/rest/jobs", _job), (f"/rest/({_PLURALS})", _add), ("/files", _upload)]


def run(this):
    # Handled from the first moment, so that a stop during a slow boot is an orderly exit too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    commands.require_valid_version(this)
    if not os.environ.get("APP_SECRET"):
        error("ExceptionHandler", "ConfigVariableException [Error]: APP_SECRET is not set")
        return 1
    faults.at(this.faults, "server")
    commands.redis_or_exit().close()
    server = Server(int(os.environ.get("NODE_PORT") or 3000), this, Pool(database.connect_or_exit()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    info("NestApplication", f"Nest application successfully started (twenty {this.code_version})")
    stop.wait()
    server.shutdown()
    with server.idle:
        server.idle.wait_for(lambda: server.active == 0, timeout=1.5)
    info("NestApplication", "stopped")
    return 0
