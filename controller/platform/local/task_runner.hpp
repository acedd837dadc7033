// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "platform/local/programs.hpp"

namespace stackspec::local {

/// The tasks of one stack. A task's folder is its memory: tasks/<name>/ with task.json, script.sh,
/// record, log, and out/ for what the process itself writes: exit, result.json.
class TaskRunner {
 public:
  TaskRunner(const Host& host, const StackFolder& folder, const Clock& clock)
      : host_(host), folder_(folder), clock_(clock) {}

  /// Oldest first.
  std::vector<TaskSeen> look() const;

  /// A task whose process was ever started is never started again.
  /// Errors: NotFound (release folder, Secret), Invalid, Unavailable.
  Result<void> start(const Stack& stack, const TaskSpec& task, const SecretValues& secrets) const;

  /// Asks it to end; kills what is still there on a later call, after its grace.
  Result<void> stop(const std::string& name) const;

  bool any_running() const;
  /// Asks all to end and kills what is still there after `grace`. Returns when nothing is left.
  Result<void> stop_all(std::chrono::seconds grace, std::stop_token stop) const;

  /// Ends tasks past their deadline and what dead ones left behind, frees their scratch space, and
  /// keeps the newest 50 folders; names of removed ones stay taken.
  Result<void> tidy() const;

 private:
  struct Paths;
  TaskSeen look_at(const std::string& name) const;
  std::vector<std::string> names() const;
  Result<ProcessSpec> process_of(const Paths& paths, const Stack& stack, const TaskSpec& task,
                                 const SecretValues& secrets) const;
  Result<void> tidy_one(const std::string& name) const;
  std::int64_t now() const { return clock_.wall_now().time_since_epoch().count(); }

  const Host& host_;
  const StackFolder& folder_;
  const Clock& clock_;
};

}  // namespace stackspec::local
