# SPDX-License-Identifier: Apache-2.0
"""The core migrations: one transaction, tolerated ones in a savepoint, no lock."""
import psycopg2

import database
import faults
import release
from log import plain

_LEDGER = ('CREATE TABLE IF NOT EXISTS "core"."_typeorm_migrations" ("id" SERIAL PRIMARY KEY, '
           '"timestamp" bigint NOT NULL, "name" character varying NOT NULL)')


def run(connection, this, first_line=plain):
    """Applies what is pending. Raises psycopg2.Error with nothing applied."""
    first_line("query: SELECT * FROM current_schema()")
    plain("query: SELECT version();")
    database.execute(connection, "CREATE SCHEMA IF NOT EXISTS core")
    database.execute(connection, _LEDGER)
    done = {row[0] for row in database.select(
        connection, 'SELECT "name" FROM "core"."_typeorm_migrations"')}
    shipped = release.core_migrations(this.code)
    pending = [m for m in shipped if m[1] not in done]
    if not pending:
        plain("No migrations are pending\n")
        return
    plain(f"{len(done)} migrations are already loaded in the database.")
    plain(f"{len(shipped)} migrations were found in the source code.")
    plain(f"{len(pending)} migrations are new migrations must be executed.")
    faults.at(this.faults, "listed")
    with connection.cursor() as cursor:
        _query(cursor, "START TRANSACTION")
        try:
            for migration in pending:
                _apply(cursor, *migration)
            faults.at(this.faults, "core")
            if this.faults.get("failCoreMigration"):
                _query(cursor, 'DROP TABLE "core"."tableOfAnOrderedFault"')
            _query(cursor, "COMMIT")
        except BaseException:
            if not connection.closed:
                _query(cursor, "ROLLBACK")
            raise
    plain("")


def _apply(cursor, timestamp, name, statements, tolerated):
    if statements == "base":
        for sql in database.BASE:
            cursor.execute(sql)
    elif tolerated:
        _tolerated(cursor, "sp_" + str(timestamp), statements)
    else:
        for sql in statements:
            _query(cursor, sql)
    cursor.execute('INSERT INTO "core"."_typeorm_migrations" ("timestamp", "name") VALUES (%s, %s)',
                   (timestamp, name))
    if statements:
        plain(f"Migration {name} has been  executed successfully.")


def _tolerated(cursor, savepoint, statements):
    _query(cursor, f"SAVEPOINT {savepoint}")
    try:
        for sql in statements:
            _query(cursor, sql)
    except psycopg2.errors.NotNullViolation as failure:
        plain(f"error: error: {failure.diag.message_primary}")
        _query(cursor, f"ROLLBACK TO SAVEPOINT {savepoint}")
    _query(cursor, f"RELEASE SAVEPOINT {savepoint}")


def _query(cursor, sql):
    plain(f"query: {sql}")
    cursor.execute(sql)
