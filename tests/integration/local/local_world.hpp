// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "fakes/eventually.hpp"
#include "fakes/temp_folder.hpp"
#include "platform/local/local.hpp"

namespace stackspec {

/// A clock that stands still until the test puts it forward: no back-off ends on a slow machine.
class StandingClock final : public Clock {
 public:
  WallTime wall_now() const override { return wall_ + shift; }
  SteadyTime steady_now() const override { return steady_ + shift; }
  std::chrono::seconds shift{0};

 private:
  const WallTime wall_ = system_clock().wall_now();
  const SteadyTime steady_ = system_clock().steady_now();
};

/// How long a condition may take on a machine that is busy with other things.
inline constexpr std::chrono::seconds kPatience{100};

/// One stack on a data folder of its own, with a release folder of small programs that keep to the
/// contract of an image: without arguments they serve, with `sh SCRIPT` they do what the variable
/// TEST_DO says, otherwise they work until they are told to stop. Stops everything at the end.
class LocalWorld {
 public:
  LocalWorld();
  ~LocalWorld();

  /// Ends the platform object, as a dying controller would, and makes another one.
  void restart_controller();

  PlatformSeen look();
  ComponentSeen look(Component component) { return look().components[component]; }
  /// The stack's component at `release`, as the planner would ask for it.
  ComponentSpec wanted(Component component, const std::string& release = "v1.15.4");
  Result<void> act(const Action& action);
  Result<void> apply(Component component) { return act(ApplyComponent{wanted(component)}); }
  /// Applies it and waits until it is ready; says what it is instead when it never is.
  std::string bring_up(Component component);
  bool eventually_ready(Component component);

  pid_t pid_of(Component component) const;
  std::string folder() const { return data + "/stacks/default.crm"; }
  /// Processes that work below the data folder.
  int processes_left() const;

  TempFolder temp;
  std::string data, releases;
  StandingClock clock;
  std::unique_ptr<Redis> redis = make_redis();
  Stack stack;
  SecretValues secrets;
  std::unique_ptr<LocalPlatform> platform;  ///< Uses `redis` and `clock`.
};

/// Status of a GET on loopback; 0 when nobody answers.
int http_status(int port, const std::string& path);

/// Output and exit code of a shell command.
struct Shell {
  int code = -1;
  std::string output;
};
Shell shell(const std::string& command);

}  // namespace stackspec
