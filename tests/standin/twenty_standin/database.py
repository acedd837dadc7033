# SPDX-License-Identifier: Apache-2.0
"""Connections, the base schema, workspaces with tables of their own."""
import os
import time
import uuid

import psycopg2

import release
from log import error, info

_ID = '"id" uuid PRIMARY KEY DEFAULT public.uuid_generate_v4()'
_TIMES = '"createdAt" timestamptz NOT NULL DEFAULT now(), "updatedAt" timestamptz NOT NULL DEFAULT now()'
_OF_WORKSPACE = '"workspaceId" uuid NOT NULL REFERENCES "core"."workspace"("id") ON DELETE CASCADE'

BASE = [
    """CREATE TYPE "core"."workspace_activationStatus_enum" AS ENUM ('ONGOING_CREATION',
       'PENDING_CREATION', 'ACTIVE', 'INACTIVE', 'SUSPENDED')""",
    """CREATE TYPE "core"."keyValuePair_type_enum" AS ENUM ('USER_VARIABLE', 'FEATURE_FLAG',
       'CONFIG_VARIABLE')""",
    f"""CREATE TABLE "core"."workspace" ({_ID}, "displayName" character varying,
        "logo" character varying, "deletedAt" timestamptz, {_TIMES}, "activationStatus"
        "core"."workspace_activationStatus_enum" NOT NULL DEFAULT 'INACTIVE',
        "metadataVersion" integer NOT NULL DEFAULT 1,
        "databaseSchema" character varying NOT NULL DEFAULT '', "version" character varying)""",
    f"""CREATE TABLE "core"."user" ({_ID}, "email" public.citext NOT NULL UNIQUE,
        "canAccessFullAdminPanel" boolean NOT NULL DEFAULT false, {_TIMES})""",
    f"""CREATE TABLE "core"."userWorkspace" ({_ID}, "userId" uuid NOT NULL REFERENCES
        "core"."user"("id") ON DELETE CASCADE, {_OF_WORKSPACE}, {_TIMES})""",
    f'CREATE TABLE "core"."dataSource" ({_ID}, "schema" character varying, {_OF_WORKSPACE}, {_TIMES})',
    f"""CREATE TABLE "core"."objectMetadata" ({_ID}, "nameSingular" text NOT NULL,
        "universalIdentifier" uuid, {_OF_WORKSPACE}, {_TIMES})""",
    f"""CREATE TABLE "core"."fieldMetadata" ({_ID}, "objectMetadataId" uuid NOT NULL REFERENCES
        "core"."objectMetadata"("id") ON DELETE CASCADE, "name" text NOT NULL,
        "universalIdentifier" uuid, {_OF_WORKSPACE}, {_TIMES})""",
    f"""CREATE TABLE "core"."featureFlag" ({_ID}, "key" text NOT NULL, {_OF_WORKSPACE},
        "value" boolean NOT NULL, {_TIMES},
        CONSTRAINT "IDX_FEATURE_FLAG_KEY_WORKSPACE_ID_UNIQUE" UNIQUE ("key", "workspaceId"))""",
    f"""CREATE TABLE "core"."keyValuePair" ({_ID}, "userId" uuid, "workspaceId" uuid,
        "key" text NOT NULL, "value" jsonb, "type" "core"."keyValuePair_type_enum" NOT NULL,
        {_TIMES}, "deletedAt" timestamptz)""",
    f"""CREATE TABLE "core"."file" ({_ID}, {_OF_WORKSPACE}, "fullPath" text NOT NULL UNIQUE,
        "size" bigint NOT NULL, "sha256" text NOT NULL, {_TIMES})""",
    f'CREATE TABLE "core"."remoteServer" ({_ID}, {_OF_WORKSPACE})',
    f'CREATE TABLE "core"."remoteTable" ({_ID}, {_OF_WORKSPACE})',
    f'CREATE TABLE "core"."workspaceMigration" ({_ID}, {_OF_WORKSPACE})',
]

_SEARCH = """"searchVector" tsvector GENERATED ALWAYS AS
    (to_tsvector('simple', public.unaccent_immutable(coalesce("name", '')))) STORED"""
_TABLES = {
    "company": f'"name" text, "domainName" text, "employees" integer, "position" serial, {_SEARCH}',
    "person": f'"name" text, "companyId" uuid, {_SEARCH}',
    "opportunity": f'"name" text, "amountMicros" numeric, "companyId" uuid, {_SEARCH}',
    "note": '"title" text, "body" jsonb',
    "task": '"title" text, "status" text',
    "attachment": '"name" text, "fullPath" text, "taskId" uuid, "noteId" uuid, "personId" uuid',
    "workspaceMember": '"name" text, "userId" uuid',
}
_FLAGS = {"IS_AIRTABLE_INTEGRATION_ENABLED": True, "IS_UNIQUE_INDEXES_ENABLED": False,
          "IS_AI_ENABLED": False}
_SETUP = [
    "CREATE SCHEMA IF NOT EXISTS public", "CREATE SCHEMA IF NOT EXISTS core",
    'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA public',
    "CREATE EXTENSION IF NOT EXISTS unaccent SCHEMA public",
    "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public",
    """CREATE OR REPLACE FUNCTION public.unaccent_immutable(input text) RETURNS text
       LANGUAGE sql IMMUTABLE AS
       $$ SELECT public.unaccent('public.unaccent'::regdictionary, input) $$""",
]


def connect():
    """A connection in autocommit mode; raises psycopg2.OperationalError."""
    connection = psycopg2.connect(os.environ.get("PG_DATABASE_URL", ""), connect_timeout=5)
    connection.autocommit = True
    return connection


def connect_or_exit():
    """As the framework does: tries again every three seconds, about 29 in all, then exits with 1."""
    seconds = float(os.environ.get("STANDIN_DATABASE_SECONDS", "29"))
    deadline, attempt = time.monotonic() + seconds, 0
    while True:
        try:
            return connect()
        except psycopg2.OperationalError as failure:
            attempt += 1
            error("TypeOrmModule", f"Unable to connect to the database. Retrying ({attempt})...")
            left = deadline - time.monotonic()
            if left <= 0:
                error("ExceptionHandler", str(failure).strip())
                raise SystemExit(1) from None
            time.sleep(min(3.0, left))


def select(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def execute(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def has_schema(connection):
    return bool(select(connection, "SELECT FROM information_schema.schemata "
                                   "WHERE schema_name = 'core'"))


def has_column(connection, schema, table, column):
    return bool(select(connection, "SELECT FROM information_schema.columns WHERE table_schema = %s "
                       "AND table_name = %s AND column_name = %s", (schema, table, column)))


def setup(connection):
    """setup-db: errors are printed and swallowed."""
    for sql in _SETUP:
        try:
            execute(connection, sql)
        except psycopg2.Error as failure:
            error("SetupDb", f"Error: {failure.diag.message_primary}")
    info("SetupDb", "Database setup done")


def schema_of(workspace):
    number, digits = uuid.UUID(str(workspace)).int, ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return "workspace_" + (digits or "0")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def run_command(connection, workspace, schema, statements):
    """One workspace command, in one transaction."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            _run_statements(connection, cursor, workspace, schema, statements)
            cursor.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise


def _rename(connection, cursor, schema, table, old, new):
    if has_column(connection, schema, table, old):
        cursor.execute(f"ALTER TABLE {quoted(schema)}.{quoted(table)} "
                       f"RENAME COLUMN {quoted(old)} TO {quoted(new)}")


def make_not_null(connection):
    """Tightens universalIdentifier; nothing happens while a workspace has rows without one."""
    for table in ("objectMetadata", "fieldMetadata"):
        try:
            execute(connection, f'ALTER TABLE "core".{quoted(table)} '
                                'ALTER COLUMN "universalIdentifier" SET NOT NULL')
        except psycopg2.errors.NotNullViolation:
            info("MakeUniversalIdentifiersNotNullableCommand", f"{table} is not ready yet, skipping")


def create_workspace(connection, minor, name, email, version, activate=True):
    """A workspace as the release of `minor` makes it; all of it or nothing. Returns its id."""
    workspace = str(uuid.uuid4())
    schema = schema_of(workspace)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            status = "ACTIVE" if activate else "PENDING_CREATION"
            cursor.execute('INSERT INTO "core"."workspace" ("id", "displayName", "activationStatus") '
                           "VALUES (%s, %s, %s)", (workspace, name, status))
            _add_user(cursor, workspace, email)
            if activate:
                _fill(connection, cursor, minor, workspace, schema, version)
            cursor.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise
    return workspace


def _add_user(cursor, workspace, email):
    cursor.execute('INSERT INTO "core"."user" ("email") VALUES (%s) ON CONFLICT ("email") '
                   'DO UPDATE SET "updatedAt" = now() RETURNING "id"', (email,))
    cursor.execute('INSERT INTO "core"."userWorkspace" ("userId", "workspaceId") VALUES (%s, %s)',
                   (cursor.fetchone()[0], workspace))


def _fill(connection, cursor, minor, workspace, schema, version):
    if has_column(connection, "core", "workspace", "version"):
        cursor.execute('UPDATE "core"."workspace" SET "version" = %s WHERE "id" = %s',
                       (version, workspace))
    cursor.execute('UPDATE "core"."workspace" SET "databaseSchema" = %s WHERE "id" = %s',
                   (schema if minor >= (1, 21) else "", workspace))
    cursor.execute('INSERT INTO "core"."dataSource" ("schema", "workspaceId") VALUES (%s, %s)',
                   (schema, workspace))
    for key, value in _FLAGS.items():
        cursor.execute('INSERT INTO "core"."featureFlag" ("key", "workspaceId", "value") '
                       "VALUES (%s, %s, %s)", (key, workspace, value))
    cursor.execute(f"CREATE SCHEMA {quoted(schema)}")
    for table, columns in _TABLES.items():
        cursor.execute(f"CREATE TABLE {quoted(schema)}.{quoted(table)} ({_ID}, {columns}, {_TIMES}, "
                       '"deletedAt" timestamptz)')
        _describe(cursor, minor, workspace, schema, table)
    for _, statements in release.workspace_history(minor):
        _run_statements(connection, cursor, workspace, schema, statements)
    if minor >= (1, 21):
        _add_cursor(connection, cursor, minor, workspace, schema, version)


def _add_cursor(connection, cursor, minor, workspace, schema, version):
    steps = [s for s in release.sequence(minor) if s.kind == "workspace"]
    for step in steps:
        _run_statements(connection, cursor, workspace, schema, step.statements)
    if minor > (1, 21):  # 1.21 had no rows for workspaces yet.
        cursor.execute('INSERT INTO core."upgradeMigration" ("name", "status", "executedByVersion", '
                       '"isInitial", "workspaceId") VALUES (%s, \'completed\', %s, true, %s)',
                       (steps[-1].name, version, workspace))


def _run_statements(connection, cursor, workspace, schema, statements):
    for sql in statements if isinstance(statements, list) else []:
        if isinstance(sql, tuple):
            _rename(connection, cursor, schema, *sql[1:])
        else:
            cursor.execute(sql.replace("{s}", quoted(schema)), {"workspace": workspace})


def _describe(cursor, minor, workspace, schema, table):
    # Before 1.16 nobody filled universalIdentifier for every field: the trap of that upgrade.
    identifier = "public.uuid_generate_v4()" if minor >= (1, 16) else "NULL"
    cursor.execute('INSERT INTO "core"."objectMetadata" ("nameSingular", "workspaceId", '
                   f'"universalIdentifier") VALUES (%s, %s, {identifier}) RETURNING "id"',
                   (table, workspace))
    cursor.execute('INSERT INTO "core"."fieldMetadata" ("objectMetadataId", "name", "workspaceId", '
                   f'"universalIdentifier") SELECT %s, attname, %s, {identifier} FROM '
                   "pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
                   (cursor.fetchone()[0], workspace, f"{quoted(schema)}.{quoted(table)}"))
