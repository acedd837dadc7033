# SPDX-License-Identifier: Apache-2.0
"""`upgrade` up to 1.20: core.workspace.version, and an exit code that is 0 whatever happens."""
import os

import psycopg2

import database
import faults
import migrate
import release
from log import error, info, warn

_NAME = "UpgradeCommand"
_FAILURE = "Could not find flat entity with universal identifier 20202020-d01a-4131-8a31-f123456789ab"


def run(connection, this, dry_run):
    faults.at(this.faults, "upgrade")
    for problem in _upgrade(connection, this, dry_run):
        error(_NAME, problem)
        error(_NAME, "undefined")
    info(_NAME, "Command completed!")
    return 0


def _upgrade(connection, this, dry_run):
    """The problems; an upgrade that stops early says so in them."""
    target = release.minor_of(this.app_version)
    if target is None:
        return ["Cannot run upgrade command when APP_VERSION is not defined, please double check "
                "your env variables"]
    if target not in release.ORDER or target > this.code or this.faults.get("unknownMinor"):
        return [f"Error in workspace global: No command found for version {release.text(target)}. "
                "Please check the commands record."]
    before = release.ORDER[max(0, release.ORDER.index(target) - 1)]
    info(_NAME, "Initialized upgrade context with:\n"
                f"   - currentVersion (migrating to): {release.text(target)}\n"
                f"   - fromWorkspaceVersion: {release.text(before)}\n"
                f"   - {len(release.workspace_commands(target))} commands")
    workspaces = database.select(
        connection, 'SELECT "id"::text, "version" FROM "core"."workspace" WHERE '
        "\"activationStatus\"::text IN ('ACTIVE', 'SUSPENDED') ORDER BY \"id\"")
    if not workspaces:
        info(_NAME, "Fresh installation detected, skipping migration")
        return []
    behind = [w for w, version in workspaces if (release.minor_of(version) or (0, 0)) < before]
    if behind:
        return [_refusal(w, before) for w in behind]
    if not _core(connection, this):
        return []
    return _all_workspaces(connection, this, workspaces, before, target, dry_run)


def _refusal(workspace, before):
    return (f"Error in workspace {workspace}: Unable to run the upgrade command. Aborting the "
            "upgrade process.\nPlease ensure that all workspaces are on at least the previous minor "
            f"version ({release.text(before)}).\nIf any workspaces are not on the previous minor "
            "version, roll back to that version and run the upgrade command again.")


def _core(connection, this):
    info(_NAME, "Running global database migrations")
    info(_NAME, "Running core datasource migrations...")
    try:
        migrate.run(connection, this, lambda text: info(_NAME, text))
    except psycopg2.DatabaseError as failure:
        if connection.closed:
            raise
        message = failure.diag.message_primary
        error(_NAME, "Error running database migrations:")
        error(_NAME, "Error: Command failed: npx -y typeorm migration:run -d "
                     "dist/database/typeorm/core/core.datasource\n"
                     f"QueryFailedError: {message}\n  code: '{failure.pgcode}'")
        error(_NAME, "undefined")
        return False
    info(_NAME, "Database migrations completed successfully")
    return True


def _all_workspaces(connection, this, workspaces, before, target, dry_run):
    problems = []
    for number, (workspace, version) in enumerate(workspaces, 1):
        place = f"{number}/{len(workspaces)}"
        info(_NAME, f"Running command on workspace {workspace} {place}")
        info(_NAME, f"Upgrading workspace {workspace} from={release.text(before)} "
                    f"to={release.text(target)} {place}")
        if release.minor_of(version) > before:
            info(_NAME, f"Upgrade for workspace {workspace} ignored as is already at a higher version.")
            continue
        try:
            _one_workspace(connection, this, workspace, target, number, dry_run)
        except (psycopg2.DatabaseError, RuntimeError) as failure:
            if connection.closed:
                raise
            text = f"Error in workspace {workspace}: {str(failure).strip()}"
            warn(_NAME, text)
            problems.append(text)
    return problems


def _one_workspace(connection, this, workspace, target, number, dry_run):
    schema = database.select(connection, 'SELECT "schema" FROM "core"."dataSource" WHERE '
                                         '"workspaceId" = %s', (workspace,))
    schema = schema[0][0] if schema else database.schema_of(workspace)
    commands = release.workspace_commands(target)
    for index, (name, statements) in enumerate(commands):
        faults.at(this.faults, "workspace")
        if index == min(1, len(commands) - 1) and faults.fails_workspace(this.faults, number):
            raise RuntimeError(this.faults.get("message", _FAILURE))
        info(name, f"{'[DRY RUN] Would run' if dry_run else 'Running'} {name} for workspace {workspace}")
        if dry_run:
            continue
        if statements == "not-null":
            database.make_not_null(connection)
        else:
            database.run_command(connection, workspace, schema, statements)
    if not commands and faults.fails_workspace(this.faults, number):
        raise RuntimeError(this.faults.get("message", _FAILURE))
    if dry_run:
        return
    database.execute(connection, 'UPDATE "core"."workspace" SET "version" = %s WHERE "id" = %s',
                     (os.environ["APP_VERSION"], workspace))
    info(_NAME, f"Upgrade for workspace {workspace} completed.")
