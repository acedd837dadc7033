// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>

#include "base/log.hpp"
#include "fakes/cluster.hpp"
#include "fakes/eventually.hpp"
#include "fakes/faulty_objects.hpp"
#include "platform/kubernetes/kubernetes.hpp"
#include "unit/platform_kubernetes/stacks.hpp"

namespace stackspec::kubernetes {

class HandClock final : public Clock {
 public:
  WallTime wall_now() const override {
    return WallTime(std::chrono::seconds(1795251600 + seconds_.load()));
  }
  SteadyTime steady_now() const override {
    return SteadyTime(std::chrono::seconds(seconds_.load()));
  }
  void advance(std::chrono::seconds by) { seconds_ += by.count(); }

 private:
  std::atomic<std::int64_t> seconds_ = 100;
};

/// A platform on objects in memory and a cluster that moves when told to.
class ClusterWorld : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::Error);
    begin();
  }
  void TearDown() override { platform.reset(); }

  /// A new world, empty.
  void begin() {
    platform.reset();
    cluster.reset();
    faulty.reset();
    auto made = make_sqlite_objects(":memory:");
    ASSERT_TRUE(made);
    objects = std::move(made).value();
    faulty = std::make_unique<FaultyObjects>(*objects);
    cluster = std::make_unique<FakeCluster>(*objects);
    restart();
  }

  /// The controller anew, with an empty memory.
  void restart() {
    platform.reset();
    KubernetesOptions options;
    options.pod_log = [this](const std::string&, const std::string&, const std::string& container,
                             int) -> Result<std::string> {
      EXPECT_EQ(container, "task");
      ++logs_read;
      return log_text;
    };
    options.flush_redis = [this](const RedisTarget& target, std::stop_token) {
      flushed.push_back(target.host + ":" + std::to_string(target.port) + "/" +
                        std::to_string(target.database));
      return Result<void>();
    };
    platform = make_kubernetes_platform(*faulty, options, clock);
  }

  Result<void> act(const Action& action) { return platform->act(stack, action, {}, {}); }
  void must(const Action& action) {
    const auto done = act(action);
    EXPECT_TRUE(done) << describe(action) << ": " << done.error().message;
  }

  PlatformSeen look() {
    auto seen = platform->observe(stack, {});
    EXPECT_TRUE(seen) << seen.error().message;
    return seen ? std::move(seen).value() : PlatformSeen{};
  }
  /// What is heard of the cluster comes a moment later.
  PlatformSeen until(const std::function<bool(const PlatformSeen&)>& holds) {
    PlatformSeen seen;
    EXPECT_TRUE(eventually([&] {
      seen = look();
      return holds(seen);
    }));
    return seen;
  }

  Object get(const std::string& kind, const std::string& name) {
    auto live = objects->get({kind, stack.key.ns, name});
    EXPECT_TRUE(live) << kind << " " << name;
    return live ? std::move(live).value() : Object{};
  }
  bool exists(const std::string& kind, const std::string& name) {
    return objects->get({kind, stack.key.ns, name}).has_value();
  }
  void edit(const std::string& kind, const std::string& name,
            const std::function<void(Object&)>& change) {
    Object live = get(kind, name);
    change(live);
    EXPECT_TRUE(objects->update(live)) << kind << " " << name;
  }

  void apply_everything() {
    for (const ComponentSpec& component : components_of(stack)) must(ApplyComponent{component});
  }
  bool all_ready(const PlatformSeen& seen) {
    for (const ComponentSpec& wanted : components_of(stack)) {
      const ComponentSeen& one = seen.components.at(wanted.component);
      if (one.ready != wanted.replicas || one.revision != wanted.revision) return false;
    }
    return true;
  }
  void install() {
    apply_everything();
    cluster->step();
    until([this](const PlatformSeen& seen) { return all_ready(seen); });
  }

  const TaskSeen* task(const PlatformSeen& seen, const std::string& name) {
    for (const TaskSeen& one : seen.tasks) {
      if (one.name == name) return &one;
    }
    return nullptr;
  }
  /// Starts a task and waits until its pod runs.
  void run(TaskKind kind, const std::string& name) {
    must(StartTask{task_of(stack, kind, name)});
    cluster->step();
    until([&](const PlatformSeen& seen) { return task(seen, name) != nullptr; });
  }
  TaskSeen ended(const std::string& name) {
    TaskSeen found;
    int looks = 0;
    until([&](const PlatformSeen& seen) {
      // Slower than what the cluster tells comes in, on a busy machine too.
      if (++looks % 20 == 0) clock.advance(std::chrono::seconds(1));
      const TaskSeen* one = task(seen, name);
      if (one != nullptr) found = *one;
      return one != nullptr && one->outcome != Outcome::Running;
    });
    return found;
  }

  Stack stack = quickstart();
  HandClock clock;
  std::unique_ptr<ObjectApi> objects;
  std::unique_ptr<FaultyObjects> faulty;
  std::unique_ptr<FakeCluster> cluster;
  std::unique_ptr<Platform> platform;
  std::string log_text;
  std::atomic<int> logs_read = 0;
  std::vector<std::string> flushed;
};

}  // namespace stackspec::kubernetes
