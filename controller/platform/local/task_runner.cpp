// SPDX-License-Identifier: Apache-2.0
#include "platform/local/task_runner.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.hpp"
#include "base/log.hpp"
#include "platform/local/leftovers.hpp"
#include "platform/local/supervisor.hpp"
#include "tasks/task.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeptTasks = 50;
constexpr std::size_t kLogTail = 2048;
constexpr std::int64_t kStopGraceSeconds = 20;
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The exit code has to outlive both this program and the task's process. A request to stop goes to
// the whole group: the script ends in its own way, and its code is still noted.
constexpr const char* kWrapper = R"(trap : HUP INT TERM
"$@"
code=$?
printf '%s\n' "$code" >"$STACKSPEC_EXIT.tmp" && sync "$STACKSPEC_EXIT.tmp" 2>/dev/null
mv "$STACKSPEC_EXIT.tmp" "$STACKSPEC_EXIT"
exit "$code"
)";

bool runs_in_release(const TaskSpec& task) {
  return !task.version.empty();
}

std::optional<int> read_exit(const std::string& path) {
  const auto text = read_file(path, 64);
  if (!text) return {};
  int code = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), code);
  if (error != std::errc()) return {};
  return code;
}

std::string newest_progress(const std::string& log_file) {
  std::istringstream lines(tail_of(log_file, 65536));
  std::string newest;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("{\"progress\"", 0) != 0) continue;
    const auto value = nlohmann::json::parse(line, nullptr, false);
    if (value.is_object() && value.contains("progress") && value["progress"].is_string()) {
      newest = log::masked(value["progress"].get<std::string>());
    }
  }
  return newest;
}

std::string masked_tail(const std::string& log_file) {
  // Masked before it is cut: half a secret would not be recognised.
  const std::string text = log::masked(tail_of(log_file, 4 * kLogTail));
  return text.size() <= kLogTail ? text : text.substr(text.size() - kLogTail);
}

/// A process writes its number into the record before its first instruction: with it the name is
/// used up, without it nothing ever ran.
bool was_started(const std::string& record_file) {
  return named_in_record(record_file).pid != 0;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 200 && name[0] != '.' &&
         name.find('/') == std::string::npos;
}

}  // namespace

struct TaskRunner::Paths {
  Paths(const StackFolder& folder, const std::string& name)
      : root(folder.tasks() + "/" + name), grave(folder.tasks() + "/.ended/" + name) {}

  std::string root;
  std::string grave;  ///< Left of a task whose folder was removed.
  std::string about = root + "/task.json";
  std::string script = root + "/script.sh";
  std::string record = root + "/record";
  std::string log = root + "/log";
  std::string out = root + "/out";
  std::string exit = out + "/exit";
  std::string result = out + "/result.json";
  std::string scratch = root + "/scratch";
};

std::vector<std::string> TaskRunner::names() const {
  std::vector<std::pair<std::int64_t, std::string>> found;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder_.tasks(), failed)) {
    const std::string name = entry.path().filename().string();
    if (!is_plain_name(name) || !was_started(Paths(folder_, name).record)) continue;
    const auto about = read_json(Paths(folder_, name).about);
    const bool known = about && about->is_object();
    found.emplace_back(known ? about->value("createdAt", std::int64_t{0}) : 0, name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [created, name] : found) names.push_back(std::move(name));
  return names;
}

TaskSeen TaskRunner::look_at(const std::string& name) const {
  const Paths paths(folder_, name);
  TaskSeen seen;
  seen.name = name;
  // Alive is asked first: a task that ends between the two questions has written its exit.
  const bool alive = live_process(paths.record).has_value();
  if (const auto code = read_exit(paths.exit)) {
    seen.exit_code = *code;
    seen.outcome = outcome_of(*code);
  } else {
    // Descendants of a killed script may still be at work: it is over when they are gone.
    const bool held = alive || record_is_held(paths.record);
    seen.outcome = held ? Outcome::Running : Outcome::Interrupted;
  }
  if (const auto result = read_file(paths.result, 65536)) seen.result = parse_task_result(*result);
  // A result quotes lines of Twenty's log.
  for (auto& [field, value] : seen.result) value = log::masked(value);
  seen.progress = newest_progress(paths.log);
  seen.log_tail = masked_tail(paths.log);
  return seen;
}

std::vector<TaskSeen> TaskRunner::look() const {
  std::vector<TaskSeen> tasks;
  for (const auto& name : names()) tasks.push_back(look_at(name));
  return tasks;
}

Result<ProcessSpec> TaskRunner::process_of(const Paths& paths, const Stack& stack,
                                           const TaskSpec& task,
                                           const SecretValues& secrets) const {
  const std::string programs = TRY(postgres_programs(folder_, stack.spec.database.managed.version));
  const std::string release = release_path(host_, Component::Server, task.version);
  Environment environment;
  if (runs_in_release(task)) {
    if (!has_release(host_, Component::Server, task.version)) {
      return Error{ErrorKind::NotFound, "no release folder " + release +
                                            " with an entrypoint.sh; put the release there"};
    }
    TRY(check_reachable(release, host_.user));
    environment.add_image(release + "/image.env");
  }
  TRY(environment.add_from(task.env_from, secrets));
  TRY(environment.add(task.env, secrets));
  const std::string path = programs + ":" + kPath;
  environment.set("PATH", runs_in_release(task) ? release + "/bin:" + path : path);
  environment.set("HOME", folder_.of("home"));
  environment.set("LC_ALL", "C.UTF-8");
  environment.set("STACKSPEC_TASK", task.name);
  environment.set("STACKSPEC_RESULT", paths.result);
  environment.set("STACKSPEC_SCRATCH", paths.scratch);
  environment.set("STACKSPEC_EXIT", paths.exit);
  ProcessSpec process;
  process.argv = {"/bin/sh", "-c", kWrapper, "sh"};
  if (runs_in_release(task)) {
    environment.set("STACKSPEC_ENTRYPOINT", release + "/entrypoint.sh");
    process.argv.push_back(release + "/entrypoint.sh");
  }
  process.argv.insert(process.argv.end(), {"sh", paths.script});
  process.env = TRY(environment.rendered());
  process.directory = runs_in_release(task) ? working_folder(release) : paths.scratch;
  process.log_file = paths.log;
  process.record_file = paths.record;
  process.uid = host_.user.uid;
  process.gid = host_.user.gid;
  return process;
}

Result<void> TaskRunner::start(const Stack& stack, const TaskSpec& task,
                               const SecretValues& secrets) const {
  if (!is_plain_name(task.name)) {
    return Error{ErrorKind::Invalid, "task name " + task.name + " is no file name"};
  }
  const Paths paths(folder_, task.name);
  if (was_started(paths.record) || path_exists(paths.grave)) return {};
  const ProcessSpec process = TRY(process_of(paths, stack, task, secrets));
  TRY(make_folder(paths.root, 0711));
  TRY(make_folder_of(paths.out, 0700, host_.user));
  TRY(make_folder_of(paths.scratch, 0700, host_.user));
  TRY(write_file_atomically(paths.script, task_script(task.kind), 0644));
  nlohmann::json about = nlohmann::json::object();
  about["kind"] = std::string(to_string(task.kind));
  about["version"] = task.version;
  about["createdAt"] = now();
  if (task.deadline_seconds > 0) about["deadline"] = now() + task.deadline_seconds;
  TRY(write_json(paths.about, about));
  if (auto started = start_process(process); !started) {
    return std::move(started).error().in("start task " + task.name);
  }
  return {};
}

Result<void> TaskRunner::stop(const std::string& name) const {
  if (!is_plain_name(name)) return {};
  const Paths paths(folder_, name);
  const auto alive = live_process(paths.record);
  if (!alive) return {};
  auto about = read_json(paths.about).value_or(nlohmann::json::object());
  const auto kill_after = about.value("killAfter", std::int64_t{0});
  if (kill_after != 0 && now() >= kill_after) {
    signal_group(*alive, SIGKILL);
    return {};
  }
  if (kill_after != 0) return {};
  about["killAfter"] = now() + kStopGraceSeconds;
  TRY(write_json(paths.about, about));
  signal_group(*alive, SIGTERM);
  return {};
}

bool TaskRunner::any_running() const {
  const auto all = names();
  return std::any_of(all.begin(), all.end(), [&](const std::string& name) {
    return record_is_held(Paths(folder_, name).record);
  });
}

Result<void> TaskRunner::stop_all(std::chrono::seconds grace, std::stop_token stop) const {
  for (const auto& name : names()) TRY(this->stop(name));
  if (wait_until(grace, stop, [&] { return !any_running(); })) return tidy();
  for (const auto& name : names()) signal_holders(Paths(folder_, name).record, SIGKILL);
  if (wait_until(grace, stop, [&] { return !any_running(); })) return tidy();
  return Error{stop.stop_requested() ? ErrorKind::Cancelled : ErrorKind::Unavailable,
               "a task does not end"};
}

Result<void> TaskRunner::tidy_one(const std::string& name) const {
  const Paths paths(folder_, name);
  if (live_process(paths.record)) {
    const auto about = read_json(paths.about);
    const auto deadline =
        about && about->is_object() ? about->value("deadline", std::int64_t{0}) : 0;
    const bool asked = about && about->is_object() && about->contains("killAfter");
    if (asked || (deadline != 0 && now() >= deadline)) return stop(name);
    return {};
  }
  if (!path_exists(paths.scratch)) return {};                  // Tidied before.
  static_cast<void>(is_alive(named_in_record(paths.record)));  // Reaps a child of ours.
  const bool gone = wait_until(std::chrono::seconds(2), {}, [&] {
    if (!record_is_held(paths.record)) return true;
    signal_holders(paths.record, SIGKILL);
    return false;
  });
  if (!gone) return {};
  std::error_code failed;
  fs::remove_all(paths.scratch, failed);
  return {};
}

Result<void> TaskRunner::tidy() const {
  const auto all = names();
  for (const auto& name : all) {
    rotate_log(Paths(folder_, name).log);
    TRY(tidy_one(name));
  }
  for (std::size_t i = 0; i + kKeptTasks < all.size(); ++i) {
    const Paths paths(folder_, all[i]);
    if (path_exists(paths.scratch)) continue;  // Still alive.
    TRY(make_folder(folder_.tasks() + "/.ended", 0700));
    TRY(write_file_atomically(paths.grave, "", 0600));
    std::error_code failed;
    fs::remove_all(paths.root, failed);
  }
  return {};
}

}  // namespace stackspec::local
