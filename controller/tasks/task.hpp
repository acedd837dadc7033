// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "plan/plan.hpp"
#include "plan/seen.hpp"

// The scripts of this folder (docs/design.md §10) and what their ends mean. The contract between a
// platform and a script is written at the top of lib.sh.

namespace stackspec {

/// The whole text for `sh`: the common library, then the script of `kind`.
std::string task_script(TaskKind kind);

/// The values of a task's result object as text (objects and lists as JSON, null as ""). What is
/// longer than 2048 bytes or no JSON object is absent: an empty map.
std::map<std::string, std::string> parse_task_result(std::string_view json);

/// 0 Ok; 10–19 Failed, a verdict; anything else Interrupted, to be tried again.
Outcome outcome_of(int exit_code);

}  // namespace stackspec
