// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "base/result.hpp"
#include "plan/plan.hpp"

namespace stackspec {

/// The part of Seen that only the platform can know; the rest (database, Redis, HTTP) is read by
/// control/observe through the endpoints it names.
struct PlatformSeen {
  Capabilities capabilities;
  Endpoints endpoints;
  std::map<Component, ComponentSeen> components;
  bool gateway_open = false;
  std::vector<TaskSeen> tasks;
  std::vector<BackupSeen> backups;
  HostSeen host;
  std::vector<std::string> missing_releases;
};

/// Values of the Secrets and ConfigMaps a stack names, given to the platform with each action.
/// name -> key -> value. Never logged.
using SecretValues = std::map<std::string, std::map<std::string, std::string>>;

/// Where a stack runs: a cluster, a Docker Compose project, or processes on this host.
/// Calls block for seconds at most (long work is a task) and end early with Cancelled when `stop`
/// is requested. Safe to call from several workers at once for different stacks.
class Platform {
 public:
  virtual ~Platform() = default;

  /// Reads everything, changing nothing. An absent stack is an empty PlatformSeen, not an error.
  virtual Result<PlatformSeen> observe(const Stack& stack, std::stop_token stop) = 0;

  /// What an edit of the spec is decided on, at once: observe() where the components are taken to
  /// have around them what the spec asks for.
  virtual Result<PlatformSeen> glance(const Stack& stack, std::stop_token stop) {
    return observe(stack, std::move(stop));
  }

  /// Carries out one action. Idempotent: the same again, after a crash or a lost reply, is a no-op;
  /// a task whose name was ever started is never started again.
  /// Errors: NotFound (release folder, image, Secret), Unavailable, Conflict (another controller).
  virtual Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                           std::stop_token stop) = 0;

  /// Stacks of which something died since the last call, for platforms that cannot tell by
  /// themselves: the controller asks every second, so this must be cheap. Called by one thread.
  virtual std::vector<StackKey> died() { return {}; }
};

}  // namespace stackspec
