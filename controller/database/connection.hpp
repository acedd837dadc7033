// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <optional>
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

  /// False once the session has broken or a wait was given up: it cannot be used again.
  bool usable() const;

 private:
  struct Finisher {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  enum class Wait { Ready, TimedOut, Stopped };

  Connection(PGconn* connection, const DatabaseTimeouts& timeouts)
      : connection_(connection), timeouts_(timeouts) {}
  Result<void> establish(const std::stop_token& stop);
  Result<Rows> collect(const std::stop_token& stop);
  Wait wait(short events, std::chrono::steady_clock::time_point deadline,
            const std::stop_token& stop) const;
  Error broken(std::string_view why);

  std::unique_ptr<PGconn, Finisher> connection_;
  DatabaseTimeouts timeouts_;
  bool given_up_ = false;
};

}  // namespace stackspec
