// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "api/stack.hpp"
#include "objects/object_api.hpp"
#include "plan/plan.hpp"

// Tasks (docs/architecture.md) as Jobs. Pure.

namespace stackspec::kubernetes {

inline constexpr const char* kTaskContainer = "task";
/// The backup a task is about: its id.
inline constexpr const char* kBackupIdAnnotation = "stackspec.dev/backup-id";
inline constexpr const char* kRemoveBackup = "remove-backup";  ///< Task kind of ours alone.

struct TaskObjects {
  Object script;      ///< ConfigMap `<stack>-tasks-<hash>`, immutable.
  Object disruption;  ///< PodDisruptionBudget: its pod is not evicted.
  Object job;         ///< Suspended: started by taking that away.
};

/// Error: Invalid when the spec has no place for what the task needs.
Result<TaskObjects> render_task(const Stack& stack, const TaskSpec& task);

/// Removes the folder of one backup; with `sweep` also stored files that no backup lists. Name:
/// `<stack>-remove-<hash>-<attempt>`.
TaskObjects render_backup_removal(const Stack& stack, const std::string& id, int attempt,
                                  bool sweep);

/// ConfigMap in which the names of started tasks are kept, so that none is ever started again.
std::string registry_name(const StackKey& key);
std::string disruption_name(const StackKey& key);
bool is_script_name(const StackKey& key, const std::string& config_map);

}  // namespace stackspec::kubernetes
