# SPDX-License-Identifier: Apache-2.0
"""What is particular to each release: order, core migrations, workspace commands, queries."""
import collections
import json
import os
import re

import faults

ORDER = ([(1, n) for n in range(10, 24)] + [(2, n) for n in range(0, 48)])

_COUNTS = {(1, 10): 58, (1, 11): 60, (1, 12): 63, (1, 13): 66, (1, 14): 70, (1, 15): 77,
           (1, 16): 98, (1, 17): 98, (1, 18): 110, (1, 19): 118, (1, 20): 126, (1, 21): 140,
           (1, 22): 152, (1, 23): 160}

# Core migrations that do something: minor -> (name, statements, tolerated). A tolerated one runs in
# a savepoint, swallows its error and is recorded all the same, as upstream's "NotNullable" ones do.
_CORE = {
    (1, 10): [("SetupMetadataTables", "base", False)],
    (1, 15): [("AddRowLevelPermissionPredicates", [
        'CREATE TABLE "core"."rowLevelPermissionPredicateGroup" ("id" uuid PRIMARY KEY DEFAULT '
        'public.uuid_generate_v4(), "workspaceId" uuid NOT NULL, "roleId" uuid)',
        'CREATE TABLE "core"."rowLevelPermissionPredicate" ("id" uuid PRIMARY KEY DEFAULT '
        'public.uuid_generate_v4(), "workspaceId" uuid NOT NULL, "value" jsonb)'], False)],
    (1, 16): [
        ("MakeFieldMetadataUniversalIdentifierAndApplicationIdNotNullable", [
            'ALTER TABLE "core"."fieldMetadata" ALTER COLUMN "universalIdentifier" SET NOT NULL'],
         True),
        ("RemoteRemoteTables", ['DROP TABLE "core"."remoteTable"',
                                'DROP TABLE "core"."remoteServer"'], False),
        ("RemoveWorkspaceMigration", ['DROP TABLE "core"."workspaceMigration"'], False),
        ("AddObjectMetadataIdToRowLevelPermissionPredicateGroup", [
            'ALTER TABLE "core"."rowLevelPermissionPredicateGroup" ADD "objectMetadataId" uuid '
            'NOT NULL'], False),
        ("MakeObjectMetadataUniversalIdentifierAndApplicationIdNotNullable", [
            'ALTER TABLE "core"."objectMetadata" ALTER COLUMN "universalIdentifier" SET NOT NULL'],
         True)],
    (1, 18): [
        ("AddCommandMenuItem", [
            'CREATE TABLE "core"."commandMenuItem" ("id" uuid PRIMARY KEY DEFAULT '
            'public.uuid_generate_v4(), "workspaceId" uuid NOT NULL, "label" text NOT NULL)'], False),
        ("AddModelsToWorkspace", ['ALTER TABLE "core"."workspace" ADD "fastModel" character varying '
                                  "NOT NULL DEFAULT 'default'"], False)],
    (1, 19): [("AddNavigationMenuItem", [
        'CREATE TABLE "core"."navigationMenuItem" ("id" uuid PRIMARY KEY DEFAULT '
        'public.uuid_generate_v4(), "workspaceId" uuid NOT NULL, "position" integer)'], False)],
    (1, 20): [("AddEventLogRetention", [
        'ALTER TABLE "core"."workspace" ADD "eventLogRetentionInDays" integer NOT NULL DEFAULT 90'],
        False)],
    (1, 21): [("AddUpgradeMigration", [
        'CREATE TABLE "core"."upgradeMigration" ("id" uuid PRIMARY KEY DEFAULT '
        'public.uuid_generate_v4(), "name" character varying NOT NULL, "status" character varying '
        'NOT NULL, "attempt" integer NOT NULL DEFAULT 1, "executedByVersion" character varying NOT '
        'NULL, "errorMessage" text, "isInitial" boolean NOT NULL DEFAULT false, "workspaceId" uuid '
        'REFERENCES "core"."workspace"("id") ON DELETE CASCADE, "createdAt" timestamptz NOT NULL '
        'DEFAULT clock_timestamp())',
        'CREATE UNIQUE INDEX "UQ_upgradeMigration_instance" ON "core"."upgradeMigration" ("name", '
        '"attempt") WHERE "workspaceId" IS NULL',
        'CREATE UNIQUE INDEX "UQ_upgradeMigration_workspace" ON "core"."upgradeMigration" ("name", '
        '"attempt", "workspaceId") WHERE "workspaceId" IS NOT NULL'], False)],
    (2, 0): [("FinishLegacyMigrations", ['CREATE TABLE "core"."signingKey" ("id" uuid PRIMARY KEY '
              'DEFAULT public.uuid_generate_v4(), "isCurrent" boolean)'], False)],
}

# Workspace commands: minor -> (name, statements on schema {s}); all may be run again.
_WORKSPACE = {
    (1, 15): [("AddTaskAssigneeCommand",
               ['ALTER TABLE {s}."task" ADD COLUMN IF NOT EXISTS "assigneeId" uuid'])],
    (1, 16): [
        ("IdentifyObjectMetadataCommand", [
            'UPDATE "core"."objectMetadata" SET "universalIdentifier" = public.uuid_generate_v4() '
            'WHERE "universalIdentifier" IS NULL AND "workspaceId" = %(workspace)s']),
        ("IdentifyFieldMetadataCommand", [
            'UPDATE "core"."fieldMetadata" SET "universalIdentifier" = public.uuid_generate_v4() '
            'WHERE "universalIdentifier" IS NULL AND "workspaceId" = %(workspace)s']),
        ("BackfillOpportunityOwnerFieldCommand", [
            'ALTER TABLE {s}."opportunity" ADD COLUMN IF NOT EXISTS "ownerId" uuid']),
        ("MakeUniversalIdentifiersNotNullableCommand", "not-null")],
    (1, 17): [("MigrateAttachmentToMorphRelationsCommand", [
        ("rename", "attachment", "taskId", "targetTaskId"),
        ("rename", "attachment", "noteId", "targetNoteId"),
        ("rename", "attachment", "personId", "targetPersonId"),
        'INSERT INTO "core"."featureFlag" ("key", "workspaceId", "value") VALUES '
        "('IS_ATTACHMENT_MIGRATED', %(workspace)s, true) ON CONFLICT (\"key\", \"workspaceId\") "
        'DO UPDATE SET "value" = true'])],
    (1, 18): [
        ("BackfillCommandMenuItemsCommand", [
            'INSERT INTO "core"."commandMenuItem" ("workspaceId", "label") SELECT %(workspace)s, '
            "'Go to companies' WHERE NOT EXISTS (SELECT FROM \"core\".\"commandMenuItem\" WHERE "
            '"workspaceId" = %(workspace)s)']),
        ("AddNumberFormatCommand", ['ALTER TABLE {s}."workspaceMember" ADD COLUMN IF NOT EXISTS '
                                    "\"numberFormat\" text NOT NULL DEFAULT 'SYSTEM'"])],
    (1, 19): [("AddAvatarFileCommand",
               ['ALTER TABLE {s}."person" ADD COLUMN IF NOT EXISTS "avatarFileId" uuid'])],
    (1, 20): [("AddTaskReminderCommand",
               ['ALTER TABLE {s}."task" ADD COLUMN IF NOT EXISTS "remindAt" timestamptz'])],
}

# What a login reads, as of each minor; a release reads all of its own and earlier ones' but those
# in _FORGOTTEN. {s} is the workspace's schema.
_QUERIES = {
    (1, 10): ['SELECT "id", "displayName", "activationStatus" FROM "core"."workspace"',
              'SELECT "id", "email" FROM "core"."user"',
              'SELECT "id", "universalIdentifier" FROM "core"."fieldMetadata" LIMIT 1',
              'SELECT "id", "name", "searchVector" FROM {s}."company" LIMIT 1'],
    (1, 15): ['SELECT "id", "assigneeId" FROM {s}."task" LIMIT 1'],
    (1, 16): ['SELECT "id", "value" FROM core."rowLevelPermissionPredicate" LIMIT 1',
              'SELECT "id", "objectMetadataId" FROM core."rowLevelPermissionPredicateGroup" LIMIT 1',
              'SELECT "id", "ownerId" FROM {s}."opportunity" LIMIT 1'],
    (1, 17): ['SELECT "id", "targetTaskId" FROM {s}."attachment" LIMIT 1'],
    (1, 18): ['SELECT "id", "label" FROM core."commandMenuItem" LIMIT 1',
              'SELECT "id", "fastModel" FROM "core"."workspace" LIMIT 1',
              'SELECT "id", "numberFormat" FROM {s}."workspaceMember" LIMIT 1'],
    (1, 19): ['SELECT "id", "position" FROM core."navigationMenuItem" LIMIT 1',
              'SELECT "id", "avatarFileId" FROM {s}."person" LIMIT 1'],
    (1, 20): ['SELECT "id", "eventLogRetentionInDays" FROM "core"."workspace" LIMIT 1',
              'SELECT "id", "remindAt" FROM {s}."task" LIMIT 1'],
    (1, 21): ['SELECT "name", "status" FROM core."upgradeMigration" LIMIT 1'],
    (2, 0): ['SELECT "id", "logo" FROM "core"."workspace" LIMIT 1'],
}
# Read by 2.x up to and including 2.19; the 2.20 step drops the column.
_FORGOTTEN = {'SELECT "id", "logo" FROM "core"."workspace" LIMIT 1': (2, 20)}

# From 1.21: versions whose sequence has nothing, nothing for the instance, or real statements.
_WITHOUT_COMMANDS = {(2, 0), (2, 10)}
_WORKSPACE_ONLY = {(2, 21)}
_INSTANCE = {(1, 23): ['ALTER TABLE "core"."workspace" DROP COLUMN IF EXISTS "version"'],
             (2, 20): ['ALTER TABLE "core"."workspace" DROP COLUMN IF EXISTS "logo"']}
_SEQUENCE = {(2, 21): ['ALTER TABLE {s}."person" ADD COLUMN IF NOT EXISTS "galleryImages" jsonb']}


def text(minor):
    return f"{minor[0]}.{minor[1]}.0"


def minor_of(version):
    """(1, 15) of `1.15.4`; None when it is no semantic version."""
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?", version or "")
    return (int(found[1]), int(found[2])) if found else None


def migration_count(minor):
    return _COUNTS.get(minor, 182)


def core_migrations(minor):
    """(timestamp, name, statements, tolerated) of every core migration a release ships, in order."""
    found = []
    for step in ORDER[:ORDER.index(minor) + 1]:
        for name, statements, tolerated in _CORE.get(step, []):
            found.append(_migration(len(found), name, statements, tolerated))
        while len(found) < migration_count(step):
            found.append(_migration(len(found), f"AdjustCoreTables{len(found) + 1}", [], False))
    return found


def workspace_commands(minor):
    return _WORKSPACE.get(minor, [])


def workspace_history(minor):
    """Every workspace command up to `minor`: what a workspace created by this release gets."""
    return [c for step in ORDER[:ORDER.index(minor) + 1] for c in _WORKSPACE.get(step, [])]


def login_queries(minor):
    return [q for step in ORDER[:ORDER.index(minor) + 1] for q in _QUERIES.get(step, [])
            if q not in _FORGOTTEN or minor < _FORGOTTEN[q]]


Step = collections.namedtuple("Step", "minor kind name statements")


def sequence(minor):
    """The steps an image of 1.21 or later has, in order; versions without commands have none."""
    found = []
    for step in [m for m in ORDER if (1, 21) <= m <= minor and m not in _WITHOUT_COMMANDS]:
        statements = _INSTANCE.get(step, [])
        if step not in _WORKSPACE_ONLY:
            found.append(_step(step, "instance", "AdjustTablesFastInstanceCommand", statements, 1))
        if step == (2, 20):
            found.append(_step(step, "instance", "BackfillGallerySlowInstanceCommand", [], 2))
        found.append(_step(step, "workspace", "BackfillRecordsCommand", _SEQUENCE.get(step, []), 3))
    return found


def _step(minor, kind, name, statements, number):
    timestamp = 1_775_129_420_309 + ORDER.index(minor) * 86_400_000 + number
    return Step(minor, kind, f"{text(minor)}_{name}_{timestamp}", statements)


def _migration(index, name, statements, tolerated):
    timestamp = 1_700_140_427_984 + index * 700_000_000
    return timestamp, f"{name}{timestamp}", statements, tolerated


class Release:
    """This image: `code` is what it was built from, `app_version` what its environment claims."""

    def __init__(self, working_directory):
        with open(os.path.join(working_directory, "package.json"), encoding="utf-8") as file:
            self.code_version = json.load(file)["version"]
        self.code = minor_of(self.code_version)
        self.app_version = os.environ.get("APP_VERSION")
        self.folder = os.path.dirname(os.path.dirname(os.path.dirname(working_directory)))
        self.faults = faults.load(self.folder)

    @property
    def has_cursor(self):
        return self.code >= (1, 21)


def load():
    here = os.path.dirname(os.path.abspath(__file__))
    return Release(os.path.dirname(os.path.dirname(here)))
