// SPDX-License-Identifier: Apache-2.0
#include "objects/sqlite_handle.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace stackspec {

namespace {

constexpr int kBusyTimeoutMs = 5000;

Error sqlite_error(sqlite3* handle) {
  return {ErrorKind::Unavailable, std::string("sqlite: ") + sqlite3_errmsg(handle)};
}

/// SQLite would make it with the umask's mode; its -wal and -shm files copy the mode of this one.
/// An existing file is not opened: closing it would drop the locks of another connection of ours.
Result<void> make_private_file(const std::string& path) {
  const int made = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (made >= 0) {
    ::close(made);
    return {};
  }
  if (errno == EEXIST && ::chmod(path.c_str(), 0600) == 0) return {};
  return Error{ErrorKind::Unavailable, std::generic_category().message(errno)};
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

void Statement::bind(int index, std::string_view value) {
  sqlite3_bind_text64(statement_.get(), index, value.data(), value.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
}

void Statement::bind(int index, std::int64_t value) {
  sqlite3_bind_int64(statement_.get(), index, value);
}

Result<Statement::Step> Statement::step() {
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW: return Step::Row;
    case SQLITE_DONE: return Step::Done;
    default: return sqlite_error(sqlite3_db_handle(statement_.get()));
  }
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return size == 0 ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

void SqliteHandle::Close::operator()(sqlite3* handle) const {
  sqlite3_close_v2(handle);
}

Result<SqliteHandle> SqliteHandle::open(const std::string& path) {
  if (path != ":memory:") TRY(make_private_file(path));
  sqlite3* opened = nullptr;
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(path.c_str(), &opened, kFlags, nullptr);
  SqliteHandle handle;
  handle.handle_.reset(opened);
  if (code != SQLITE_OK) return sqlite_error(opened);
  sqlite3_busy_timeout(opened, kBusyTimeoutMs);
  return handle;
}

Result<Statement> SqliteHandle::prepared(std::string_view sql) {
  Statement statement;
  sqlite3_stmt* made = nullptr;
  const int code =
      sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()), &made, nullptr);
  statement.statement_.reset(made);
  if (code != SQLITE_OK) return sqlite_error(handle_.get());
  return statement;
}

Result<Transaction> Transaction::begin(SqliteHandle& handle, Mode mode) {
  TRY(handle.run(mode == Mode::Write ? "BEGIN IMMEDIATE" : "BEGIN"));
  return Transaction(handle);
}

Result<void> Transaction::commit() {
  TRY(handle_->run("COMMIT"));
  handle_ = nullptr;
  return {};
}

Transaction::Transaction(Transaction&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)) {}

Transaction::~Transaction() {
  // Fails harmlessly when SQLite rolled back by itself, as it does after a full disk.
  if (handle_ != nullptr) static_cast<void>(handle_->run("ROLLBACK"));
}

}  // namespace stackspec
