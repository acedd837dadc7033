// SPDX-License-Identifier: Apache-2.0
#include "database/look.hpp"

#include <utility>

#include "database/external.hpp"

namespace stackspec {
namespace {

using Steady = std::chrono::steady_clock;

/// Only the free space for backups is compared with it, in a preflight, three times over.
constexpr std::chrono::seconds kSizeFor{10};
constexpr std::string_view kOurSessions = "stackspec/";

constexpr const char* kServer =
    "SELECT current_setting('server_version_num')::int / 10000, "
    "current_setting('server_version'), "
    "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
    "ELSE pg_current_wal_lsn() END)::text, "
    "EXISTS (SELECT FROM pg_namespace WHERE nspname LIKE 'stackspec\\_old\\_%')";

/// Those that this user could create in this database. The server reads a hundred files for it.
constexpr const char* kCreatableExtensions =
    "SELECT DISTINCT name::text FROM pg_available_extension_versions WHERE NOT superuser "
    "OR (trusted AND has_database_privilege(current_database(), 'CREATE')) "
    "OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1";

/// Sessions of people and programs; autovacuum has no user, a parallel worker has a leader. The
/// view pg_stat_activity tells the same at four times the price.
constexpr const char* kSessions =
    "SELECT pid, pg_get_userbyid(usesysid)::text, application_name, host(client_addr), "
    "to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') "
    "FROM pg_stat_get_activity(NULL) "
    "WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND pid <> pg_backend_pid() AND usesysid IS NOT NULL AND leader_pid IS NULL "
    "AND coalesce(backend_type, 'client backend') = 'client backend' ORDER BY pid";

/// How the names of this stack's sessions begin. A server of others may have another StackSpec's.
std::string session_prefix(const DatabaseTarget& target) {
  if (!target.external) return std::string(kOurSessions);
  return target.application_name.substr(0, target.application_name.rfind('/') + 1);
}

void take_sessions(const Rows& rows, const DatabaseTarget& target, DatabaseSeen& seen) {
  const std::string ours = session_prefix(target);
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
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    lines.push_back(text.substr(at, end - at));
  }
  return lines;
}

bool is_older(const std::optional<Known::Time>& time, std::chrono::seconds age) {
  return !time || Steady::now() - *time > age;
}

/// Collects what is asked; the answers go into `seen()` and into what is known.
class Look {
 public:
  Look(Connection& connection, Known& known, const DatabaseTarget& target,
       const std::vector<Sentinel>& sentinels)
      : connection_(connection), known_(known), target_(target), sentinels_(sentinels) {
    seen_.reachable = true;
  }

  DatabaseSeen& seen() { return seen_; }
  const std::optional<LedgerShape>& shape() const { return shape_; }

  void ask_server(const DatabaseTimeouts& timeouts) {
    asks_ = begin_asks(timeouts);
    ask(kServer, [this](const Rows& rows) { take_server(rows); });
    ask(std::string(shape_sql()), [this](const Rows& rows) {
      if (!rows.empty()) shape_ = shape_of(rows.front());
    });
  }

  /// Not everybody may ask; an unknown identity is absent, and asked for at every look.
  void ask_identity() {
    if (connection_.direct() && known_.same_server && !known_.identity.empty()) {
      seen_.system_identifier = known_.identity;
    } else {
      attempt("SELECT system_identifier::text FROM pg_control_system()", [this](const Rows& rows) {
        if (!rows.empty()) seen_.system_identifier = text_at(rows.front(), 0);
      });
    }
  }

  void ask_contents(const LedgerShape& shape) {
    ask("SELECT extname::text FROM pg_extension ORDER BY 1",
        [this](const Rows& rows) { seen_.extensions = first_column(rows); });
    ask(kSessions, [this](const Rows& rows) { take_sessions(rows, target_, seen_); });
    ask_ledger(shape, seen_.ledger, asks_);
    if (!connection_.direct() || is_older(known_.measured, kSizeFor)) {
      ask("SELECT pg_database_size(current_database())", [this](const Rows& rows) {
        size_bytes_ = rows.empty() ? 0 : number_at(rows.front(), 0);
      });
    }
  }

  void ask_what_may_fail() {
    if (is_older(known_.asked, kKnownFor)) {
      creatable_.emplace();
      attempt(kCreatableExtensions, [this](const Rows& rows) {
        for (const auto& row : rows) *creatable_ += text_at(row, 0) + "\n";
      });
    }
    for (const auto& sentinel : sentinels_) {
      attempt(sentinel.sql, [this, &sentinel](const Rows& rows) {
        if (rows.size() != 1 || rows.front().size() != 1) return;  // Absent: unknown.
        if (rows[0][0]) seen_.ledger.sentinels[sentinel.name] = bool_at(rows[0], 0);
      });
    }
  }

  void ask_end() { asks_.push_back({.sql = "COMMIT"}); }

  /// `again`: the next look will ask the same.
  Result<void> run(bool again, const std::stop_token& stop) {
    for (Ask& one : asks_) one.prepared = again && !one.may_fail;
    auto done = connection_.run(asks_, stop);
    asks_.clear();
    return done;
  }

  /// Of another server nothing is known; one that does not say which it is may be another.
  void settle_identity() {
    const std::string& identity = seen_.system_identifier;
    const bool other = known_.same_server ? !known_.identity.empty() && identity != known_.identity
                                          : identity.empty() || identity != known_.identity;
    if (other) known_ = {};
    known_.identity = identity;
    known_.same_server = true;
  }

  void settle() {
    if (creatable_) {
      known_.creatable = std::move(*creatable_);
      known_.asked = Steady::now();
    }
    if (size_bytes_) {
      known_.size_bytes = *size_bytes_;
      known_.measured = Steady::now();
    }
    if (connection_.direct()) known_.shape = shape_;
    seen_.available_extensions = lines_of(known_.creatable);
    seen_.size_bytes = known_.size_bytes;
  }

 private:
  void ask(std::string sql, std::function<void(const Rows&)> take) {
    asks_.push_back({.sql = std::move(sql), .take = std::move(take)});
  }
  void attempt(std::string sql, std::function<void(const Rows&)> take) {
    asks_.push_back({.sql = std::move(sql), .take = std::move(take), .may_fail = true});
  }

  void take_server(const Rows& rows) {
    for (const auto& row : rows) {
      seen_.server_major = static_cast<int>(number_at(row, 0));
      seen_.server_version = text_at(row, 1);
      seen_.lsn = text_at(row, 2);
      seen_.old_schemas = bool_at(row, 3);
    }
  }

  Connection& connection_;
  Known& known_;
  const DatabaseTarget& target_;
  const std::vector<Sentinel>& sentinels_;
  DatabaseSeen seen_;
  std::optional<LedgerShape> shape_;
  std::optional<std::string> creatable_;  ///< Asked for in this look.
  std::optional<std::int64_t> size_bytes_;
  std::vector<Ask> asks_;
};

struct Subject {
  Connection& connection;
  Known& known;
  const DatabaseTarget& target;
  const DatabaseTimeouts& timeouts;
  const std::vector<Sentinel>& sentinels;
};

/// With `assumed` all is asked at once, as if the record had still that shape.
Result<DatabaseSeen> look_once(const Subject& of, const std::optional<LedgerShape>& assumed,
                               const std::stop_token& stop) {
  Look look(of.connection, of.known, of.target, of.sentinels);
  look.ask_server(of.timeouts);
  if (!assumed) {
    look.ask_identity();
    TRY(look.run(false, stop));
    look.settle_identity();
    if (!look.shape()) return Error{ErrorKind::Internal, "the shape of the record is unknown"};
  }
  look.ask_contents(assumed ? *assumed : *look.shape());
  if (assumed) look.ask_identity();
  look.ask_what_may_fail();
  if (of.target.external) {
    TRY(look.run(false, stop));
    TRY(read_external(of.connection, of.target, look.seen(), stop));
  }
  look.ask_end();
  TRY(look.run(assumed.has_value(), stop));
  if (assumed) look.settle_identity();
  look.settle();
  return std::move(look.seen());
}

}  // namespace

void Known::session_changed() {
  same_server = false;
  shape.reset();
}

std::vector<Ask> begin_asks(const DatabaseTimeouts& timeouts) {
  return {{.sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"},
          {.sql = "SELECT set_config('statement_timeout', $1, true), "
                  "set_config('TimeZone', 'UTC', true), set_config('search_path', '', true)",
           .values = {std::to_string(timeouts.statement.count())}}};
}

Result<DatabaseSeen> look(Connection& connection, Known& known, const DatabaseTarget& target,
                          const DatabaseTimeouts& timeouts, const std::vector<Sentinel>& sentinels,
                          const std::stop_token& stop) {
  const Subject of{connection, known, target, timeouts, sentinels};
  const auto assumed = std::exchange(known.shape, std::nullopt);
  auto seen = look_once(of, assumed, stop);
  if (!assumed || (seen && known.shape == assumed)) return seen;
  if (!seen) {
    const bool refused =
        seen.error().kind == ErrorKind::Invalid || seen.error().kind == ErrorKind::Forbidden;
    if (!connection.usable() || !refused) return seen;
    TRY(connection.query("ROLLBACK", {}, stop));
  }
  // Somebody migrates: neither the shape nor what was prepared for it is what it was.
  TRY(connection.forget_prepared(stop));
  return look_once(of, std::nullopt, stop);
}

}  // namespace stackspec
