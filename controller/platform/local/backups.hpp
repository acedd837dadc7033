// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "plan/seen.hpp"

namespace stackspec::local {

/// The published backups of a stack below `folder`, oldest first: folders with a readable manifest
/// that names the stack. Proven: a record of level L4 for the very sha256 of the manifest.
std::vector<BackupSeen> list_backups(const std::string& folder, const std::string& stack);

/// Removes a backup and, unless `keep_content`, the stored files that no remaining backup lists.
/// Crash-safe: it first disappears under its name. Errors: Invalid (no such kind of name),
/// Unavailable.
Result<void> delete_backup(const std::string& folder, const std::string& id, bool keep_content);

/// Removes what deletions cut short have left, and unfinished backups of `ended_tasks`.
void tidy_backups(const std::string& folder, const std::vector<std::string>& ended_tasks);

}  // namespace stackspec::local
