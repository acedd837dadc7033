# SPDX-License-Identifier: Apache-2.0
"""What `yarn command:prod …`, `yarn database:…` and the entrypoint run."""
import os
import sys

import psycopg2

import database
import faults
import migrate
import release
from log import error, info, plain, warn
from resp import Redis

_CRON_JOBS = ("messaging-messages-import", "calendar-events-import", "workflow-cron-trigger",
              "clean-suspended-workspaces", "cron-trigger")
_CACHE_KEYS = ("engine:*", "module:*")


def run(this, arguments):
    role, rest = arguments[0], arguments[1:]
    if role == "command":
        return _command(this, rest)
    require_valid_version(this)
    connection = database.connect_or_exit()
    if role == "has-schema":
        plain("t" if database.has_schema(connection) else "f")
        return 0
    if role == "setup-db":
        database.setup(connection)
        return 0
    if role == "seed":
        return _seed(this, connection, *rest)
    return _migrate(this, connection, rest)


def _seed(this, connection, workspaces, companies="0"):
    for number in range(1, int(workspaces) + 1):
        workspace = database.create_workspace(connection, this.code, f"Seed {number}",
                                              f"seed{number}@example.com", this.app_version)
        database.execute(connection, f"INSERT INTO {database.quoted(database.schema_of(workspace))}"
                         ".\"company\" (\"name\") SELECT 'Company ' || n "
                         "FROM generate_series(1, %s) n", (int(companies),))
        plain(workspace)
    return 0


def require_valid_version(this):
    """An APP_VERSION that is set but no semantic version stops every command and the server."""
    if this.app_version is not None and release.minor_of(this.app_version) is None:
        error("", "APP_VERSION must be a valid semantic version (e.g., 1.0.0)")
        error("ExceptionHandler", "ConfigVariableException [Error]: Config variables validation "
              "failed\n  code: 'VALIDATION_FAILED',")
        raise SystemExit(1)


def redis_or_exit():
    try:
        return Redis(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    except OSError as failure:
        error("ExceptionHandler", f"Error: connect ECONNREFUSED ({failure})")
        raise SystemExit(1) from None


def _command(this, arguments):
    name, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    known = {"upgrade": _upgrade, "cache:flush": _flush, "cron:register:all": _register_cron}
    if this.has_cursor:
        known |= {"upgrade:status": _status, "run-instance-commands": _instance_commands}
    if name not in known:
        sys.stderr.write(f"error: unknown command '{name}'\n")
        return 1
    require_valid_version(this)
    return known[name](this, options)


def _upgrade(this, options):
    connection, redis = database.connect_or_exit(), redis_or_exit()
    redis.close()
    dry_run = "-d" in options or "--dry-run" in options
    if this.has_cursor:
        import upgrade_sequence
        return upgrade_sequence.run(connection, this, dry_run)
    import upgrade_versioned
    try:
        return upgrade_versioned.run(connection, this, dry_run)
    except psycopg2.DatabaseError as failure:
        if connection.closed:
            raise
        error("UpgradeCommand", f"QueryFailedError: {failure.diag.message_primary}")
        error("UpgradeCommand", "undefined")
        info("UpgradeCommand", "Command completed!")
        return 0


def _status(this, options):
    import upgrade_sequence
    return upgrade_sequence.status(database.connect_or_exit(), this, options)


def _instance_commands(this, options):
    return _migrate(this, database.connect_or_exit(), options)


def _migrate(this, connection, options):
    faults.at(this.faults, "migrate")
    try:
        migrate.run(connection, this)
        if this.has_cursor:
            import upgrade_sequence
            return upgrade_sequence.run_instance(connection, this, "--force" in options)
    except psycopg2.DatabaseError as failure:
        error("Migration", f"QueryFailedError: {failure.diag.message_primary}")
        return 1
    return 0


def _flush(this, _):
    redis = redis_or_exit()
    if this.code < (2, 0):
        redis.call("FLUSHDB")
    else:
        for pattern in _CACHE_KEYS:
            for key in redis.keys(pattern):
                redis.call("DEL", key)
    info("FlushCacheCommand", "Cache flushed")
    return 0


def _register_cron(this, _):
    faults.at(this.faults, "cron")
    redis = redis_or_exit()
    if this.faults.get("failCron"):
        warn("CronRegisterAllCommand", "Failed to register cron job: ordered fault")
        return 1
    for job in _CRON_JOBS:
        redis.call("ZADD", "bull:cron-queue:repeat", "1", job)
    info("CronRegisterAllCommand", f"Registered {len(_CRON_JOBS)} cron jobs")
    return 0
