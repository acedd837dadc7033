// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "database/connection.hpp"
#include "database/ledger.hpp"
#include "plan/seen.hpp"

// Internal to database/: one look at a database.

namespace stackspec {

/// For so long what is dear to ask and changes slowly is told as it was.
inline constexpr std::chrono::minutes kKnownFor{1};

/// What earlier looks found out and the next one need not ask.
struct Known {
  using Time = std::chrono::steady_clock::time_point;

  // Of the server with `identity`, also in the next session.
  std::string identity = {};
  std::string creatable = {};  ///< Extensions, each with a line's end, as of `asked`.
  std::optional<Time> asked = {};
  std::int64_t size_bytes = 0;  ///< As of `measured`.
  std::optional<Time> measured = {};

  // Of the session.
  bool same_server = false;               ///< `identity` was read in it, or tried to.
  std::optional<LedgerShape> shape = {};  ///< Probably still.

  void session_changed();
};

/// Opens the read-only snapshot that a look, or a count, happens in.
std::vector<Ask> begin_asks(const DatabaseTimeouts& timeouts);

/// As Database::read(), but an error where the database cannot be read. The session is then left
/// in a transaction, or unusable.
Result<DatabaseSeen> look(Connection& connection, Known& known, const DatabaseTarget& target,
                          const DatabaseTimeouts& timeouts, const std::vector<Sentinel>& sentinels,
                          const std::stop_token& stop);

}  // namespace stackspec
