// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <ostream>
#include <string>

#include "platform/platform.hpp"

namespace stackspec {

/// One stack on one platform, as the contract of platforms needs it.
class PlatformWorld {
 public:
  virtual ~PlatformWorld() = default;
  virtual const Stack& stack() = 0;
  virtual const SecretValues& secrets() = 0;
  virtual Platform& platform() = 0;
  /// Another platform object; what runs goes on running.
  virtual void restart_controller() = 0;
  /// What the world does by itself, and some seconds.
  virtual void go_on() {}
  /// It dies, and does not come back before heal().
  virtual void kill(Component component) = 0;
  virtual void heal() {}
  /// A task that says result_of_a_task() and ends with `code` by itself.
  virtual TaskSpec task(const std::string& name, int code) = 0;
  virtual TaskSpec endless_task(const std::string& name) = 0;
  std::map<std::string, std::string> result_of_a_task() const { return {{"rows", "12"}}; }
};

struct PlatformFactory {
  const char* name;
  std::unique_ptr<PlatformWorld> (*make)();
  friend std::ostream& operator<<(std::ostream& out, const PlatformFactory& factory) {
    return out << factory.name;
  }
};

PlatformFactory local_processes();
PlatformFactory cluster_in_memory();

}  // namespace stackspec
