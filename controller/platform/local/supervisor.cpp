// SPDX-License-Identifier: Apache-2.0
#include "platform/local/supervisor.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "platform/local/leftovers.hpp"
#include "platform/local/probe.hpp"

namespace stackspec::local {
namespace {

constexpr std::int64_t kLongestBackoff = 60;
constexpr std::int64_t kHealthyAfter = 60;  // Seconds of life after which a death is the first one.

/// The last start of a component: run/<component>.json. Written before the process exists, so that
/// a process found running is always described; the record file alone says whether it runs.
struct Started {
  std::string revision, version;
  std::int64_t at = 0;
  int restarts = 0;
  int failures = 0;             ///< Early deaths in a row.
  std::int64_t not_before = 0;  ///< 0: the death, if there was one, is not yet counted.
};

std::optional<Started> read_started(const std::string& path) {
  const auto stored = read_json(path);
  if (!stored || !stored->is_object()) return {};
  Started started;
  started.revision = stored->value("revision", "");
  started.version = stored->value("version", "");
  started.at = stored->value("at", std::int64_t{0});
  started.restarts = stored->value("restarts", 0);
  started.failures = stored->value("failures", 0);
  started.not_before = stored->value("notBefore", std::int64_t{0});
  return started;
}

Result<void> write_started(const std::string& path, const Started& started) {
  nlohmann::json stored = nlohmann::json::object();
  stored["revision"] = started.revision;
  stored["version"] = started.version;
  stored["at"] = started.at;
  stored["restarts"] = started.restarts;
  stored["failures"] = started.failures;
  stored["notBefore"] = started.not_before;
  return write_json(path, stored);
}

std::optional<Told> read_told(const std::string& path) {
  const auto stored = read_json(path);
  if (!stored || !stored->is_object()) return {};
  Told told;
  told.replicas = stored->value("replicas", 0);
  told.revision = stored->value("revision", "");
  told.version = stored->value("version", "");
  told.probe_path = stored->value("probePath", "");
  told.probe_port = stored->value("probePort", 0);
  told.grace_seconds = stored->value("graceSeconds", 30);
  return told;
}

Result<void> probe(Component component, const Told& told) {
  if (told.probe_port == 0) return {};
  if (component == Component::Postgres) return probe_postgres(told.probe_port);
  if (component == Component::Redis) return probe_redis(told.probe_port);
  if (told.probe_path.empty()) return probe_connect(told.probe_port);
  return probe_http(told.probe_port, told.probe_path);
}

int stop_signal(Component component) {
  return component == Component::Postgres ? SIGINT : SIGTERM;  // SIGINT: fast, not smart, shutdown
}

/// A backend that lost its postmaster must not be killed in the middle of a write to shared memory
/// that others still map: SIGQUIT makes it leave at once, the way PostgreSQL's own crash path does.
int leftover_signal(Component component) {
  return component == Component::Postgres ? SIGQUIT : SIGKILL;
}

}  // namespace

std::optional<ProcessId> Supervisor::process(Component component) const {
  const std::string record = folder_.record(component);
  if (const auto alive = live_process(record)) return alive;
  // Asked before anything reaps it: reaping forgets the one sentence a person needs.
  const ProcessId last = named_in_record(record);
  const std::string ending = exit_of(last);
  if (!ending.empty()) {
    static_cast<void>(write_file_atomically(folder_.exit_note(component), ending, 0600));
    static_cast<void>(is_alive(last));
  }
  return {};
}

bool Supervisor::runs(Component component, const std::string& revision) const {
  if (!process(component) || path_exists(folder_.stopping(component))) return false;
  const auto started = read_started(folder_.started(component));
  return started && started->revision == revision;
}

std::string Supervisor::why_not_running(Component component) const {
  const auto note = read_file(folder_.exit_note(component));
  const std::string line = last_line_of(folder_.log(component));
  std::string why = note ? *note : "ended";
  if (!line.empty()) why += ": " + line;
  const auto started = read_started(folder_.started(component));
  if (started && started->not_before > now()) {
    why +=
        "; started again after " + to_rfc3339(WallTime(std::chrono::seconds(started->not_before)));
  }
  return why;
}

ComponentSeen Supervisor::look(Component component) const {
  ComponentSeen seen;
  const auto told = read_told(folder_.told(component));
  if (!told) return seen;
  seen.exists = true;
  seen.wanted = told->replicas;
  seen.version = told->version;
  seen.revision = told->revision;
  const auto started = read_started(folder_.started(component));
  if (started) seen.restarts = started->restarts;
  if (!process(component)) {
    if (told->replicas > 0) seen.message = started ? why_not_running(component) : "not started";
    return seen;
  }
  seen.running = 1;
  if (started) {
    seen.version = started->version;
    seen.revision = started->revision;
  }
  if (path_exists(folder_.stopping(component))) {
    seen.message = "is stopping";
    return seen;
  }
  const auto answer = probe(component, *told);
  seen.ready = answer ? 1 : 0;
  if (!answer) seen.message = answer.error().message;
  return seen;
}

Result<void> Supervisor::remember(Component component, const Told& told) const {
  nlohmann::json stored = nlohmann::json::object();
  stored["replicas"] = told.replicas;
  stored["revision"] = told.revision;
  stored["version"] = told.version;
  stored["probePath"] = told.probe_path;
  stored["probePort"] = told.probe_port;
  stored["graceSeconds"] = told.grace_seconds;
  if (read_json(folder_.told(component)) == std::optional(stored)) return {};
  return write_json(folder_.told(component), stored);
}

void Supervisor::ask_to_stop(Component component, const ProcessId& process,
                             int grace_seconds) const {
  const std::string marker = folder_.stopping(component);
  auto asked = read_json(marker);
  if (!asked || !asked->is_object()) {
    asked = nlohmann::json::object();
    (*asked)["killAfter"] = now() + grace_seconds;
    // The intent first: a death after this line was wanted, and no reason to back off.
    // A full disk must not keep anything running.
    static_cast<void>(write_json(marker, *asked));
  }
  // The shorter grace counts: nobody who says "now" waits for what was said before.
  const std::int64_t kill_after =
      std::min(asked->value("killAfter", std::int64_t{0}), now() + grace_seconds);
  if (now() >= kill_after) {
    signal_group(process, SIGKILL);
  } else if (!asked->value("asked", false)) {
    // Once only: many programs take a second signal as "now, not gracefully".
    signal_group(process, stop_signal(component));
    (*asked)["asked"] = true;
    static_cast<void>(write_json(marker, *asked));
  }
}

void Supervisor::see_to_stop(Component component) const {
  const auto told = read_told(folder_.told(component));
  const bool unwanted = told && told->replicas == 0;
  if (!unwanted && !path_exists(folder_.stopping(component))) return;
  if (const auto alive = process(component)) {
    ask_to_stop(component, *alive, told ? told->grace_seconds : 0);
  }
}

bool Supervisor::stop(Component component, int grace_seconds, std::chrono::milliseconds patience,
                      std::stop_token stop) const {
  const std::string record = folder_.record(component);
  const auto alive = process(component);
  if (alive) ask_to_stop(component, *alive, grace_seconds);
  const bool gone = wait_until(patience, stop, [&] {
    if (process(component)) return false;
    if (!record_is_held(record)) return true;
    signal_holders(record, leftover_signal(component));
    return false;
  });
  if (!gone) return false;
  for (const auto& path :
       {folder_.started(component), folder_.exit_note(component), folder_.stopping(component)}) {
    ::unlink(path.c_str());
  }
  return true;
}

Result<void> Supervisor::start(Component component, const Told& told,
                               const ProcessSpec& process_spec) const {
  const std::string record = folder_.record(component);
  const bool left_nothing = wait_until(std::chrono::seconds(3), {}, [&] {
    if (!record_is_held(record)) return true;
    signal_holders(record, leftover_signal(component));
    return false;
  });
  if (!left_nothing) {
    return Error{ErrorKind::Unavailable, "start " + std::string(to_string(component)) +
                                             ": what the last one started does not end"};
  }
  const std::string path = folder_.started(component);
  auto last = read_started(path);
  if (path_exists(folder_.stopping(component))) last.reset();  // It ended because it was told to.
  Started next;
  if (last && last->revision == told.revision) {
    if (last->not_before == 0) {
      const bool lived_long = now() - last->at >= kHealthyAfter;
      last->failures = lived_long ? 0 : last->failures + 1;
      const int doublings = std::min(last->failures - 1, 10);
      const std::int64_t delay =
          lived_long ? 0 : std::min(std::int64_t{1} << doublings, kLongestBackoff);
      last->not_before = now() + delay;
      TRY(write_started(path, *last));
    }
    if (now() < last->not_before) return {};
    next.restarts = last->restarts + 1;
    next.failures = last->failures;
  }
  next.revision = told.revision;
  next.version = told.version;
  next.at = now();
  TRY(write_started(path, next));
  ::unlink(folder_.stopping(component).c_str());
  ::unlink(folder_.exit_note(component).c_str());
  auto started = start_process(process_spec);
  if (!started) return std::move(started).error().in("start " + std::string(to_string(component)));
  return {};
}

}  // namespace stackspec::local
