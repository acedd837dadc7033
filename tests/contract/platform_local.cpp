// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include "contract/platform_world.hpp"
#include "integration/local/local_world.hpp"

namespace stackspec {
namespace {

class LocalProcesses final : public PlatformWorld {
 public:
  const Stack& stack() override { return world_.stack; }
  const SecretValues& secrets() override { return world_.secrets; }
  Platform& platform() override { return *world_.platform; }
  void restart_controller() override { world_.restart_controller(); }
  void go_on() override { world_.clock.shift += std::chrono::seconds(frozen_ ? 0 : 1); }
  void kill(Component component) override {
    frozen_ = true;  // no back-off ends: it stays dead
    ::kill(world_.pid_of(component), SIGKILL);
  }
  void heal() override { frozen_ = false; }

  TaskSpec task(const std::string& name, int code) override {
    // As Kubernetes tells of a container that was killed.
    const std::string end = code > 128 ? "kill -" + std::to_string(code - 128) + " $$$$"
                                       : "exit " + std::to_string(code);
    return doing(name, R"(printf '{"rows":12}' >"$STACKSPEC_RESULT"; )" + end);
  }
  TaskSpec endless_task(const std::string& name) override { return doing(name, "exec sleep 1000"); }

 private:
  static TaskSpec doing(const std::string& name, const std::string& what) {
    TaskSpec spec;
    spec.name = name;
    spec.version = "v1.15.4";
    spec.env = {{"TEST_DO", what, {}}};
    return spec;
  }

  LocalWorld world_;
  bool frozen_ = false;
};

}  // namespace

PlatformFactory local_processes() {
  return {"Processes",
          []() -> std::unique_ptr<PlatformWorld> { return std::make_unique<LocalProcesses>(); }};
}

}  // namespace stackspec
