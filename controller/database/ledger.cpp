// SPDX-License-Identifier: Apache-2.0
#include "database/ledger.hpp"

namespace stackspec {
namespace {

constexpr std::string_view kShape = R"(
  SELECT to_regclass('core.workspace') IS NOT NULL,
         to_regclass('core."upgradeMigration"') IS NOT NULL,
         to_regclass('core._typeorm_migrations') IS NOT NULL,
         to_regclass('core."featureFlag"') IS NOT NULL,
         to_regclass('core."dataSource"') IS NOT NULL,
         bool_or(attname = 'version'), bool_or(attname = 'databaseSchema'),
         bool_or(attname = 'deletedAt')
    FROM pg_attribute
   WHERE attrelid = to_regclass('core.workspace') AND attnum > 0 AND NOT attisdropped)";

constexpr const char* kSchemaOfSource =
    R"((SELECT min(d.schema::text) FROM core."dataSource" d WHERE d."workspaceId" = w.id))";

/// A workspace somebody has deleted is left alone by Twenty's own upgrade, so it is none of ours.
std::string workspaces_sql(const LedgerShape& shape) {
  const std::string from_source = shape.data_source ? kSchemaOfSource : "NULL";
  const std::string schema =
      shape.schema_column ? R"(coalesce(nullif(w."databaseSchema"::text, ''), )" + from_source + ")"
                          : from_source;
  const std::string version = shape.version_column ? "w.version::text" : "NULL";
  const std::string cursor =
      shape.upgrade_migration
          ? R"(EXISTS (SELECT FROM core."upgradeMigration" m WHERE m."workspaceId" = w.id))"
          : "false";
  return R"(SELECT w.id::text, w."activationStatus"::text, )" + version + ", " + schema + ", " +
         cursor + R"(, NOT (w."activationStatus"::text = 'ONGOING_CREATION'
                        AND w."createdAt" > now() - interval '1 hour') FROM core.workspace w )" +
         (shape.deleted_column ? R"(WHERE w."deletedAt" IS NULL )" : "") +
         R"(ORDER BY w."createdAt", w.id)";
}

void take_workspaces(const Rows& rows, Ledger& ledger) {
  for (const auto& row : rows) {
    Workspace workspace;
    workspace.id = text_at(row, 0);
    workspace.activation = text_at(row, 1);
    workspace.version = row[2];
    workspace.schema = text_at(row, 3);
    workspace.has_cursor = bool_at(row, 4);
    workspace.old_creation = !row[5] || bool_at(row, 5);
    ledger.workspaces.push_back(std::move(workspace));
  }
}

constexpr std::string_view kFailedSteps = R"(
  SELECT m.name, m."workspaceId"::text, m."executedByVersion", left(m."errorMessage", 500)
    FROM core."upgradeMigration" m
   WHERE m.status::text = 'failed'
     AND m.attempt = (SELECT max(s.attempt) FROM core."upgradeMigration" s
                       WHERE s.name = m.name AND s."workspaceId" IS NOT DISTINCT FROM m."workspaceId")
   ORDER BY m."createdAt", m.name)";

void ask_upgrade_migrations(Ledger& ledger, std::vector<Ask>& asks) {
  asks.push_back({.sql = std::string(kFailedSteps), .take = [&ledger](const Rows& rows) {
                    for (const auto& row : rows) {
                      ledger.failed.push_back(
                          {text_at(row, 0), text_at(row, 1), text_at(row, 2), text_at(row, 3)});
                    }
                  }});
  asks.push_back({.sql = R"(SELECT name FROM core."upgradeMigration" WHERE "workspaceId" IS NULL
         ORDER BY "createdAt" DESC, attempt DESC, name DESC LIMIT 1)",
                  .take = [&ledger](const Rows& rows) {
                    for (const auto& row : rows) ledger.instance_cursor = text_at(row, 0);
                  }});
}

void ask_newest(const LedgerShape& shape, Ledger& ledger, std::vector<Ask>& asks) {
  if (shape.typeorm) {
    asks.push_back({.sql = "SELECT count(*) FROM core._typeorm_migrations",
                    .take = [&ledger](const Rows& rows) {
                      for (const auto& row : rows) {
                        ledger.migrations = static_cast<int>(number_at(row, 0));
                      }
                    }});
  }
  if (!shape.upgrade_migration && !shape.typeorm) return;
  asks.push_back(
      {.sql =
           shape.upgrade_migration
               ? R"(SELECT name FROM core."upgradeMigration" GROUP BY name
               ORDER BY max("createdAt") DESC, name DESC LIMIT 5)"
               : R"(SELECT name FROM core._typeorm_migrations ORDER BY "timestamp" DESC, id DESC LIMIT 5)",
       .take = [&ledger](const Rows& rows) {
         for (const auto& row : rows) ledger.newest.push_back(text_at(row, 0));
       }});
}

void take_flags(const Rows& rows, Ledger& ledger) {
  for (const auto& row : rows) ledger.flags[text_at(row, 0)][text_at(row, 1)] = bool_at(row, 2);
}

}  // namespace

std::string_view shape_sql() {
  return kShape;
}

LedgerShape shape_of(const Row& row) {
  LedgerShape shape;
  shape.workspace = bool_at(row, 0);
  shape.upgrade_migration = bool_at(row, 1);
  shape.typeorm = bool_at(row, 2);
  shape.feature_flag = bool_at(row, 3);
  shape.data_source = bool_at(row, 4);
  shape.version_column = bool_at(row, 5);
  shape.schema_column = bool_at(row, 6);
  shape.deleted_column = bool_at(row, 7);
  return shape;
}

void ask_ledger(const LedgerShape& shape, Ledger& ledger, std::vector<Ask>& asks) {
  asks.push_back({.sql = std::string(cursor_sql()), .take = [&ledger](const Rows& rows) {
                    for (const auto& row : rows) ledger.cursor_key = text_at(row, 0);
                  }});
  // A schema without this table is an install that never finished, whatever else lies in it.
  if (!shape.workspace) return;
  ledger.model = shape.upgrade_migration ? LedgerModel::Cursor : LedgerModel::Workspace;
  asks.push_back({.sql = workspaces_sql(shape),
                  .take = [&ledger](const Rows& rows) { take_workspaces(rows, ledger); }});
  ask_newest(shape, ledger, asks);
  if (shape.upgrade_migration) ask_upgrade_migrations(ledger, asks);
  if (!shape.feature_flag) return;
  asks.push_back({.sql = R"(SELECT "workspaceId"::text, key::text, value FROM core."featureFlag")",
                  .take = [&ledger](const Rows& rows) { take_flags(rows, ledger); }});
}

}  // namespace stackspec
