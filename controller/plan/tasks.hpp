// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "plan/plan.hpp"

// The tasks of a journey as values: name, environment, image. Pure.

namespace stackspec {

/// What a task of one journey needs to know.
struct TaskInput {
  const Stack& stack;
  const Seen& seen;
  TaskKind kind = TaskKind::Inspect;
  std::string journey = {};  ///< UpgradeStatus::id, or the hash of a request.
  int hop = 0;
  int attempt = 1;
  std::string from = {},
              to = {};      ///< Release tags; `to` is the image it runs in where it needs one.
  std::string backup = {};  ///< Id of the backup made, proven or restored.
  std::string expected_cursor = {};  ///< For migrate.
};

/// `<stack>-<journey>-<hop>-<kind>-<attempt>`: never used twice.
std::string task_name(const TaskInput& input);

TaskSpec make_task(const TaskInput& input);

}  // namespace stackspec
