// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "database/connection.hpp"
#include "twenty/ledger.hpp"

// Internal to database/.

namespace stackspec {

/// Which parts of the record exist: each came, or went, with some release.
struct LedgerShape {
  bool workspace = false;
  bool upgrade_migration = false;
  bool typeorm = false;
  bool feature_flag = false;
  bool data_source = false;
  bool version_column = false;
  bool schema_column = false;
  bool deleted_column = false;
  friend bool operator==(const LedgerShape&, const LedgerShape&) = default;
};

/// One row for shape_of().
std::string_view shape_sql();
LedgerShape shape_of(const Row& row);

/// Twenty's migration record, which has `shape`, without the sentinels: asked inside the
/// transaction of the caller, taken into `ledger`.
void ask_ledger(const LedgerShape& shape, Ledger& ledger, std::vector<Ask>& asks);

}  // namespace stackspec
