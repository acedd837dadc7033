// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "base/process.hpp"
#include "integration/local/local_world.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;

constexpr Component kQuickOnes[] = {Component::Redis, Component::Server, Component::Worker,
                                    Component::Fundraising, Component::Gateway};

/// What a controller does all day, in no good order, until it is killed.
[[noreturn]] void work_until_killed(LocalWorld& world, unsigned seed, int round, int progress) {
  std::mt19937 random(seed);
  world.restart_controller();
  for (int turn = 0;; ++turn) {
    auto component = world.wanted(kQuickOnes[random() % std::size(kQuickOnes)],
                                  random() % 4 == 0 ? "v1.16.6" : "v1.15.4");
    component.replicas = random() % 6 == 0 ? 0 : 1;
    component.termination_grace_seconds = 1;
    static_cast<void>(world.act(ApplyComponent{component}));
    const auto mode = random() % 2 == 0 ? GatewayMode::Open : GatewayMode::Closed;
    static_cast<void>(world.act(SwitchGateway{mode, true}));
    TaskSpec task;
    task.name = "crm-" + std::to_string(round) + "-" + std::to_string(turn / 2);
    task.version = "v1.15.4";
    task.env = {{"TEST_DO", "echo \"$STACKSPEC_TASK\" >>\"$HOME/ran\"; sleep 0.02", {}}};
    static_cast<void>(world.act(StartTask{task}));
    if (::write(progress, ".", 1) != 1) ::_exit(1);
  }
}

/// How many of the stack's processes lead a session, by release and working folder: the first
/// process of every start does, and only that.
int sessions_below(const std::string& folder) {
  int sessions = 0;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto directory = fs::read_symlink(entry.path() / "cwd", failed);
    if (failed || directory.string().rfind(folder, 0) != 0) continue;
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (::getsid(pid) == pid) ++sessions;
  }
  return sessions;
}

TEST(LocalPlatformKilled, StartsNothingTwiceAndFindsEverythingAgain) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  LocalWorld world;
  world.look();
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    world.platform.reset();
    int progress[2];
    ASSERT_EQ(::pipe2(progress, O_CLOEXEC), 0);
    const pid_t controller = ::fork();
    if (controller == 0) {
      work_until_killed(world, seed + static_cast<unsigned>(round), round, progress[1]);
    }
    char turn = 0;
    for (auto turns = 1 + random() % 5; turns > 0; --turns) {
      ASSERT_EQ(::read(progress[0], &turn, 1), 1);
    }
    // The instant, not a wait: anywhere in the next turn or two.
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    ::kill(controller, SIGKILL);
    ASSERT_EQ(::waitpid(controller, nullptr, 0), controller);
    ::close(progress[0]);
    ::close(progress[1]);
    world.restart_controller();

    // Everything that runs is known by its record, and by no more than one.
    ASSERT_TRUE(eventually(
        [&] {
          const auto seen = world.look();
          int known = 0;
          for (const auto& [component, state] : seen.components) known += state.running;
          for (const auto& task : seen.tasks) known += task.outcome == Outcome::Running ? 1 : 0;
          return known == sessions_below(world.temp.path());
        },
        kPatience));
    world.clock.shift += std::chrono::seconds(100);  // Past any back-off and grace.
  }
  for (const Component component : kQuickOnes) {
    EXPECT_EQ(world.bring_up(component), "ready") << to_string(component);
  }
  std::ifstream ran(world.folder() + "/home/ran");
  std::map<std::string, int> times;
  for (std::string name; ran >> name;) ++times[name];
  EXPECT_GT(times.size(), 25U);
  for (const auto& [name, count] : times) EXPECT_EQ(count, 1) << name;
}

TEST(LocalPlatformKilled, SurvivesADeathDuringTheMakingOfTheDatabase) {
  LocalWorld world;
  world.look();
  pid_t first = 0;
  for (int round = 0; round < 5; ++round) {
    world.platform.reset();
    const pid_t controller = ::fork();
    if (controller == 0) {
      world.restart_controller();
      for (;;) static_cast<void>(world.apply(Component::Postgres));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(40 + 200 * round));
    ::kill(controller, SIGKILL);
    ASSERT_EQ(::waitpid(controller, nullptr, 0), controller);
    world.restart_controller();
    const pid_t now = world.pid_of(Component::Postgres);
    if (first != 0) {
      EXPECT_EQ(now, first);
    }
    first = now;
  }
  EXPECT_EQ(world.bring_up(Component::Postgres), "ready");
  EXPECT_EQ(world.pid_of(Component::Postgres), first);
}

}  // namespace
}  // namespace stackspec
