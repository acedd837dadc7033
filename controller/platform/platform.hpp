// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "base/pause.hpp"
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

  /// What a new stack stands on, whatever becomes of it, before there is anything to protect: walls
  /// that nobody gets through, an account without rights. Idempotent. Errors as act().
  virtual Result<void> prepare(const Stack& /*stack*/, std::stop_token /*stop*/) { return {}; }

  /// Carries out one action. Idempotent: the same again, after a crash or a lost reply, is a no-op;
  /// a task whose name was ever started is never started again.
  /// Errors: NotFound (release folder, image, Secret), Unavailable, Conflict (another controller).
  virtual Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                           std::stop_token stop) = 0;

  /// Stacks to which something happened since the last call, own actions mostly left out. Waits for
  /// it, `patience` at most. Called by one thread, over and over.
  virtual std::vector<StackKey> changed(std::chrono::milliseconds patience, std::stop_token stop) {
    pause_for(patience, stop);
    return {};
  }
};

}  // namespace stackspec
