// SPDX-License-Identifier: Apache-2.0
#include "contract/platform_world.hpp"
#include "fakes/cluster.hpp"
#include "platform/kubernetes/kubernetes.hpp"
#include "unit/platform_kubernetes/cluster_world.hpp"

namespace stackspec {
namespace {

using kubernetes::HandClock;

class ClusterInMemory final : public PlatformWorld {
 public:
  ClusterInMemory() {
    auto made = make_sqlite_objects(":memory:");
    if (!made) throw std::runtime_error(made.error().message);
    objects_ = std::move(made).value();
    cluster_ = std::make_unique<FakeCluster>(*objects_);
    stack_.spec.tag = "v1.15.4";
    restart_controller();
  }

  const Stack& stack() override { return stack_; }
  const SecretValues& secrets() override { return secrets_; }
  Platform& platform() override { return *platform_; }

  void restart_controller() override {
    platform_.reset();
    KubernetesOptions options;
    options.pod_log = [](const auto&, const auto&, const auto&, int) -> Result<std::string> {
      return std::string();
    };
    options.flush_redis = [](const RedisTarget&, std::stop_token) { return Result<void>(); };
    platform_ = make_kubernetes_platform(*objects_, options, clock_);
  }

  void go_on() override {
    clock_.advance(std::chrono::seconds(1));
    cluster_->step();
    for (const auto& [job, code] : ends_) {
      const auto live = objects_->get({"Job", stack_.key.ns, job});
      const bool runs = live && !live->status.contains("conditions") &&
                        !live->content.at("spec").value("suspend", false);
      if (runs) cluster_->end_task(stack_.key.ns, job, code, R"({"rows":12})");
    }
  }

  void kill(Component component) override { cluster_->crash(std::string(to_string(component))); }
  void heal() override { cluster_->heal(); }

  TaskSpec task(const std::string& name, int code) override {
    ends_[name] = code;
    return endless_task(name);
  }
  TaskSpec endless_task(const std::string& name) override {
    return kubernetes::task_of(stack_, TaskKind::Inspect, name);
  }

 private:
  Stack stack_ = kubernetes::quickstart();
  SecretValues secrets_;
  HandClock clock_;
  std::unique_ptr<ObjectApi> objects_;
  std::unique_ptr<FakeCluster> cluster_;
  std::unique_ptr<Platform> platform_;
  std::map<std::string, int> ends_;
};

}  // namespace

PlatformFactory cluster_in_memory() {
  return {"ClusterInMemory",
          []() -> std::unique_ptr<PlatformWorld> { return std::make_unique<ClusterInMemory>(); }};
}

}  // namespace stackspec
