// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "base/result.hpp"
#include "database/connection.hpp"
#include "twenty/ledger.hpp"

// Internal to database/.

namespace stackspec {

/// Twenty's migration record in whatever shape the database has it, without the sentinels. Inside
/// the transaction of the caller.
Result<Ledger> read_ledger(Connection& connection, const std::stop_token& stop);

}  // namespace stackspec
