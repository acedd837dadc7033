// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace stackspec {

/// One prepared statement. Belongs to the thread that holds the connection's mutex.
class Statement {
 public:
  enum class Step { Row, Done };

  /// Error: Unavailable with SQLite's words (disk full, busy, corrupt, …).
  Result<Step> step();
  std::string text(int column) const;
  std::int64_t integer(int column) const;

 private:
  friend class SqliteHandle;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  void bind(int index, std::string_view value);
  void bind(int index, std::int64_t value);

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// One connection; the caller serialises its use.
class SqliteHandle {
 public:
  /// Makes the file with mode 0600 when it is not there. Error: Unavailable.
  static Result<SqliteHandle> open(const std::string& path);

  template <class... Values>
  Result<Statement> prepare(std::string_view sql, const Values&... values) {
    auto statement = prepared(sql);
    int index = 0;
    if (statement) (statement->bind(++index, values), ...);
    return statement;
  }

  /// A statement whose rows are of no interest.
  template <class... Values>
  Result<void> run(std::string_view sql, const Values&... values) {
    auto statement = prepare(sql, values...);
    if (!statement) return std::move(statement).error();
    while (true) {
      const auto step = statement->step();
      if (!step) return step.error();
      if (*step == Statement::Step::Done) return {};
    }
  }

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  Result<Statement> prepared(std::string_view sql);

  std::unique_ptr<sqlite3, Close> handle_;
};

/// Rolls back unless committed.
class Transaction {
 public:
  /// `Write` takes the write lock at once, so that what is read in it cannot change before commit.
  enum class Mode { Read, Write };

  static Result<Transaction> begin(SqliteHandle& handle, Mode mode);
  Result<void> commit();

  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

 private:
  explicit Transaction(SqliteHandle& handle) : handle_(&handle) {}
  SqliteHandle* handle_ = nullptr;
};

}  // namespace stackspec
