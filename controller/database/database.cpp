// SPDX-License-Identifier: Apache-2.0
#include "database/database.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "base/clock.hpp"
#include "database/connection.hpp"
#include "database/external.hpp"
#include "database/look.hpp"

namespace stackspec {
namespace {

using Steady = std::chrono::steady_clock;

constexpr auto kLongestIdle = std::chrono::minutes(15);
constexpr std::size_t kMostAtWork = 64;    ///< A thousand would leave memory in shreds.
constexpr std::size_t kMostExternal = 64;  ///< With TLS, and taking what others could connect with.
constexpr std::size_t kMostAtRest = 8;
/// Stacks in a journey are looked at more often; one that is settled waits for minutes.
constexpr auto kTurn = std::chrono::seconds(5);
constexpr auto kTidyEvery = std::chrono::seconds(1);
constexpr std::size_t kTablesAtOnce = 50;

/// A connection, and what is known by it.
struct Kept {
  std::unique_ptr<Connection> connection;
  Steady::time_point since = {};
  Known known = {};
};

/// One SELECT a table that carries times of creation or change: rows after $1, newest of them.
Result<std::vector<std::string>> loss_queries(Connection& connection, const std::stop_token& stop) {
  const auto rows = TRY(connection.query(
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
      {}, stop));
  return first_column(rows);
}

Result<Loss> count_loss(Connection& connection, const DatabaseTimeouts& timeouts,
                        const std::string& cutoff, const std::stop_token& stop) {
  TRY(connection.run(begin_asks(timeouts), stop));
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

/// Half of the files that this process may open are for others.
std::size_t most_at_work() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return kMostExternal;
  return std::min(kMostAtWork, static_cast<std::size_t>(files.rlim_cur / 2));
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
        name,
        [&](Kept& on) {
          return look(*on.connection, on.known, target, timeouts_, sentinels, stop);
        },
        stop);
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
    std::erase_if(idle_, [](const auto& entry) { return !entry.second.connection; });
    if (idle_.size() <= kMostAtRest) return;
    std::vector<Steady::time_point> used;
    for (const auto& entry : idle_) used.push_back(entry.second.since);
    const auto last = used.begin() + kMostAtRest - 1;
    std::nth_element(used.begin(), last, used.end(), std::greater<>());
    std::erase_if(idle_, [&](const auto& entry) { return entry.second.since < *last; });
  }

 private:
  /// Runs `work` on the kept connection, and once more on a new one when that had died meanwhile.
  template <class Work>
  auto with_connection(const DatabaseTarget& target, Work work, const std::stop_token& stop)
      -> decltype(work(std::declval<Kept&>())) {
    Kept kept = take(target);
    if (kept.connection) {
      auto done = work(kept);
      if (done || kept.connection->usable() || stop.stop_requested()) {
        give_back(target, std::move(kept), done.has_value(), stop);
        return done;
      }
    }
    auto opened = Connection::open(target, timeouts_, stop);
    if (!opened) return std::move(opened).error();
    Kept fresh{.connection = std::move(opened).value(), .known = std::move(kept.known)};
    fresh.known.session_changed();
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
    kept.since = Steady::now();
    const std::lock_guard lock(mutex_);
    const auto place = idle_.insert_or_assign(target, std::move(kept)).first;
    forget_old_locked();
    const std::size_t most = target.external ? kMostExternal : most_;
    if (idle_.size() <= most) return;
    std::size_t open = 0;
    auto oldest = place;
    for (auto one = idle_.begin(); one != idle_.end(); ++one) {
      if (!one->second.connection || one->first.external != target.external) continue;
      ++open;
      if (one->second.since < oldest->second.since) oldest = one;
    }
    // Those that are worked on in turns would else each be thrown out just before its turn.
    const bool busy = place->second.since - oldest->second.since < kTurn;
    if (open > most) (busy ? place : oldest)->second.connection.reset();
  }

  /// What is known of a server may save the next session its time.
  void forget_old_locked() {
    const auto now = Steady::now();
    if (now - tidied_ < kTidyEvery) return;
    tidied_ = now;
    std::erase_if(idle_, [&](const auto& entry) {
      const Kept& other = entry.second;
      return now - other.since > (other.connection ? kLongestIdle : kKnownFor);
    });
  }

  DatabaseTimeouts timeouts_;
  const std::size_t most_ = most_at_work();
  std::mutex mutex_;
  Steady::time_point tidied_;  // guarded by mutex_
  std::map<DatabaseTarget, Kept> idle_;
};

}  // namespace

std::unique_ptr<Database> make_database(DatabaseTimeouts timeouts) {
  return std::make_unique<PqDatabase>(timeouts);
}

}  // namespace stackspec
