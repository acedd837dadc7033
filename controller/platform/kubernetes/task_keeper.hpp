// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "base/clock.hpp"
#include "platform/kubernetes/jobs.hpp"
#include "platform/kubernetes/kubernetes.hpp"
#include "platform/kubernetes/render.hpp"
#include "platform/kubernetes/writer.hpp"

namespace stackspec::kubernetes {

/// The tasks of stacks as Jobs. A task's name goes into a ConfigMap of the stack before its Job is
/// let go, so that it is never started twice, whoever deletes what. How it ended is written onto
/// the Job, because its pod and log may go at any time. Any thread, different stacks at once.
class TaskKeeper {
 public:
  TaskKeeper(Writer& writer, const KubernetesOptions& options, const Clock& clock)
      : writer_(writer), options_(options), clock_(clock) {}

  /// A name that was ever started is not started again. Errors: Invalid, those of Writer.
  Result<void> start(const Stack& stack, const Children& children, const TaskObjects& task);

  /// Asks it to end; it is over when its pod is gone.
  Result<void> stop(const Stack& stack, const Children& children, const std::string& name);

  /// Writes down how tasks ended and prunes what nobody needs any more. True when anything was
  /// written: `children` are then no longer what is stored.
  Result<bool> settle(const Stack& stack, const Children& children);

  /// Oldest first.
  std::vector<TaskSeen> look(const Stack& stack, const Children& children);

 private:
  struct Ending;
  Result<bool> settle_one(const Stack& stack, const Children& children, const std::string& name,
                          const JobChild& job);
  std::optional<Ending> ending_of(const Stack& stack, const Children& children,
                                  const std::string& name, const JobChild& job);
  Result<void> note(const Stack& stack, const Children& children, const std::string& name);
  Result<void> write_down(const Stack& stack, const Children& children, const std::string& name,
                          const JobChild& job, const Ending& ending);
  Result<void> record(const Stack& stack, const JobChild& job, const Ending& ending);
  Result<bool> prune(const Stack& stack, const Children& children);
  Result<bool> tidy(const Stack& stack, const Children& children);
  std::string log_of(const StackKey& key, const std::string& pod, int bytes) const;
  std::string progress_of(const StackKey& key, const std::string& pod);
  bool waited_long(const StackKey& key, const std::string& name);

  Writer& writer_;
  const KubernetesOptions& options_;
  const Clock& clock_;
  std::mutex mutex_;
  struct Progress {
    SteadyTime read_at;
    std::string text;
  };
  std::map<std::string, Progress> progress_;      // guarded by mutex_; by <ns>/<pod>
  std::map<std::string, SteadyTime> first_seen_;  // guarded by mutex_; by <ns>/<job>
};

/// The pod of a task, the newest of several; nullptr: gone.
const std::pair<const std::string, PodChild>* pod_of_job(const Children& children,
                                                         const std::string& job);
/// A Job of this stack is at work, or about to be.
bool any_at_work(const Children& children);

}  // namespace stackspec::kubernetes
