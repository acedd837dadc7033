// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "catalog/catalog.hpp"
#include "plan/seen.hpp"

// What the database itself says: the truth about migrations. The only folder with libpq; it reads
// and never writes.

namespace stackspec {

struct DatabaseTarget {
  std::string host;
  int port = 5432;
  std::string user;
  std::string password;  ///< Never part of an error or a log line.
  std::string dbname = "default";
  std::string application_name;  ///< `stackspec/<stack>/controller`
  std::string ssl_mode = {};     ///< sslmode; empty: libpq's own.
  bool external = false;         ///< Somebody else runs it: DatabaseSeen::external is read too.
  bool shared = false;           ///< Other applications live in it.
  bool thorough = false;         ///< Also what takes longer and only a preflight needs.
  friend auto operator<=>(const DatabaseTarget&, const DatabaseTarget&) = default;
};

/// What would be lost by going back to a cutoff.
struct Loss {
  std::int64_t rows = 0;   ///< Rows created or changed since; deleted rows leave no trace.
  std::string last_write;  ///< RFC 3339; empty when there was none.
  friend bool operator==(const Loss&, const Loss&) = default;
};

/// Any thread; a connection per target is kept, of up to 64 targets of ours (and no more than half
/// of the files that may be open) and 64 external ones, and replaced when it breaks. A new session
/// costs a server thirty times what a look does.
class Database {
 public:
  virtual ~Database() = default;

  /// Everything of DatabaseSeen but rows_since_cutoff and last_write, in one read-only snapshot,
  /// the answers of `sentinels` among it. Where the database is ours size_bytes is up to ten
  /// seconds old; available_extensions are up to a minute old, never those of another server. A
  /// database that does not answer in time, refuses us or breaks is a value: reachable = false and
  /// `error` says why. Error: Cancelled only.
  virtual Result<DatabaseSeen> read(const DatabaseTarget& target,
                                    const std::vector<Sentinel>& sentinels,
                                    std::stop_token stop) = 0;

  /// Rows of core and workspace_* whose "createdAt" or "updatedAt" is after `cutoff` (RFC 3339).
  /// Errors: Invalid (cutoff), Unavailable, Cancelled.
  virtual Result<Loss> loss_since(const DatabaseTarget& target, std::string_view cutoff,
                                  std::stop_token stop) = 0;

  /// There is nothing to do for now: keeps only the 8 connections that were used last. A thousand
  /// stacks at rest shall not hold a thousand, and one that is worked on not connect at every look.
  virtual void rest() = 0;
};

struct DatabaseTimeouts {
  std::chrono::milliseconds connect{5000};
  std::chrono::milliseconds statement{5000};  ///< Kept by the server; the socket's is 1 s more.
};
std::unique_ptr<Database> make_database(DatabaseTimeouts timeouts = {});

}  // namespace stackspec
