// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "contract/platform_world.hpp"
#include "fakes/eventually.hpp"

// What the planner counts on, of every platform.

namespace stackspec {
namespace {

using namespace std::chrono_literals;

class PlatformContract : public ::testing::TestWithParam<PlatformFactory> {
 protected:
  void SetUp() override { world_ = GetParam().make(); }

  Result<void> act(const Action& action) {
    return world_->platform().act(world_->stack(), action, world_->secrets(), {});
  }
  void must(const Action& action) {
    const auto done = act(action);
    EXPECT_TRUE(done) << describe(action) << ": " << done.error().message;
  }
  PlatformSeen look() { return look(world_->stack()); }
  PlatformSeen look(const Stack& stack) {
    auto seen = world_->platform().observe(stack, {});
    EXPECT_TRUE(seen) << seen.error().message;
    return seen ? std::move(seen).value() : PlatformSeen();
  }
  /// The world goes on until `holds` of what is seen.
  template <class Holds>
  PlatformSeen until(const Holds& holds) {
    PlatformSeen seen;
    EXPECT_TRUE(eventually(
        [&] {
          world_->go_on();
          seen = look();
          return holds(seen);
        },
        100s));
    return seen;
  }

  ComponentSpec wanted(Component component, const std::string& release, int replicas = 1) {
    for (ComponentSpec& one : wanted_components(world_->stack().key, world_->stack().spec,
                                                *parse_version(release), look().endpoints, "")) {
      if (one.component != component) continue;
      one.replicas = replicas;
      return std::move(one);
    }
    ADD_FAILURE() << "no such component";
    return {};
  }
  void bring_up(Component component) {
    must(ApplyComponent{wanted(component, "v1.15.4")});
    until([&](const PlatformSeen& seen) { return seen.components.at(component).ready == 1; });
  }

  static TaskSeen task(const PlatformSeen& seen, const std::string& name) {
    for (const TaskSeen& one : seen.tasks) {
      if (one.name == name) return one;
    }
    return {};
  }
  TaskSeen ended(const std::string& name) {
    return task(until([&](const PlatformSeen& seen) {
                  const TaskSeen one = task(seen, name);
                  return !one.name.empty() && one.outcome != Outcome::Running;
                }),
                name);
  }

  std::unique_ptr<PlatformWorld> world_;
};

TEST_P(PlatformContract, AnAbsentStackIsNothingAndNoError) {
  const PlatformSeen seen = look();
  for (const auto& [component, one] : seen.components) {
    EXPECT_EQ(one.running, 0) << to_string(component);
    EXPECT_EQ(one.ready, 0) << to_string(component);
  }
  EXPECT_TRUE(seen.tasks.empty());
  EXPECT_TRUE(seen.backups.empty());
  EXPECT_FALSE(seen.gateway_open);
}

TEST_P(PlatformContract, AComponentRunsAsAppliedAndIsNotStartedAgain) {
  bring_up(Component::Worker);
  const ComponentSeen first = look().components.at(Component::Worker);
  EXPECT_TRUE(first.exists);
  EXPECT_EQ(first.wanted, 1);
  EXPECT_EQ(first.running, 1);
  EXPECT_EQ(first.version, "v1.15.4");
  EXPECT_EQ(first.revision, wanted(Component::Worker, "v1.15.4").revision);
  for (int again = 0; again < 3; ++again) {
    must(ApplyComponent{wanted(Component::Worker, "v1.15.4")});
    world_->go_on();
  }
  EXPECT_EQ(look().components.at(Component::Worker), first);
}

TEST_P(PlatformContract, AComponentThatIsStoppedIsGoneAndTheOthersStay) {
  bring_up(Component::Worker);
  bring_up(Component::Server);
  for (int again = 0; again < 2; ++again) {
    must(ApplyComponent{wanted(Component::Worker, "v1.15.4", 0)});
  }
  const PlatformSeen seen = until(
      [](const PlatformSeen& now) { return now.components.at(Component::Worker).running == 0; });
  EXPECT_EQ(seen.components.at(Component::Worker).ready, 0);
  EXPECT_EQ(seen.components.at(Component::Server).ready, 1);
}

TEST_P(PlatformContract, AnotherReleaseTakesThePlaceOfTheOldOne) {
  bring_up(Component::Worker);
  const ComponentSpec next = wanted(Component::Worker, "v1.16.6");
  must(ApplyComponent{next});
  const PlatformSeen seen = until([&](const PlatformSeen& now) {
    const ComponentSeen& worker = now.components.at(Component::Worker);
    return worker.ready == 1 && worker.revision == next.revision && worker.running == 1;
  });
  EXPECT_EQ(seen.components.at(Component::Worker).version, "v1.16.6");
}

TEST_P(PlatformContract, WhatDiedIsSeenAndRunsAgain) {
  bring_up(Component::Worker);
  const int restarts = look().components.at(Component::Worker).restarts;
  world_->kill(Component::Worker);
  until([&](const PlatformSeen& now) {
    const ComponentSeen& worker = now.components.at(Component::Worker);
    return worker.ready == 0 || worker.restarts > restarts;
  });
  world_->heal();
  until([&](const PlatformSeen& now) {
    // As the planner does in every pass; a platform may back off first.
    if (now.components.at(Component::Worker).ready == 1) return true;
    must(ApplyComponent{wanted(Component::Worker, "v1.15.4")});
    return false;
  });
}

TEST_P(PlatformContract, TheNextControllerSeesTheSame) {
  bring_up(Component::Server);
  bring_up(Component::Gateway);
  must(SwitchGateway{GatewayMode::Open, false});
  must(StartTask{world_->task("crm-1234abcd-0-inspect-1", 10)});
  ended("crm-1234abcd-0-inspect-1");
  const PlatformSeen before = look();
  world_->restart_controller();
  const PlatformSeen after = look();
  EXPECT_EQ(after.components, before.components);
  EXPECT_EQ(after.tasks, before.tasks);
  EXPECT_TRUE(after.gateway_open);
}

TEST_P(PlatformContract, TheGatewayIsSwitchedAtOnceAndStaysSo) {
  bring_up(Component::Server);
  bring_up(Component::Gateway);
  EXPECT_FALSE(look().gateway_open) << "nobody opened it";
  for (const GatewayMode mode : {GatewayMode::Open, GatewayMode::Closed, GatewayMode::Open}) {
    for (int again = 0; again < 2; ++again) {
      must(SwitchGateway{mode, false});
      EXPECT_EQ(look().gateway_open, mode == GatewayMode::Open);
    }
  }
  must(ApplyComponent{wanted(Component::Gateway, "v1.15.4")});
  EXPECT_TRUE(look().gateway_open) << "applying it must not close it";
}

TEST_P(PlatformContract, ATaskIsJudgedByItsExitCode) {
  const struct {
    int code;
    Outcome outcome;
  } rows[] = {{0, Outcome::Ok},
              {10, Outcome::Failed},
              {19, Outcome::Failed},
              {75, Outcome::Interrupted},
              {137, Outcome::Interrupted}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.code);
    const std::string name = "crm-1234abcd-0-inspect-" + std::to_string(row.code + 1);
    must(StartTask{world_->task(name, row.code)});
    const TaskSeen seen = ended(name);
    EXPECT_EQ(seen.outcome, row.outcome);
    EXPECT_EQ(seen.result, world_->result_of_a_task());
  }
}

TEST_P(PlatformContract, ATaskRunsOnceUnderItsNameForEver) {
  const StartTask start{world_->task("crm-1234abcd-0-inspect-1", 10)};
  must(start);
  must(start);
  const TaskSeen first = ended("crm-1234abcd-0-inspect-1");
  must(start);
  world_->restart_controller();
  must(start);
  world_->go_on();
  const PlatformSeen seen = look();
  ASSERT_EQ(seen.tasks.size(), 1U);
  EXPECT_EQ(seen.tasks[0], first);
}

TEST_P(PlatformContract, ATaskThatIsStoppedIsInterruptedAndNeverGoesOn) {
  const std::string name = "crm-1234abcd-0-inspect-1";
  must(StartTask{world_->endless_task(name)});
  until([&](const PlatformSeen& seen) { return task(seen, name).outcome == Outcome::Running; });
  must(StopTask{name});
  must(StopTask{name});
  must(StopTask{"crm-never-was"});
  EXPECT_EQ(ended(name).outcome, Outcome::Interrupted);
  must(StartTask{world_->endless_task(name)});
  world_->go_on();
  EXPECT_EQ(task(look(), name).outcome, Outcome::Interrupted);
}

TEST_P(PlatformContract, ABackupThatIsNotThereIsDeletedAlready) {
  must(DeleteBackup{"crm-1234abcd-0"});
  for (const char* id : {"", "..", "files", "../x"}) {
    const auto deleted = act(DeleteBackup{id});
    ASSERT_FALSE(deleted) << id;
    EXPECT_EQ(deleted.error().kind, ErrorKind::Invalid) << id;
  }
}

TEST_P(PlatformContract, StacksAreApart) {
  bring_up(Component::Worker);
  Stack other = world_->stack();
  other.key.name = "erp";
  other.uid += "x";
  const PlatformSeen seen = look(other);
  for (const auto& [component, one] : seen.components) {
    EXPECT_EQ(one.running, 0) << to_string(component);
  }
}

INSTANTIATE_TEST_SUITE_P(Of, PlatformContract,
                         ::testing::Values(local_processes(), cluster_in_memory()),
                         [](const auto& factory) { return std::string(factory.param.name); });

}  // namespace
}  // namespace stackspec
