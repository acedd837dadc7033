// SPDX-License-Identifier: Apache-2.0
#include "database/ledger.hpp"

namespace stackspec {
namespace {

/// Which parts of the record exist: each came, or went, with some release.
struct Shape {
  bool workspace = false;
  bool upgrade_migration = false;
  bool typeorm = false;
  bool feature_flag = false;
  bool data_source = false;
  bool version_column = false;
  bool schema_column = false;
  bool deleted_column = false;
};

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

Result<Shape> read_shape(Connection& connection, const std::stop_token& stop) {
  const auto rows = TRY(connection.query(kShape, {}, stop));
  if (rows.empty()) return Error{ErrorKind::Internal, "the shape of the record is unknown"};
  const Row& row = rows.front();
  Shape shape;
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

constexpr const char* kSchemaOfSource =
    R"((SELECT min(d.schema::text) FROM core."dataSource" d WHERE d."workspaceId" = w.id))";

/// A workspace somebody has deleted is left alone by Twenty's own upgrade, so it is none of ours.
std::string workspaces_sql(const Shape& shape) {
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

Result<void> read_workspaces(Connection& connection, const Shape& shape, Ledger& ledger,
                             const std::stop_token& stop) {
  const auto rows = TRY(connection.query(workspaces_sql(shape), {}, stop));
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
  return {};
}

constexpr std::string_view kFailedSteps = R"(
  SELECT m.name, m."workspaceId"::text, m."executedByVersion", left(m."errorMessage", 500)
    FROM core."upgradeMigration" m
   WHERE m.status::text = 'failed'
     AND m.attempt = (SELECT max(s.attempt) FROM core."upgradeMigration" s
                       WHERE s.name = m.name AND s."workspaceId" IS NOT DISTINCT FROM m."workspaceId")
   ORDER BY m."createdAt", m.name)";

Result<void> read_upgrade_migrations(Connection& connection, Ledger& ledger,
                                     const std::stop_token& stop) {
  const auto failed = TRY(connection.query(kFailedSteps, {}, stop));
  for (const auto& row : failed) {
    ledger.failed.push_back({text_at(row, 0), text_at(row, 1), text_at(row, 2), text_at(row, 3)});
  }
  const auto instance = TRY(connection.query(
      R"(SELECT name FROM core."upgradeMigration" WHERE "workspaceId" IS NULL
         ORDER BY "createdAt" DESC, attempt DESC, name DESC LIMIT 1)",
      {}, stop));
  if (!instance.empty()) ledger.instance_cursor = text_at(instance.front(), 0);
  return {};
}

Result<void> read_newest(Connection& connection, const Shape& shape, Ledger& ledger,
                         const std::stop_token& stop) {
  if (shape.typeorm) {
    const auto count =
        TRY(connection.query("SELECT count(*) FROM core._typeorm_migrations", {}, stop));
    ledger.migrations = static_cast<int>(number_at(count.front(), 0));
  }
  if (!shape.upgrade_migration && !shape.typeorm) return {};
  const auto rows = TRY(connection.query(
      shape.upgrade_migration
          ? R"(SELECT name FROM core."upgradeMigration" GROUP BY name
               ORDER BY max("createdAt") DESC, name DESC LIMIT 5)"
          : R"(SELECT name FROM core._typeorm_migrations ORDER BY "timestamp" DESC, id DESC LIMIT 5)",
      {}, stop));
  for (const auto& row : rows) ledger.newest.push_back(text_at(row, 0));
  return {};
}

Result<void> read_flags(Connection& connection, Ledger& ledger, const std::stop_token& stop) {
  const auto rows = TRY(connection.query(
      R"(SELECT "workspaceId"::text, key::text, value FROM core."featureFlag")", {}, stop));
  for (const auto& row : rows) ledger.flags[text_at(row, 0)][text_at(row, 1)] = bool_at(row, 2);
  return {};
}

}  // namespace

Result<Ledger> read_ledger(Connection& connection, const std::stop_token& stop) {
  const auto shape = TRY(read_shape(connection, stop));
  Ledger ledger;
  const auto cursor = TRY(connection.query(cursor_sql(), {}, stop));
  if (!cursor.empty()) ledger.cursor_key = text_at(cursor.front(), 0);
  // A schema without this table is an install that never finished, whatever else lies in it.
  if (!shape.workspace) return ledger;
  ledger.model = shape.upgrade_migration ? LedgerModel::Cursor : LedgerModel::Workspace;
  TRY(read_workspaces(connection, shape, ledger, stop));
  TRY(read_newest(connection, shape, ledger, stop));
  if (shape.upgrade_migration) TRY(read_upgrade_migrations(connection, ledger, stop));
  if (shape.feature_flag) TRY(read_flags(connection, ledger, stop));
  return ledger;
}

}  // namespace stackspec
