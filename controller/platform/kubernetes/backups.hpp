// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "platform/kubernetes/children.hpp"
#include "platform/kubernetes/writer.hpp"

// Backups lie in a claim that the controller does not mount. What is in there is remembered in
// StackBackup objects, made from the results of backup tasks; they have no owner.

namespace stackspec::kubernetes {

class TaskKeeper;

/// Makes the StackBackup of a published backup; a person's request of that name becomes it.
Result<void> record_backup(Writer& writer, const Stack& stack, const std::string& id,
                           const std::map<std::string, std::string>& result);

/// The backup with this very hash was proven.
Result<void> record_proof(Writer& writer, const Stack& stack, const std::string& id,
                          const std::string& sha256);

/// From now on it is no backup any more; a Job removes it from the claim. Error: Invalid.
Result<void> remove_backup(Writer& writer, TaskKeeper& tasks, const Stack& stack,
                           const Children& children, const std::string& id);

/// Goes on with removals, and ends those whose Job did its work. True when anything was written.
Result<bool> settle_removals(Writer& writer, TaskKeeper& tasks, const Stack& stack,
                             const Children& children);

/// A Job is removing a backup.
bool is_removing(const Children& children);

/// Oldest first.
std::vector<BackupSeen> backups_of(const Children& children);

}  // namespace stackspec::kubernetes
