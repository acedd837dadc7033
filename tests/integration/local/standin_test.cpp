// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>

#include "integration/local/local_world.hpp"
#include "plan/tasks.hpp"

namespace stackspec {
namespace {

/// Runs a task to its end with the real script, as the planner would order it.
TaskSeen run(LocalWorld& world, TaskKind kind, const std::string& release,
             const std::string& backup = "") {
  Seen seen;
  seen.endpoints = world.look().endpoints;
  const TaskSpec task = make_task({.stack = world.stack,
                                   .seen = seen,
                                   .kind = kind,
                                   .journey = "0123abcd",
                                   .from = release,
                                   .to = release,
                                   .backup = backup});
  const auto started = world.act(StartTask{task});
  EXPECT_TRUE(started) << (started ? "" : started.error().message);
  TaskSeen result;
  eventually(
      [&] {
        for (auto& candidate : world.look().tasks) {
          if (candidate.name == task.name) result = candidate;
        }
        return !result.name.empty() && result.outcome != Outcome::Running;
      },
      kPatience);
  return result;
}

TEST(LocalStandIn, IsInstalledServesAndIsBackedUpAndProven) {
  LocalWorld world;
  const auto made = shell(std::string(STACKSPEC_SOURCE_DIR) + "/tests/standin/make-releases '" +
                          world.releases + "' v1.15.4");
  ASSERT_EQ(made.code, 0) << made.output;
  for (auto& [key, value] : world.secrets["crm-secrets"]) value = "0123456789abcdef0123456789";
  ASSERT_EQ(world.bring_up(Component::Postgres), "ready");
  ASSERT_EQ(world.bring_up(Component::Redis), "ready");
  for (const TaskKind kind : {TaskKind::Inspect, TaskKind::Install}) {
    const auto done = run(world, kind, "v1.15.4");
    ASSERT_EQ(done.outcome, Outcome::Ok) << done.exit_code << "\n" << done.log_tail;
  }
  for (const Component component :
       {Component::Server, Component::Worker, Component::Fundraising, Component::Gateway}) {
    ASSERT_EQ(world.bring_up(component), "ready") << to_string(component);
  }
  const auto endpoints = world.look().endpoints;
  EXPECT_EQ(http_status(endpoints.gateway_private_port, "/healthz"), 200);
  EXPECT_EQ(http_status(endpoints.gateway_private_port, "/fundraising/health"), 200);

  for (const TaskKind kind : {TaskKind::Backup, TaskKind::Prove}) {
    const auto done = run(world, kind, "v1.15.4", "crm-backup-1");
    ASSERT_EQ(done.outcome, Outcome::Ok) << done.exit_code << "\n" << done.log_tail;
  }
  const auto backups = world.look().backups;
  ASSERT_EQ(backups.size(), 1U);
  EXPECT_EQ(backups[0].id, "crm-backup-1");
  EXPECT_EQ(backups[0].source_version, "v1.15.4");
  EXPECT_GT(backups[0].tables, 0);
  EXPECT_TRUE(backups[0].proven);

  ASSERT_TRUE(world.act(FlushRedis{}));
  ASSERT_TRUE(world.act(DeleteBackup{"crm-backup-1"}));
  EXPECT_TRUE(world.look().backups.empty());
}

}  // namespace
}  // namespace stackspec
