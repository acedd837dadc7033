// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <thread>

#include "base/clock.hpp"
#include "base/process.hpp"
#include "base/result.hpp"
#include "plan/seen.hpp"
#include "platform/local/folders.hpp"

namespace stackspec::local {

/// What a component was last told to be, as remembered in wanted/<component>.json.
struct Told {
  int replicas = 0;
  std::string revision, version;
  std::string probe_path;
  int probe_port = 0;
  int grace_seconds = 30;
};

/// Keeps one process per component of one stack as it was told: start, stop, restart with back-off,
/// all remembered on disk, so that any controller can go on from any instant.
class Supervisor {
 public:
  Supervisor(const StackFolder& folder, const Clock& clock) : folder_(folder), clock_(clock) {}

  ComponentSeen look(Component component) const;

  Result<void> remember(Component component, const Told& told) const;

  /// The process, when one lives.
  std::optional<ProcessId> process(Component component) const;
  /// Whether the live process is what `told` says and is not on its way out.
  bool runs(Component component, const std::string& revision) const;

  /// Asks it to stop, or kills it when it was asked longer ago than its grace. Waits at most
  /// `patience`. True: nothing of it is left.
  bool stop(Component component, int grace_seconds, std::chrono::milliseconds patience,
            std::stop_token stop) const;

  /// Goes on with a stop that was begun, or was ordered by a controller that died before it could:
  /// kills what has outlived its grace.
  void see_to_stop(Component component) const;

  /// Starts `process` unless the last one died a moment ago: then it returns and does nothing until
  /// the back-off is over. Nothing of the component may be running.
  Result<void> start(Component component, const Told& told, const ProcessSpec& process) const;

 private:
  std::int64_t now() const { return clock_.wall_now().time_since_epoch().count(); }
  void ask_to_stop(Component component, const ProcessId& process, int grace_seconds) const;
  std::string why_not_running(Component component) const;

  const StackFolder& folder_;
  const Clock& clock_;
};

/// Sleeps in small steps until `done()`; false when time ran out or `stop` came.
template <class Done>
bool wait_until(std::chrono::milliseconds patience, const std::stop_token& stop, const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (done()) return true;
    if (stop.stop_requested() || std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace stackspec::local
