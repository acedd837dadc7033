// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "integration/local/local_world.hpp"

namespace stackspec {
namespace {

struct Statuses {
  int normal = 0, closed = 0, private_one = 0;
  friend bool operator==(const Statuses&, const Statuses&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Statuses& s) {
    return out << s.normal << "/" << s.closed << "/" << s.private_one;
  }
};

Statuses statuses(LocalWorld& world) {
  const auto at = world.look().endpoints;
  return {http_status(at.gateway_port, "/"), http_status(at.gateway_closed_port, "/"),
          http_status(at.gateway_private_port, "/")};
}

TEST(LocalGateway, OpensAndClosesForNewConnectionsBeforeItReturns) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  EXPECT_FALSE(world.look().gateway_open);
  EXPECT_EQ(statuses(world), (Statuses{503, 503, 200}));
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Open, true}));
    EXPECT_EQ(statuses(world), (Statuses{200, 503, 200}));
    EXPECT_TRUE(world.look().gateway_open);
    ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Closed, true}));
    EXPECT_EQ(statuses(world), (Statuses{503, 503, 200}));
    EXPECT_FALSE(world.look().gateway_open);
  }
}

TEST(LocalGateway, Gives502WhenTheServerIsDead) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Open, true}));
  EXPECT_EQ(statuses(world), (Statuses{502, 503, 502}));
}

TEST(LocalGateway, KeepsItsModeOverADeathOfNginxAndOfTheController) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Open, true}));
  ::kill(-world.pid_of(Component::Gateway), SIGKILL);
  ASSERT_TRUE(eventually([&] { return world.look(Component::Gateway).running == 0; }, kPatience));
  world.restart_controller();
  world.clock.shift += std::chrono::seconds(100);
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  EXPECT_EQ(statuses(world), (Statuses{200, 503, 200}));
}

TEST(LocalGateway, FinishesASwitchThatACrashCutShort) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Open, true}));
  // The file says closed and nginx was not yet told when the controller died.
  const auto at = world.look().endpoints;
  std::ofstream(world.folder() + "/run/gateway.state")
      << R"({"open": false, "fundraising": true, "inForce": false})";
  std::ofstream(world.folder() + "/gateway/nginx.conf") << gateway_configuration(at, true, false);
  ASSERT_EQ(http_status(at.gateway_port, "/"), 200);
  world.restart_controller();
  EXPECT_FALSE(world.look().gateway_open);
  EXPECT_EQ(http_status(at.gateway_port, "/"), 503);
}

TEST(LocalGateway, IsSwitchedBeforeItRuns) {
  LocalWorld world;
  ASSERT_TRUE(world.act(SwitchGateway{GatewayMode::Open, false}));
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  ASSERT_EQ(world.bring_up(Component::Gateway), "ready");
  EXPECT_EQ(statuses(world), (Statuses{200, 503, 200}));
}

}  // namespace
}  // namespace stackspec
