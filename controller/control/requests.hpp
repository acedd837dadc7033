// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "api/stack.hpp"
#include "objects/object_api.hpp"
#include "plan/seen.hpp"

// StackBackup and StackRestore objects: what people ask of a stack, and what is told of it.
// Internal to control/.

namespace stackspec {

struct BackupObject {
  Object object;
  StackBackupSpec spec;
};
struct RestoreObject {
  Object object;
  StackRestoreSpec spec;
};
/// Those of one stack, the restores oldest first.
struct Requests {
  std::vector<BackupObject> backups;
  std::vector<RestoreObject> restores;
};
Result<Requests> list_requests(ObjectApi& objects, const Stack& stack);

/// Adds to `seen` those that are still to be fulfilled.
void add_requests(const Requests& requests, Seen& seen);

/// What one pass knows of a stack.
struct Pass {
  const Stack& stack;
  const Seen& seen;
  const StackStatus& status;  ///< As planned in this pass.
  WallTime now;
};

/// Makes StackBackup objects tell what lies in storage, and StackRestore objects how they went.
/// Error: Conflict when somebody wrote one since `requests` were listed.
Result<void> report_requests(ObjectApi& objects, const Requests& requests, const Pass& pass);

}  // namespace stackspec
