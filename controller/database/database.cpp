// SPDX-License-Identifier: Apache-2.0
#include "database/database.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>

#include "base/clock.hpp"
#include "database/connection.hpp"
#include "database/external.hpp"
#include "database/ledger.hpp"

namespace stackspec {
namespace {

using Steady = std::chrono::steady_clock;

constexpr auto kLongestIdle = std::chrono::minutes(15);
constexpr std::size_t kMostAtWork = 64;
constexpr std::size_t kMostAtRest = 8;
constexpr auto kCreatableFor = std::chrono::minutes(1);
constexpr std::size_t kTablesAtOnce = 50;
constexpr std::string_view kOurSessions = "stackspec/";

/// Those that this user could create in this database. The server reads a hundred files for it.
constexpr std::string_view kCreatableExtensions =
    "SELECT DISTINCT name::text FROM pg_available_extension_versions WHERE NOT superuser "
    "OR (trusted AND has_database_privilege(current_database(), 'CREATE')) "
    "OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1";

/// Ends the transaction whatever way the look goes; a broken session needs no end.
Result<void> begin(Connection& connection, const DatabaseTimeouts& timeouts,
                   const std::stop_token& stop) {
  const std::string limit = std::to_string(timeouts.statement.count());
  TRY(connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, stop));
  TRY(
      connection.query("SELECT set_config('statement_timeout', $1, true), "
                       "set_config('TimeZone', 'UTC', true), set_config('search_path', '', true)",
                       {limit}, stop));
  return {};
}

Result<Row> one_row(Connection& connection, std::string_view sql, const std::stop_token& stop) {
  auto rows = TRY(connection.query(sql, {}, stop));
  if (rows.empty()) return Error{ErrorKind::Internal, "a query of ours returned no row"};
  return std::move(rows.front());
}

Result<std::vector<std::string>> names(Connection& connection, std::string_view sql,
                                       const std::stop_token& stop) {
  const auto rows = TRY(connection.query(sql, {}, stop));
  std::vector<std::string> all;
  for (const auto& row : rows) all.push_back(text_at(row, 0));
  return all;
}

/// A connection, and what was asked on it that does not change from look to look.
struct Kept {
  std::unique_ptr<Connection> connection;
  Steady::time_point since = {};
  std::vector<std::string> creatable = {};  ///< Extensions, as of `asked`.
  Steady::time_point asked = {};
};

Result<void> read_extensions(Kept& kept, DatabaseSeen& seen, const std::stop_token& stop) {
  Connection& connection = *kept.connection;
  seen.extensions =
      TRY(names(connection, "SELECT extname::text FROM pg_extension ORDER BY 1", stop));
  const auto now = Steady::now();
  if (now - kept.asked > kCreatableFor) {
    const auto rows = TRY(connection.try_query(kCreatableExtensions, stop));
    kept.creatable.clear();
    for (const auto& row : rows ? *rows : Rows()) kept.creatable.push_back(text_at(row, 0));
    kept.asked = now;
  }
  seen.available_extensions = kept.creatable;
  return {};
}

Result<void> read_server(Connection& connection, DatabaseSeen& seen, const std::stop_token& stop) {
  const auto row =
      TRY(one_row(connection,
                  "SELECT current_setting('server_version_num')::int / 10000, "
                  "current_setting('server_version'), pg_database_size(current_database()), "
                  "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
                  "ELSE pg_current_wal_lsn() END)::text, "
                  "EXISTS (SELECT FROM pg_namespace WHERE nspname LIKE 'stackspec\\_old\\_%')",
                  stop));
  seen.server_major = static_cast<int>(number_at(row, 0));
  seen.server_version = text_at(row, 1);
  seen.size_bytes = number_at(row, 2);
  seen.lsn = text_at(row, 3);
  seen.old_schemas = bool_at(row, 4);
  // Not everybody may call it; an unknown identity is absent.
  const auto identity =
      TRY(connection.try_query("SELECT system_identifier::text FROM pg_control_system()", stop));
  if (identity && !identity->empty()) seen.system_identifier = text_at(identity->front(), 0);
  return {};
}

/// How the names of this stack's sessions begin. A server of others may have another StackSpec's.
std::string session_prefix(const DatabaseTarget& target) {
  if (!target.external) return std::string(kOurSessions);
  return target.application_name.substr(0, target.application_name.rfind('/') + 1);
}

/// Sessions of people and programs; autovacuum has no user, a parallel worker has a leader.
Result<void> read_sessions(Connection& connection, const DatabaseTarget& target, DatabaseSeen& seen,
                           const std::stop_token& stop) {
  const std::string ours = session_prefix(target);
  const auto rows = TRY(connection.query(
      "SELECT pid, usename::text, application_name, host(client_addr), "
      "to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
      "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
      "AND usename IS NOT NULL AND leader_pid IS NULL "
      "AND coalesce(backend_type, 'client backend') = 'client backend' ORDER BY pid",
      {}, stop));
  for (const auto& row : rows) {
    Session session;
    session.pid = static_cast<int>(number_at(row, 0));
    session.user = text_at(row, 1);
    session.application = text_at(row, 2);
    session.address = text_at(row, 3);
    session.query_start = text_at(row, 4);
    session.ours = session.application.starts_with(ours);
    // Controllers only read: one that looks for another stack is in nobody's way.
    const bool looks_on = session.application.starts_with(kOurSessions) &&
                          session.application.ends_with("/controller");
    if (target.external && looks_on) continue;
    seen.sessions.push_back(std::move(session));
  }
  return {};
}

Result<DatabaseSeen> look(Kept& kept, const DatabaseTarget& target,
                          const DatabaseTimeouts& timeouts, const std::vector<Sentinel>& sentinels,
                          const std::stop_token& stop) {
  Connection& connection = *kept.connection;
  TRY(begin(connection, timeouts, stop));
  DatabaseSeen seen;
  seen.reachable = true;
  TRY(read_server(connection, seen, stop));
  TRY(read_extensions(kept, seen, stop));
  TRY(read_sessions(connection, target, seen, stop));
  seen.ledger = TRY(read_ledger(connection, stop));
  for (const auto& sentinel : sentinels) {
    const auto rows = TRY(connection.try_query(sentinel.sql, stop));
    if (!rows || rows->size() != 1 || rows->front().size() != 1) continue;  // Absent: unknown.
    if (rows->front()[0]) seen.ledger.sentinels[sentinel.name] = bool_at(rows->front(), 0);
  }
  if (target.external) TRY(read_external(connection, target, seen, stop));
  TRY(connection.query("COMMIT", {}, stop));
  return seen;
}

/// One SELECT a table that carries times of creation or change: rows after $1, newest of them.
Result<std::vector<std::string>> loss_queries(Connection& connection, const std::stop_token& stop) {
  return names(
      connection,
      "SELECT format('SELECT count(*) AS rows, max(greatest(%s))::timestamptz AS newest "
      "FROM %I.%I WHERE %s', string_agg(quote_ident(a.attname), ', '), n.nspname, c.relname, "
      "string_agg(quote_ident(a.attname) || ' > $1::timestamptz', ' OR ')) "
      "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
      "JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE a.attname IN ('createdAt', 'updatedAt') AND NOT a.attisdropped "
      "AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype) "
      "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
      "AND (n.nspname = 'core' OR n.nspname LIKE 'workspace\\_%') "
      "GROUP BY n.nspname, c.relname ORDER BY n.nspname, c.relname",
      stop);
}

Result<Loss> count_loss(Connection& connection, const DatabaseTimeouts& timeouts,
                        const std::string& cutoff, const std::stop_token& stop) {
  TRY(begin(connection, timeouts, stop));
  const auto queries = TRY(loss_queries(connection, stop));
  Loss loss;
  for (std::size_t first = 0; first < queries.size(); first += kTablesAtOnce) {
    std::string all;
    for (auto i = first; i < std::min(first + kTablesAtOnce, queries.size()); ++i) {
      all += (all.empty() ? "" : " UNION ALL ") + queries[i];
    }
    const auto rows =
        TRY(connection.query("SELECT sum(rows)::bigint, to_char(max(newest) AT TIME ZONE 'UTC', "
                             "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM (" +
                                 all + ") AS tables",
                             {cutoff}, stop));
    loss.rows += number_at(rows.front(), 0);
    loss.last_write = std::max(loss.last_write, text_at(rows.front(), 1));
  }
  TRY(connection.query("COMMIT", {}, stop));
  return loss;
}

class PqDatabase final : public Database {
 public:
  explicit PqDatabase(DatabaseTimeouts timeouts) : timeouts_(timeouts) {}

  Result<DatabaseSeen> read(const DatabaseTarget& target, const std::vector<Sentinel>& sentinels,
                            std::stop_token stop) override {
    // The kept connection is one and the same however much is asked of it.
    DatabaseTarget name = target;
    name.thorough = false;
    auto seen = with_connection(
        name, [&](Kept& on) { return look(on, target, timeouts_, sentinels, stop); }, stop);
    if (seen && target.thorough) {
      const auto direct = is_direct(target, timeouts_, stop);
      seen->external.looked = direct.has_value();
      seen->external.direct = direct && *direct;
    }
    if (seen) return seen;
    if (seen.error().kind == ErrorKind::Cancelled) return seen;
    DatabaseSeen nothing;
    nothing.error = seen.error().message;
    return nothing;
  }

  Result<Loss> loss_since(const DatabaseTarget& target, std::string_view cutoff,
                          std::stop_token stop) override {
    if (!parse_rfc3339(cutoff)) {
      return Error{ErrorKind::Invalid, "cutoff: want a time such as 2026-11-21T09:00:00Z"};
    }
    return with_connection(
        target,
        [&](Kept& on) { return count_loss(*on.connection, timeouts_, std::string(cutoff), stop); },
        stop);
  }

  void rest() override {
    const std::lock_guard lock(mutex_);
    keep_locked(kMostAtRest);
  }

 private:
  /// Runs `work` on the kept connection, and once more on a new one when that had died meanwhile.
  template <class Work>
  auto with_connection(const DatabaseTarget& target, Work work, const std::stop_token& stop)
      -> decltype(work(std::declval<Kept&>())) {
    if (Kept kept = take(target); kept.connection) {
      auto done = work(kept);
      if (done || kept.connection->usable() || stop.stop_requested()) {
        give_back(target, std::move(kept), done.has_value(), stop);
        return done;
      }
    }
    auto opened = Connection::open(target, timeouts_, stop);
    if (!opened) return std::move(opened).error();
    Kept fresh{.connection = std::move(opened).value()};
    auto done = work(fresh);
    give_back(target, std::move(fresh), done.has_value(), stop);
    return done;
  }

  Kept take(const DatabaseTarget& target) {
    const std::lock_guard lock(mutex_);
    auto node = idle_.extract(target);
    return node ? std::move(node.mapped()) : Kept{};
  }

  void give_back(const DatabaseTarget& target, Kept kept, bool clean, const std::stop_token& stop) {
    Connection& connection = *kept.connection;
    if (!clean && (!connection.usable() || !connection.query("ROLLBACK", {}, stop))) return;
    const auto now = kept.since = Steady::now();
    const std::lock_guard lock(mutex_);
    std::erase_if(idle_,
                  [&](const auto& entry) { return now - entry.second.since > kLongestIdle; });
    idle_[target] = std::move(kept);
    keep_locked(kMostAtWork);
  }

  void keep_locked(std::size_t most) {
    while (idle_.size() > most) {
      idle_.erase(std::min_element(idle_.begin(), idle_.end(), [](const auto& a, const auto& b) {
        return a.second.since < b.second.since;
      }));
    }
  }

  DatabaseTimeouts timeouts_;
  std::mutex mutex_;
  std::map<DatabaseTarget, Kept> idle_;
};

}  // namespace

std::unique_ptr<Database> make_database(DatabaseTimeouts timeouts) {
  return std::make_unique<PqDatabase>(timeouts);
}

}  // namespace stackspec
