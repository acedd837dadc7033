// SPDX-License-Identifier: Apache-2.0
#include "database/external.hpp"

#include "twenty/service_url.hpp"

namespace stackspec {
namespace {

constexpr int kLockRounds = 3;
constexpr const char* kLockClass = "1398030667";

constexpr std::string_view kOccupied = R"(
  SELECT NOT coalesce(bool_or(c.relname = 'workspace'), false)
         AND coalesce(bool_or(c.relkind IN ('r', 'p', 'v', 'm')), false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'core')";

/// A pooler gives both sessions the same connection, and with it the same lock. False: it did.
Result<bool> excludes(Connection& holder, Connection& other, int round,
                      const std::stop_token& stop) {
  // A key that no other look takes at the same time.
  const auto pid = TRY(holder.query("SELECT pg_backend_pid()", {}, stop));
  const std::string lock = std::string("SELECT pg_try_advisory_lock(") + kLockClass + ", " +
                           std::to_string(number_at(pid.front(), 0) * 8 + round) + ")";
  const auto first = TRY(holder.query(lock, {}, stop));
  const auto second = TRY(other.query(lock, {}, stop));
  TRY(other.query("SELECT pg_advisory_unlock_all()", {}, stop));
  TRY(holder.query("SELECT pg_advisory_unlock_all()", {}, stop));
  return bool_at(first.front(), 0) && !bool_at(second.front(), 0);
}

}  // namespace

Result<void> read_external(Connection& connection, const DatabaseTarget& target, DatabaseSeen& seen,
                           const std::stop_token& stop) {
  ExternalDatabaseSeen& external = seen.external;
  const auto row = TRY(connection.query(
      "SELECT current_database(), current_user, "
      "has_database_privilege(current_database(), 'CREATE') AND coalesce((SELECT "
      "has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), true), "
      "EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
      "n.nspname "
      "= 'stackspec_meta' AND c.relname = 'owner')",
      {}, stop));
  seen.name = text_at(row.front(), 0);
  seen.user = text_at(row.front(), 1);
  external.may_create = bool_at(row.front(), 2);
  if (bool_at(row.front(), 3)) {
    const auto owner =
        TRY(connection.try_query("SELECT stack FROM stackspec_meta.owner LIMIT 1", stop));
    // What others may not read is not ours.
    external.owner = !owner ? "another user" : owner->empty() ? "" : text_at(owner->front(), 0);
  }
  const auto occupied = TRY(connection.query(kOccupied, {}, stop));
  external.occupied = bool_at(occupied.front(), 0);
  const std::string cluster = seen.system_identifier.empty() ? "unknown" : seen.system_identifier;
  seen.system_identifier = cluster + "/" + seen.name;
  if (!target.thorough) return {};
  const auto dependents = TRY(connection.query(foreign_dependents_sql(target.shared), {}, stop));
  for (const auto& dependent : dependents) {
    external.foreign_dependents.push_back(text_at(dependent, 0));
  }
  return {};
}

Result<bool> is_direct(const DatabaseTarget& target, const DatabaseTimeouts& timeouts,
                       const std::stop_token& stop) {
  const auto holder = TRY(Connection::open(target, timeouts, stop));
  const auto other = TRY(Connection::open(target, timeouts, stop));
  for (int round = 0; round < kLockRounds; ++round) {
    if (!TRY(excludes(*holder, *other, round, stop))) return false;
  }
  return true;
}

}  // namespace stackspec
