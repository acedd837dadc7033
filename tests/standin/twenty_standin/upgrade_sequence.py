# SPDX-License-Identifier: Apache-2.0
"""`upgrade` from 1.21: one sequence of steps, cursors in core."upgradeMigration", exit 1 on failure."""
import psycopg2

import database
import faults
import migrate
import release
from log import error, info, plain

_NAME = "UpgradeCommand"
_PROVISIONED = ("SELECT \"id\"::text, \"displayName\" FROM \"core\".\"workspace\" WHERE "
                "\"activationStatus\"::text IN ('ACTIVE', 'SUSPENDED', 'CREATED') ORDER BY \"id\"")


class Stopped(Exception):
    """The upgrade cannot go on; the text says why."""


def run(connection, this, dry_run):
    faults.at(this.faults, "upgrade")
    try:
        _upgrade(connection, this, dry_run)
        return 0
    except psycopg2.DatabaseError as failure:
        if connection.closed:
            raise
        text = failure.diag.message_primary or str(failure)
    except Stopped as failure:
        text = str(failure)
    error(_NAME, f"Upgrade failed: {text}\n[upgrade] event=aborted")
    error(_NAME, "undefined")
    return 1


def run_instance(connection, this, _force):
    """`run-instance-commands`: the instance's pending steps only."""
    for index in _pending_instance(connection, this):
        _instance_step(connection, this, release.sequence(this.code)[index])
    return 0


def _upgrade(connection, this, dry_run):
    sequence = release.sequence(this.code)
    if this.code < (2, 0) and not dry_run:
        _refuse_old_workspaces(connection)
        migrate.run(connection, this)
    else:
        database.select(connection, 'SELECT count(*) FROM core."upgradeMigration"')
        _check_cursors(connection, sequence)
    info("UpgradeSequenceRunnerService", f"Upgrade sequence of {len(sequence)} steps\n[upgrade] "
         f"event=sequence.initialized stepCount={len(sequence)} dryRun={str(dry_run).lower()}")
    succeeded = 0
    for minor in release.ORDER[:release.ORDER.index(this.code) + 1]:
        for index in [i for i in _pending_instance(connection, this) if sequence[i].minor == minor]:
            if not dry_run:
                _instance_step(connection, this, sequence[index])
                info("InstanceCommandRunnerService", f"{sequence[index].name} executed\n[upgrade] "
                     f"event=instance.success name={sequence[index].name}")
        done, failed = _segment(connection, this, sequence, minor, dry_run)
        succeeded += done
        if failed:
            error(_NAME, "Upgrade sequence aborted\n[upgrade] event=sequence.aborted "
                         "reason=workspace-failures")
            _summary(succeeded, failed, dry_run)
            raise Stopped(f"Upgrade completed with {failed} workspace failure(s)")
    _summary(succeeded, 0, dry_run)


def _summary(succeeded, failed, dry_run):
    info(_NAME, f"Upgrade summary: {succeeded} workspace(s) succeeded, {failed} workspace(s) failed\n"
                f"[upgrade] event=summary totalSuccesses={succeeded} totalFailures={failed} "
                f"dryRun={str(dry_run).lower()}")


def _refuse_old_workspaces(connection):
    if not database.has_column(connection, "core", "workspace", "version"):
        return
    for workspace, version in database.select(
            connection, 'SELECT "id"::text, "version" FROM "core"."workspace" WHERE '
            "\"activationStatus\"::text IN ('ACTIVE', 'SUSPENDED')"):
        if (release.minor_of(version) or (0, 0)) < (1, 20):
            raise Stopped(f"Error in workspace {workspace}: Unable to run the upgrade command. "
                          "Aborting the upgrade process.")


def _check_cursors(connection, sequence):
    last = _rows(connection, None)
    if not last:
        raise Stopped("No upgrade migration found — the database may not have been initialized")
    known = {step.name for step in sequence}
    if last[-1][0] not in known:
        raise Stopped(f'Step "{last[-1][0]}" not found in upgrade sequence. The sequence only covers '
                      f"versions [{release.text(sequence[0].minor)} to "
                      f"{release.text(sequence[-1].minor)}].")
    without = [w for w, _ in database.select(connection, _PROVISIONED) if not _rows(connection, w)]
    if without and not database.has_column(connection, "core", "workspace", "version"):
        raise Stopped(f"No upgrade migration found for workspace(s): {', '.join(without)}")


def _rows(connection, workspace):
    return database.select(
        connection, 'SELECT "name", "status", "attempt", "executedByVersion", "createdAt" FROM '
        'core."upgradeMigration" WHERE "workspaceId" IS NOT DISTINCT FROM %s ORDER BY "createdAt", '
        '"attempt"', (workspace,))


def _position(connection, sequence, workspace):
    """Index of the newest completed step; -1 when there is none."""
    names = {row[0] for row in _rows(connection, workspace) if row[1] == "completed"}
    position = max((i for i, step in enumerate(sequence) if step.name in names), default=-1)
    if position >= 0 or workspace is None:
        return position
    if not database.has_column(connection, "core", "workspace", "version"):
        return -1
    version = database.select(connection, 'SELECT "version" FROM "core"."workspace" WHERE "id" = %s',
                              (workspace,))[0][0]
    at = release.minor_of(version) or (0, 0)
    return max((i for i, step in enumerate(sequence) if step.minor <= at), default=-1)


def _pending_instance(connection, this):
    sequence = release.sequence(this.code)
    position = _position(connection, sequence, None)
    return [i for i, step in enumerate(sequence) if i > position and step.kind != "workspace"]


def _instance_step(connection, this, step):
    """The step and its rows, in one transaction; provisioned workspaces get the row as well."""
    workspaces = [w for w, _ in database.select(connection, _PROVISIONED)]
    if step.minor == (1, 21):
        workspaces = []
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            for sql in step.statements:
                plain(f"query: {sql}")
                cursor.execute(sql)
            for workspace in [None] + workspaces:
                _record(cursor, this, step, workspace, "completed", None)
            cursor.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise


def _record(cursor, this, step, workspace, status, message):
    cursor.execute(
        'INSERT INTO core."upgradeMigration" ("name", "status", "attempt", "executedByVersion", '
        '"errorMessage", "workspaceId") SELECT %(name)s, %(status)s, 1 + coalesce(max("attempt"), 0), '
        '%(version)s, %(message)s, %(workspace)s::uuid FROM core."upgradeMigration" WHERE "name" = '
        '%(name)s AND "workspaceId" IS NOT DISTINCT FROM %(workspace)s::uuid',
        {"name": step.name, "status": status, "version": this.app_version or this.code_version,
         "message": message, "workspace": workspace})


def _segment(connection, this, sequence, minor, dry_run):
    """The workspace steps of one version in every workspace: (succeeded, failed)."""
    steps = [i for i, s in enumerate(sequence) if s.minor == minor and s.kind == "workspace"]
    workspaces = [w for w, _ in database.select(connection, _PROVISIONED)]
    succeeded = failed = 0
    for number, workspace in enumerate(workspaces, 1):
        position = _position(connection, sequence, workspace)
        pending = [sequence[i] for i in steps if i > position]
        if not pending:
            continue
        info("WorkspaceCommandRunnerService", f"Upgrading workspace {workspace} {number}/"
             f"{len(workspaces)}\n[upgrade] event=workspace.start workspaceId={workspace} "
             f"index={number} total={len(workspaces)} dryRun={str(dry_run).lower()}")
        if _workspace_steps(connection, this, workspace, number, pending, dry_run):
            succeeded += 1
        else:
            failed += 1
    return succeeded, failed


def _workspace_steps(connection, this, workspace, number, pending, dry_run):
    schema = database.schema_of(workspace)
    for step in [] if dry_run else pending:
        faults.at(this.faults, "workspace")
        try:
            if step.minor == this.code and faults.fails_workspace(this.faults, number):
                raise RuntimeError(this.faults.get("message", "Field metadata not found"))
            database.run_command(connection, workspace, schema, step.statements)
        except (psycopg2.DatabaseError, RuntimeError) as failure:
            if connection.closed:
                raise
            text = str(failure).strip()
            with connection.cursor() as cursor:
                _record(cursor, this, step, workspace, "failed", text)
            error("WorkspaceCommandRunnerService", f"Error in workspace {workspace}: {text}\n[upgrade] "
                  f"event=workspace.failed workspaceId={workspace} "
                  f"executedByVersion={this.app_version}")
            return False
        _finish_step(connection, this, step, workspace)
    info("WorkspaceCommandRunnerService", f"Upgrade for workspace {workspace} completed.\n[upgrade] "
         f"event=workspace.success workspaceId={workspace} executedByVersion={this.app_version} "
         f"dryRun={str(dry_run).lower()}")
    return True


def _finish_step(connection, this, step, workspace):
    if step.minor == (1, 21):  # Had no rows for workspaces yet.
        database.execute(connection, 'UPDATE "core"."workspace" SET "version" = %s WHERE "id" = %s',
                         (release.text(step.minor), workspace))
        return
    with connection.cursor() as cursor:
        _record(cursor, this, step, workspace, "completed", None)


def status(connection, this, options):
    """`upgrade:status`: text for people; the exit code is 0 whatever it found out."""
    only_failed = "-f" in options or "--failed-only" in options
    try:
        _print_status(connection, release.sequence(this.code), only_failed)
    except psycopg2.DatabaseError as failure:
        error("UpgradeStatusCommand", "Failed to retrieve upgrade status: "
              f"{failure.diag.message_primary or failure}")
    return 0


def _print_status(connection, sequence, only_failed):
    lines, word = _status_of(connection, sequence, None, "  ")
    plain("Instance\n" + "\n".join(lines) + "\n\nWorkspace")
    counts = {"Up to date": 0, "Behind": 0, "Failed": 0}
    for workspace, name in database.select(connection, _PROVISIONED):
        lines, of_workspace = _status_of(connection, sequence, workspace, "    ")
        counts[of_workspace] += 1
        if not only_failed or of_workspace == "Failed":
            plain(f"  {name} ({workspace})\n" + "\n".join(lines))
    plain(f"\nSummary\n  Instance: {word}")
    total = sum(counts.values())
    plain("  No workspaces\n" if not total else
          f"  Workspaces: {counts['Up to date']} up to date, {counts['Behind']} behind, "
          f"{counts['Failed']} failed ({total} total)\n")


def _status_of(connection, sequence, workspace, indent):
    rows = _rows(connection, workspace)
    if not rows:
        return [f"{indent}Status:           Behind"], "Behind"
    name, state, _, version, at = rows[-1]
    wanted = [s.name for s in sequence if (s.kind == "workspace") == (workspace is not None)][-1]
    word = "Failed" if state == "failed" else "Up to date" if name == wanted else "Behind"
    return [f"{indent}Inferred version: {name.split('_')[0]}",
            f"{indent}Latest command:   {' '.join(name.split('_')[1:])}",
            f"{indent}Status:           {word}", f"{indent}Executed by:      {version}",
            f"{indent}At:               {at.isoformat()}"], word
