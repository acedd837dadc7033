// SPDX-License-Identifier: Apache-2.0
#include "plan/seen.hpp"

namespace stackspec {

const ComponentSeen& Seen::component(Component which) const {
  static const ComponentSeen absent;
  const auto found = components.find(which);
  return found == components.end() ? absent : found->second;
}

const TaskSeen* Seen::task(const std::string& name) const {
  for (const TaskSeen& task : tasks) {
    if (task.name == name) return &task;
  }
  return nullptr;
}

const BackupSeen* Seen::backup(const std::string& id) const {
  for (const BackupSeen& backup : backups) {
    if (backup.id == id) return &backup;
  }
  return nullptr;
}

}  // namespace stackspec
