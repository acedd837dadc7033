// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "database/database.hpp"

// Internal to database/.

namespace stackspec {

using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;

/// The text of a column, empty for NULL.
inline std::string text_at(const Row& row, std::size_t column) {
  return row[column].value_or("");
}
inline bool bool_at(const Row& row, std::size_t column) {
  return text_at(row, column) == "t";
}
std::int64_t number_at(const Row& row, std::size_t column);
/// Of every row.
std::vector<std::string> first_column(const Rows& rows);

/// A statement, and who takes its answer.
struct Ask {
  std::string sql;
  std::vector<std::string> values = {};
  std::function<void(const Rows&)> take = {};
  /// Inside a transaction: when it fails nobody takes it, and the transaction goes on without it.
  bool may_fail = false;
  bool prepared = false;  ///< It will be asked again on this session.
};

/// One session. Every wait has a deadline and ends when stopped; nothing here blocks in libpq.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const DatabaseTarget& target,
                                                  const DatabaseTimeouts& timeouts,
                                                  const std::stop_token& stop);

  /// One statement. Errors: Unavailable (the session is gone or the server had to give up),
  /// Forbidden (no privilege), Invalid (the statement itself), Cancelled.
  Result<Rows> query(std::string_view sql, const std::vector<std::string>& values,
                     const std::stop_token& stop);

  /// A statement that may fail without ending the transaction: nullopt then. Errors: only those
  /// that end the session.
  Result<std::optional<Rows>> try_query(std::string_view sql, const std::stop_token& stop);

  /// Answers are taken in the order of `asks`, until the first that fails; its error is returned,
  /// as query() tells it. One round trip where the session is direct(): what does not wait for an
  /// answer before it asks again is dear neither for the server nor for us.
  Result<void> run(const std::vector<Ask>& asks, const std::stop_token& stop);

  /// What was prepared may no longer fit: all of it is prepared anew. The session has no
  /// transaction.
  Result<void> forget_prepared(const std::stop_token& stop);

  /// The server itself is at the other end, for all we know: what it says once of itself holds for
  /// as long as the session, and statements can be prepared. A database of others may be behind a
  /// pooler.
  bool direct() const { return direct_; }

  /// False once the session has broken or a wait was given up: it cannot be used again.
  bool usable() const;

 private:
  struct Finisher {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  struct ResultDeleter {
    void operator()(PGresult* result) const { PQclear(result); }
  };
  enum class Wait { Ready, TimedOut, Stopped };

  using PgResult = std::unique_ptr<PGresult, ResultDeleter>;
  /// What the server answers in a pipeline, in this order.
  struct Due {
    enum class What { Sync, Savepoint, Preparation, Answer };
    What what = What::Answer;
    const Ask* ask = nullptr;
  };

  Connection(PGconn* connection, const DatabaseTimeouts& timeouts, bool direct)
      : connection_(connection), timeouts_(timeouts), direct_(direct) {}
  Result<void> establish(const std::stop_token& stop);
  Result<Rows> collect(const std::stop_token& stop);
  Result<void> run_in_turn(const std::vector<Ask>& asks, const std::stop_token& stop);
  Result<void> run_at_once(const std::vector<Ask>& asks, const std::stop_token& stop);
  bool send(std::string_view sql, const std::vector<std::string>& values);
  bool send_prepared(const Ask& ask, std::vector<Due>& due);
  Result<std::vector<Due>> send_all(const std::vector<Ask>& asks);
  Result<void> take_all(const std::vector<Due>& due, const std::stop_token& stop);
  Result<void> take(const Due& due, const PGresult* result);
  Result<PgResult> next_result(std::chrono::steady_clock::time_point deadline,
                               const std::stop_token& stop);
  Wait wait(short events, std::chrono::steady_clock::time_point deadline,
            const std::stop_token& stop) const;
  Error broken(std::string_view why);

  std::unique_ptr<PGconn, Finisher> connection_;
  DatabaseTimeouts timeouts_;
  bool direct_ = false;
  bool given_up_ = false;
  std::set<std::size_t> prepared_;  ///< Hashes of the dozen texts, which are their names too.
};

}  // namespace stackspec
