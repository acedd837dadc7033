// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/task_keeper.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <tuple>

#include "base/log.hpp"
#include "platform/kubernetes/backups.hpp"
#include "platform/kubernetes/names.hpp"
#include "tasks/task.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr std::size_t kKeptJobs = 20;
constexpr std::size_t kLogTail = 2048;
constexpr const char* kEnded = "ended";  ///< Registry: its Job was pruned by us.
constexpr std::chrono::seconds kProgressEvery{2};
/// A Job's end may be heard of before that of its pod.
constexpr std::chrono::seconds kPodPatience{5};

constexpr std::pair<Outcome, const char*> kOutcomes[] = {
    {Outcome::Ok, "Ok"}, {Outcome::Failed, "Failed"}, {Outcome::Interrupted, "Interrupted"}};

std::string text_of(Outcome outcome) {
  for (const auto& [one, text] : kOutcomes) {
    if (one == outcome) return text;
  }
  return {};
}

Outcome outcome_from(const std::string& text) {
  for (const auto& [one, name] : kOutcomes) {
    if (text == name) return one;
  }
  return Outcome::Running;
}

/// From the condition that podFailurePolicy leaves: the code survives the pod.
std::optional<int> exit_code_in(const std::string& message) {
  constexpr std::string_view kBefore = "exit code ";
  const auto found = message.find(kBefore);
  if (found == std::string::npos) return {};
  int code = 0;
  const char* begin = message.data() + found + kBefore.size();
  const auto [end, error] = std::from_chars(begin, message.data() + message.size(), code);
  if (error != std::errc()) return {};
  return code;
}

std::string newest_progress(const std::string& log) {
  std::istringstream lines(log);
  std::string newest;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("{\"progress\"")) continue;
    const auto value = json::parse(line, nullptr, false);
    if (value.is_object() && value["progress"].is_string()) {
      newest = log::masked(value["progress"].get<std::string>());
    }
  }
  return newest;
}

std::string tail(const std::string& text) {
  return text.size() <= kLogTail ? text : text.substr(text.size() - kLogTail);
}

bool needs_its_result(const std::string& kind) {
  return kind == to_string(TaskKind::Backup) || kind == to_string(TaskKind::Prove);
}

}  // namespace

struct TaskKeeper::Ending {
  Outcome outcome = Outcome::Interrupted;
  int exit_code = -1;
  std::string result, log, progress;
};

const std::pair<const std::string, PodChild>* pod_of_job(const Children& children,
                                                         const std::string& job) {
  const std::pair<const std::string, PodChild>* best = nullptr;
  for (const auto& pod : children.pods) {
    if (pod.second.job != job) continue;
    if (best == nullptr || (pod.second.alive && !best->second.alive)) best = &pod;
  }
  return best;
}

bool any_at_work(const Children& children) {
  return std::any_of(children.jobs.begin(), children.jobs.end(),
                     [](const auto& one) { return one.second.outcome.empty(); });
}

// ---- start and stop ----

Result<void> TaskKeeper::start(const Stack& stack, const Children& children,
                               const TaskObjects& task) {
  const std::string& name = task.job.key.name;
  const auto job = children.jobs.find(name);
  const bool exists = job != children.jobs.end();
  if (exists && (job->second.started || !job->second.outcome.empty())) return {};
  if (!exists && children.task_names.contains(name)) return {};
  TRY(writer_.create_once(children, task.script));
  TRY(writer_.ensure(stack, children, task.disruption));
  ObjectPatch started{.key = task.job.key};
  if (!exists) started.resource_version = TRY(writer_.create(task.job)).resource_version;
  if (!children.task_names.contains(name)) TRY(note(stack, children, name));
  started.content["/spec/suspend"] = false;
  started.annotations[kStartedAnnotation] = "true";
  return writer_.set(children, std::move(started));
}

/// In the registry: from now on the task has been started once.
Result<void> TaskKeeper::note(const Stack& stack, const Children& children,
                              const std::string& name) {
  const ObjectKey registry{"ConfigMap", stack.key.ns, registry_name(stack.key)};
  const std::string now = to_rfc3339(clock_.wall_now());
  if (children.versions.contains(key_hash(registry))) {
    ObjectPatch patch{.key = registry};
    patch.content["/data/" + name] = now;
    const auto noted = writer_.set(children, std::move(patch));
    if (noted || noted.error().kind != ErrorKind::NotFound) return noted;
  }
  Object map = owned(stack, registry.kind, registry.name, kTaskComponent);
  map.content["data"] = json::object({{name, now}});
  TRY(writer_.create(map));
  return {};
}

Result<void> TaskKeeper::stop(const Stack& stack, const Children& children,
                              const std::string& name) {
  const auto job = children.jobs.find(name);
  if (job == children.jobs.end() || job->second.ended() || job->second.suspended) return {};
  ObjectPatch patch{.key = {"Job", stack.key.ns, name}};
  patch.content["/spec/suspend"] = true;
  const auto stopped = writer_.set(children, std::move(patch));
  if (!stopped && stopped.error().kind == ErrorKind::NotFound) return {};
  return stopped;
}

// ---- how tasks ended ----

std::string TaskKeeper::log_of(const StackKey& key, const std::string& pod, int bytes) const {
  if (!options_.pod_log) return {};
  const auto log = options_.pod_log(key.ns, pod, kTaskContainer, bytes);
  // A log is help for people; what counts is the result and the database.
  return log ? *log : std::string();
}

bool TaskKeeper::waited_long(const StackKey& key, const std::string& name) {
  const SteadyTime now = clock_.steady_now();
  const std::lock_guard lock(mutex_);
  const auto first = first_seen_.try_emplace(key.ns + "/" + name, now).first;
  return now - first->second >= kPodPatience;
}

std::optional<TaskKeeper::Ending> TaskKeeper::ending_of(const Stack& stack,
                                                        const Children& children,
                                                        const std::string& name,
                                                        const JobChild& job) {
  if (!job.outcome.empty() || !job.started) return {};
  const auto* pod = pod_of_job(children, name);
  Ending ending;
  const bool unpullable = pod != nullptr && pod->second.unpullable;
  if (!job.ended() && unpullable && job.kind == to_string(TaskKind::Inspect)) {
    ending.outcome = Outcome::Failed;
    ending.result = json::object({{"failure", pod->second.problem}}).dump();
    ending.log = pod->second.problem;
    return ending;
  }
  const bool stopped = job.suspended && (pod == nullptr || !pod->second.alive);
  if (!job.ended() && !stopped) return {};
  const bool pod_told = pod != nullptr && pod->second.exit_code.has_value();
  if (job.ended() && !pod_told && !waited_long(stack.key, name)) return {};
  const auto code = pod_told ? pod->second.exit_code : exit_code_in(job.failure);
  if (pod_told) ending.result = pod->second.result;
  if (job.complete) {
    const bool told = parse_task_result(ending.result).contains("sha256");
    if (told || !needs_its_result(job.kind)) ending.outcome = Outcome::Ok;
  } else if (job.failed && code && outcome_of(*code) == Outcome::Failed) {
    ending.outcome = Outcome::Failed;
  }
  ending.exit_code = code.value_or(job.complete ? 0 : -1);
  if (pod != nullptr) {
    // Masked before it is cut: half a secret would not be recognised.
    const std::string log = log_of(stack.key, pod->first, 4 * kLogTail);
    ending.progress = newest_progress(log);
    ending.log = tail(log::masked(log));
  }
  const bool silent = ending.log.empty() && ending.outcome != Outcome::Ok;
  if (silent) ending.log = pod == nullptr ? job.failure : pod->second.problem;
  return ending;
}

Result<void> TaskKeeper::record(const Stack& stack, const JobChild& job, const Ending& ending) {
  if (ending.outcome != Outcome::Ok || job.backup_id.empty()) return {};
  const auto result = parse_task_result(ending.result);
  if (job.kind == to_string(TaskKind::Backup)) {
    return record_backup(writer_, stack, job.backup_id, result);
  }
  if (job.kind == to_string(TaskKind::Prove)) {
    return record_proof(writer_, stack, job.backup_id, result.at("sha256"));
  }
  return {};
}

Result<void> TaskKeeper::write_down(const Stack& stack, const Children& children,
                                    const std::string& name, const JobChild& job,
                                    const Ending& ending) {
  // The record first: what a Job with an outcome tells is not looked at again.
  TRY(record(stack, job, ending));
  ObjectPatch patch{.key = {"Job", stack.key.ns, name}};
  patch.annotations[kOutcomeAnnotation] = text_of(ending.outcome);
  patch.annotations[kExitCodeAnnotation] = std::to_string(ending.exit_code);
  if (!ending.result.empty()) patch.annotations[kResultAnnotation] = log::masked(ending.result);
  if (!ending.log.empty()) patch.annotations[kLogAnnotation] = ending.log;
  if (!ending.progress.empty()) patch.annotations[kProgressAnnotation] = ending.progress;
  if (!job.ended()) patch.content["/spec/suspend"] = true;
  return writer_.set(children, std::move(patch));
}

Result<bool> TaskKeeper::settle_one(const Stack& stack, const Children& children,
                                    const std::string& name, const JobChild& job) {
  const auto ending = ending_of(stack, children, name, job);
  if (!ending) return false;
  const auto written = write_down(stack, children, name, job, *ending);
  if (!written && written.error().kind != ErrorKind::NotFound) return written.error();
  const std::lock_guard lock(mutex_);
  first_seen_.erase(stack.key.ns + "/" + name);
  if (const auto* pod = pod_of_job(children, name)) {
    progress_.erase(stack.key.ns + "/" + pod->first);
  }
  return true;
}

// ---- what nobody needs any more ----

Result<bool> TaskKeeper::prune(const Stack& stack, const Children& children) {
  std::vector<std::pair<std::string, std::string>> ended;
  for (const auto& [name, job] : children.jobs) {
    if (!job.outcome.empty()) ended.emplace_back(job.created, name);
  }
  if (ended.size() <= kKeptJobs) return false;
  std::sort(ended.begin(), ended.end());
  ended.resize(ended.size() - kKeptJobs);
  ObjectPatch patch{.key = {"ConfigMap", stack.key.ns, registry_name(stack.key)}};
  for (const auto& [created, name] : ended) patch.content["/data/" + name] = kEnded;
  TRY(writer_.set(children, std::move(patch)));
  for (const auto& [created, name] : ended) {
    TRY(writer_.remove(children, {"Job", stack.key.ns, name}));
  }
  return true;
}

Result<bool> TaskKeeper::tidy(const Stack& stack, const Children& children) {
  if (any_at_work(children)) return false;
  for (const std::string& script : children.scripts) {
    TRY(writer_.remove(children, {"ConfigMap", stack.key.ns, script}));
  }
  if (children.disruption) {
    TRY(writer_.remove(children,
                       {"PodDisruptionBudget", stack.key.ns, disruption_name(stack.key)}));
  }
  return children.disruption || !children.scripts.empty();
}

Result<bool> TaskKeeper::settle(const Stack& stack, const Children& children) {
  bool wrote = false;
  for (const auto& [name, job] : children.jobs) {
    if (TRY(settle_one(stack, children, name, job))) wrote = true;
  }
  if (wrote) return true;
  if (TRY(prune(stack, children))) return true;
  return tidy(stack, children);
}

// ---- looking ----

std::string TaskKeeper::progress_of(const StackKey& key, const std::string& pod) {
  const std::string id = key.ns + "/" + pod;
  const SteadyTime now = clock_.steady_now();
  {
    const std::lock_guard lock(mutex_);
    const auto known = progress_.find(id);
    if (known != progress_.end() && now - known->second.read_at < kProgressEvery) {
      return known->second.text;
    }
  }
  std::string text = newest_progress(log_of(key, pod, 2 * kLogTail));
  const std::lock_guard lock(mutex_);
  progress_[id] = {now, text};
  return text;
}

std::vector<TaskSeen> TaskKeeper::look(const Stack& stack, const Children& children) {
  std::vector<std::pair<std::string, TaskSeen>> found;
  for (const auto& [name, started] : children.task_names) {
    if (started == kEnded || children.jobs.contains(name)) continue;
    TaskSeen gone;
    gone.name = name;
    gone.outcome = Outcome::Interrupted;
    gone.log_tail = "Job " + name + " was deleted before its end was noted";
    found.emplace_back(started, std::move(gone));
  }
  for (const auto& [name, job] : children.jobs) {
    if (job.kind == kRemoveBackup || (!job.started && job.outcome.empty())) continue;
    TaskSeen task;
    task.name = name;
    task.outcome = outcome_from(job.outcome);
    task.exit_code = job.exit_code;
    task.result = parse_task_result(job.result);
    task.progress = job.progress;
    task.log_tail = job.log;
    const auto* pod = pod_of_job(children, name);
    if (task.outcome == Outcome::Running && pod != nullptr) {
      task.progress = pod->second.problem;
      if (task.progress.empty()) task.progress = progress_of(stack.key, pod->first);
    }
    found.emplace_back(job.created, std::move(task));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second.name) < std::tie(b.first, b.second.name);
  });
  std::vector<TaskSeen> tasks;
  for (auto& [created, task] : found) tasks.push_back(std::move(task));
  return tasks;
}

}  // namespace stackspec::kubernetes
