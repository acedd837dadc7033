// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "base/log.hpp"
#include "base/process.hpp"
#include "integration/local/local_world.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A task of the release's image; the release folders of the tests run TEST_DO in its place.
TaskSpec task(const std::string& name, const std::string& what) {
  TaskSpec spec;
  spec.name = name;
  spec.kind = TaskKind::Inspect;
  spec.version = "v1.15.4";
  spec.env = {{"TEST_DO", what, {}}};
  return spec;
}

TaskSeen seen_task(LocalWorld& world, const std::string& name) {
  for (auto& seen : world.look().tasks) {
    if (seen.name == name) return seen;
  }
  return {};
}

bool ended(LocalWorld& world, const std::string& name) {
  return eventually(
      [&] {
        const auto seen = seen_task(world, name);
        return !seen.name.empty() && seen.outcome != Outcome::Running;
      },
      kPatience);
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(LocalTasks, JudgesByTheExitCode) {
  LocalWorld world;
  const struct {
    const char* what;
    Outcome outcome;
    int code;
  } rows[] = {
      {"exit 0", Outcome::Ok, 0},
      {"exit 10", Outcome::Failed, 10},
      {"exit 19", Outcome::Failed, 19},
      {"exit 75", Outcome::Interrupted, 75},
      {"kill -9 $$$$", Outcome::Interrupted, 137},
  };
  int number = 0;
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    const std::string name = "crm-1-" + std::to_string(number++);
    ASSERT_TRUE(world.act(StartTask{task(name, row.what)}));
    ASSERT_TRUE(ended(world, name));
    EXPECT_EQ(seen_task(world, name).outcome, row.outcome);
    EXPECT_EQ(seen_task(world, name).exit_code, row.code);
  }
}

TEST(LocalTasks, HandsBackResultProgressAndAMaskedLog) {
  LocalWorld world;
  log::mask("hunter2hunter2");
  ASSERT_TRUE(world.act(
      StartTask{task("crm-1",
                     "echo '{\"progress\":\"one\"}'; echo password hunter2hunter2;"
                     "echo '{\"progress\":\"two\"}';"
                     "printf '{\"rows\":12,\"failure\":\"none\"}' >\"$STACKSPEC_RESULT\"")}));
  ASSERT_TRUE(ended(world, "crm-1"));
  const auto seen = seen_task(world, "crm-1");
  EXPECT_EQ(seen.outcome, Outcome::Ok) << seen.log_tail;
  EXPECT_EQ(seen.progress, "two");
  EXPECT_EQ(seen.result, (std::map<std::string, std::string>{{"rows", "12"}, {"failure", "none"}}));
  EXPECT_NE(seen.log_tail.find("password [redacted]"), std::string::npos) << seen.log_tail;
}

TEST(LocalTasks, GivesATaskItsEnvironment) {
  LocalWorld world;
  auto spec =
      task("crm-1",
           "test -w \"$STACKSPEC_SCRATCH\" && test -x \"$STACKSPEC_ENTRYPOINT\" &&"
           "test \"$APP_VERSION\" = 1.15.4 && test \"$URL\" = \"p=$PW\" && initdb --version "
           ">/dev/null && test \"$STACKSPEC_TASK\" = crm-1 && test \"$(id -u)\" != 0");
  const auto secret = secrets_name(world.stack.key, world.stack.spec);
  const std::string key(generated_keys().front().key);
  spec.env.push_back({"PW", "", SecretKeyRef{secret, key}});
  spec.env.push_back({"URL", "p=$(PW)", {}});
  ASSERT_TRUE(world.act(StartTask{spec}));
  ASSERT_TRUE(ended(world, "crm-1"));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Ok) << seen_task(world, "crm-1").log_tail;
  // Ended tasks keep no scratch space.
  EXPECT_TRUE(eventually(
      [&] {
        world.look();
        return !fs::exists(world.folder() + "/tasks/crm-1/scratch");
      },
      kPatience));
}

TEST(LocalTasks, RunsANameOnceForEver) {
  LocalWorld world;
  const std::string mark = world.folder() + "/home/mark";
  const auto spec = task("crm-1", "echo ran >>\"$HOME/mark\"; exit 10");
  ASSERT_TRUE(world.act(StartTask{spec}));
  ASSERT_TRUE(world.act(StartTask{spec}));
  ASSERT_TRUE(ended(world, "crm-1"));
  ASSERT_TRUE(world.act(StartTask{spec}));
  world.restart_controller();
  ASSERT_TRUE(world.act(StartTask{spec}));
  EXPECT_EQ(text_of(mark), "ran\n");

  // Not even when its folder has made room for newer ones.
  for (int i = 0; i < 51; ++i) {
    world.clock.shift += 1s;
    ASSERT_TRUE(world.act(StartTask{task("crm-2-" + std::to_string(i), "exit 0")}));
  }
  ASSERT_TRUE(eventually([&] { return world.look().tasks.size() == 50; }, kPatience));
  EXPECT_EQ(seen_task(world, "crm-1").name, "");
  ASSERT_TRUE(world.act(StartTask{spec}));
  EXPECT_EQ(seen_task(world, "crm-1").name, "");
  EXPECT_EQ(text_of(mark), "ran\n");
}

TEST(LocalTasks, StartsATaskWhoseControllerDiedBetweenFolderAndStart) {
  LocalWorld world;
  world.look();
  const std::string folder = world.folder() + "/tasks/crm-1";
  fs::create_directories(folder);
  std::ofstream(folder + "/record") << "";  // Opened, but no process has put its number in.
  EXPECT_EQ(seen_task(world, "crm-1").name, "");
  ASSERT_TRUE(world.act(StartTask{task("crm-1", "exit 0")}));
  ASSERT_TRUE(ended(world, "crm-1"));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Ok);
}

TEST(LocalTasks, OutlivesTheController) {
  LocalWorld world;
  ASSERT_TRUE(world.act(
      StartTask{task("crm-1", "while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done; exit 11")}));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Running);
  world.restart_controller();
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Running);
  std::ofstream(world.folder() + "/home/go") << "";
  ASSERT_TRUE(ended(world, "crm-1"));
  EXPECT_EQ(seen_task(world, "crm-1").exit_code, 11);
}

TEST(LocalTasks, IsInterruptedWhenKilledAndLeavesNothingBehind) {
  LocalWorld world;
  // A child in a session of its own, as a throw-away PostgreSQL would be.
  ASSERT_TRUE(
      world.act(StartTask{task("crm-1", "setsid sleep 1000 & echo up >\"$HOME/up\"; wait")}));
  ASSERT_TRUE(eventually([&] { return fs::exists(world.folder() + "/home/up"); }, kPatience));
  const auto record = recorded_process(world.folder() + "/tasks/crm-1/record");
  ASSERT_TRUE(record);
  ::kill(-record->pid, SIGKILL);
  ASSERT_TRUE(ended(world, "crm-1"));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Interrupted);
  EXPECT_EQ(world.processes_left(), 0);
}

TEST(LocalTasks, EndsATaskOnRequestAndByForceAfterItsGrace) {
  LocalWorld world;
  ASSERT_TRUE(world.act(StartTask{task("meek", "echo up >\"$HOME/meek\"; exec sleep 1000")}));
  ASSERT_TRUE(world.act(StartTask{
      task("stubborn", "trap '' TERM; echo up >\"$HOME/up\"; while :; do sleep 0.1; done")}));
  ASSERT_TRUE(eventually([&] { return fs::exists(world.folder() + "/home/up"); }, kPatience));
  ASSERT_TRUE(eventually([&] { return fs::exists(world.folder() + "/home/meek"); }, kPatience));
  for (const char* name : {"meek", "stubborn"}) ASSERT_TRUE(world.act(StopTask{name}));
  ASSERT_TRUE(ended(world, "meek"));
  EXPECT_EQ(seen_task(world, "meek").outcome, Outcome::Interrupted);
  EXPECT_EQ(seen_task(world, "stubborn").outcome, Outcome::Running);
  world.clock.shift += 30s;
  ASSERT_TRUE(ended(world, "stubborn"));
  EXPECT_EQ(seen_task(world, "stubborn").outcome, Outcome::Interrupted);
}

TEST(LocalTasks, EndsATaskPastItsDeadline) {
  LocalWorld world;
  auto spec = task("crm-1", "echo up >\"$HOME/up\"; exec sleep 1000");
  spec.deadline_seconds = 60;
  ASSERT_TRUE(world.act(StartTask{spec}));
  ASSERT_TRUE(eventually([&] { return fs::exists(world.folder() + "/home/up"); }, kPatience));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Running);
  world.clock.shift += 61s;
  ASSERT_TRUE(ended(world, "crm-1"));
  EXPECT_EQ(seen_task(world, "crm-1").outcome, Outcome::Interrupted);
}

TEST(LocalTasks, PutsNoSecretIntoFilesOrArguments) {
  LocalWorld world;
  const std::string canary = "canary-0123456789";
  world.secrets["crm-smtp"]["PASSWORD"] = canary;
  auto spec = task("crm-1", "echo up >\"$HOME/up\"; exec sleep 1000");
  spec.env_from = {{"crm-smtp", ""}};
  ASSERT_TRUE(world.act(StartTask{spec}));
  ASSERT_TRUE(eventually([&] { return fs::exists(world.folder() + "/home/up"); }, kPatience));
  EXPECT_NE(shell("grep -r '" + canary + "' '" + world.data + "'").code, 0);
  const auto record = recorded_process(world.folder() + "/tasks/crm-1/record");
  ASSERT_TRUE(record);
  EXPECT_EQ(text_of("/proc/" + std::to_string(record->pid) + "/cmdline").find(canary),
            std::string::npos);
}

}  // namespace
}  // namespace stackspec
