// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "base/result.hpp"
#include "database/connection.hpp"
#include "plan/seen.hpp"

// Internal to database/: what is only asked of a database that somebody else runs.

namespace stackspec {

/// Inside the transaction of the caller. `seen` holds all the rest already.
Result<void> read_external(Connection& connection, const DatabaseTarget& target, DatabaseSeen& seen,
                           const std::stop_token& stop);

/// Whether a session's advisory lock keeps other sessions out: through a pooler that hands out
/// connections by transaction it does not. Opens two sessions of its own.
Result<bool> is_direct(const DatabaseTarget& target, const DatabaseTimeouts& timeouts,
                       const std::stop_token& stop);

}  // namespace stackspec
