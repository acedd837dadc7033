// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "fakes/world.hpp"
#include "plan/plan.hpp"
#include "plan/tasks.hpp"

// A stack on a database and a Redis that somebody else runs.

namespace stackspec {
namespace {

constexpr WallTime kNow{std::chrono::seconds(1795251600)};

struct Play {
  World world{Catalog::builtin()};
  Stack stack;
  std::function<void(Seen&)> bend = [](Seen&) {};  ///< How what is seen differs from a good one.

  Play() {
    world.external = true;
    stack.key = {"shop", "crm"};
    stack.uid = "uid-1";
    stack.spec.tag = "v1.15.4";
    stack.spec.upgrade.soak_seconds = 0;
    stack.spec.database.external = ExternalDatabase{{"crm-db", "url"}, {}, false};
    stack.spec.redis.external_url = SecretKeyRef{"crm-redis", "url"};
  }

  Seen see() const {
    Seen seen = world.see();
    bend(seen);
    return seen;
  }
  void run(int steps = 200) {
    for (int i = 0; i < steps; ++i) {
      const Plan decided = make_plan(stack, see(), Catalog::builtin(), kNow);
      stack.status = decided.status;
      if (decided.action) world.act(*decided.action);
      world.tick();
    }
  }
  std::string gates() const {
    std::string all;
    for (const Blocked& gate : stack.status.blocked_by) all += gate.gate + " ";
    return all;
  }
  bool did(const std::string& what) const {
    return std::any_of(world.log.begin(), world.log.end(), [&](const std::string& line) {
      return line.find(what) != std::string::npos;
    });
  }
};

Play served() {
  Play play;
  play.run();
  EXPECT_EQ(play.stack.status.phase, Phase::Ready) << play.stack.status.message;
  EXPECT_EQ(play.stack.status.system_identifier, "7001/crm");
  play.world.log.clear();
  return play;
}

TEST(External, IsInstalledAndUpgradedWithoutADatabaseOfItsOwn) {
  Play play = served();
  play.stack.spec.tag = "v1.17.4";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.17.4") << play.stack.status.message;
  EXPECT_EQ(play.stack.status.phase, Phase::Ready) << play.stack.status.message;
  EXPECT_TRUE(play.did("backup"));
  EXPECT_FALSE(play.did("postgres"));
  EXPECT_FALSE(play.did("apply redis"));
  EXPECT_TRUE(play.world.violations.empty()) << play.world.violations.front();
}

TEST(External, ABadReleaseIsRolledBackAndRedisFlushed) {
  Play play = served();
  play.world.faults.bad_release = "v1.16.6";
  play.stack.spec.tag = "v1.16.6";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.15.4");
  ASSERT_TRUE(play.stack.status.latch);
  EXPECT_EQ(play.stack.status.latch->reason, "RolledBack");
  EXPECT_TRUE(play.did("flush"));
}

struct Row {
  const char* gate;
  std::function<void(Seen&)> bend;
};

TEST(External, NothingIsFencedForWhatIsWrong) {
  const Row rows[] = {
      {"SecretMissing",
       [](Seen& seen) {
         seen.unusable_urls = {{"SecretMissing", "Secret crm-db", "present", "x"}};
       }},
      {"DatabaseUrl",
       [](Seen& seen) {
         seen.unusable_urls = {{"DatabaseUrl", "key url", "a URL", "x"}};
       }},
      {"DatabaseReachable",
       [](Seen& seen) {
         seen.database = {};
         seen.database.error = "connection refused";
       }},
      {"RedisReachable", [](Seen& seen) { seen.redis = {}; }},
      {"DatabaseOwner", [](Seen& seen) { seen.database.external.owner = "shop/other"; }},
      {"SameDatabase", [](Seen& seen) { seen.database.system_identifier = "7001/other"; }},
      {"DatabaseRights", [](Seen& seen) { seen.database.external.may_create = false; }},
      {"DirectConnection", [](Seen& seen) { seen.database.external.direct = false; }},
      {"DirectConnection", [](Seen& seen) { seen.database.external.looked = false; }},
      {"ForeignDependents",
       [](Seen& seen) { seen.database.external.foreign_dependents = {"view reports.busy"}; }},
      {"RedisEviction", [](Seen& seen) { seen.redis.eviction_policy = "allkeys-lru"; }},
      {"Extension", [](Seen& seen) { seen.database.extensions = {"citext"}; }},
      {"ForeignSessions",
       [](Seen& seen) {
         seen.database.sessions = {{7, "bi", "report", "10.0.0.9", "", false}};
       }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.gate);
    Play play = served();
    play.bend = row.bend;
    play.stack.spec.tag = "v1.16.6";
    play.run(60);
    EXPECT_TRUE(play.gates().find(row.gate) != std::string::npos) << play.gates();
    EXPECT_TRUE(play.world.gateway_open);
    EXPECT_GT(play.world.components[Component::Server].running, 0);
    EXPECT_EQ(play.world.database.version, "v1.15.4");
    play.bend = [](Seen&) {};
    play.run();
    EXPECT_EQ(play.stack.status.version, "v1.16.6") << play.stack.status.message;
  }
}

TEST(External, AnotherDatabaseIsNeverTakenForTheOneThatWasProven) {
  Play play = served();
  const auto another = [](Seen& seen) { seen.database.system_identifier = "7001/other"; };
  play.bend = another;
  play.run(10);
  EXPECT_EQ(play.gates(), "SameDatabase ") << "at rest too";
  play.bend = [](Seen&) {};
  play.stack.spec.tag = "v1.16.6";
  for (int i = 0; i < 200 && play.world.gateway_open; ++i) play.run(1);
  ASSERT_FALSE(play.world.gateway_open);
  play.bend = another;
  play.run(20);
  EXPECT_EQ(play.gates(), "SameDatabase ") << "in the middle of an upgrade";
  EXPECT_EQ(play.world.database.version, "v1.15.4");
  play.bend = [](Seen&) {};
  play.run(400);
  EXPECT_EQ(play.stack.status.version, "v1.16.6") << play.stack.status.message;
}

TEST(External, NothingIsInstalledWhereSomethingElseIs) {
  const Row rows[] = {
      {"DatabaseOwner", [](Seen& seen) { seen.database.external.owner = "shop/other"; }},
      {"DatabaseOccupied", [](Seen& seen) { seen.database.external.occupied = true; }},
      {"PostgresVersion", [](Seen& seen) { seen.database.server_major = 9; }},
      {"DatabaseRights", [](Seen& seen) { seen.database.external.may_create = false; }},
      {"ForeignSessions",
       [](Seen& seen) {
         // A server by this stack's name, but none runs here.
         seen.database.sessions = {{7, "twenty", "stackspec/crm/server", "10.0.0.9", "", true}};
       }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.gate);
    Play play;
    play.bend = row.bend;
    play.run(60);
    EXPECT_TRUE(play.gates().find(row.gate) != std::string::npos) << play.gates();
    EXPECT_FALSE(play.world.database.initialised);
  }
}

TEST(External, WhatOthersBuiltOnItOnlyBlocksWhereARestoreIsPossible) {
  Play play = served();
  play.bend = [](Seen& seen) { seen.database.external.foreign_dependents = {"view a.b"}; };
  play.stack.spec.tag = "v1.16.6";
  play.stack.spec.upgrade.on_failure = OnFailure::Stall;
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6") << play.stack.status.message;
}

TEST(External, OthersInASharedDatabaseHoldUpNobody) {
  Play play = served();
  play.stack.spec.database.external->shared = true;
  play.bend = [](Seen& seen) {
    seen.database.sessions = {{7, "shop", "web", "10.0.0.9", "", false}};
  };
  play.stack.spec.tag = "v1.16.6";
  play.run();
  EXPECT_EQ(play.stack.status.version, "v1.16.6") << play.gates();
}

TEST(External, IsStalledWhereThePlatformCannotDoIt) {
  Play play;
  play.bend = [](Seen& seen) { seen.platform.external_services = false; };
  play.run(10);
  EXPECT_EQ(play.gates(), "NotSupported ");
  EXPECT_EQ(play.world.actions, 0);
  const auto& conditions = play.stack.status.conditions;
  EXPECT_TRUE(std::any_of(conditions.begin(), conditions.end(), [](const Condition& one) {
    return one.type == "Stalled" && one.status == "True" && one.reason == "NotSupported";
  }));
}

TEST(External, TasksGetReferencesAndTheServersMajor) {
  Play play;
  play.stack.spec.database.external->maintenance_url = SecretKeyRef{"crm-db", "direct"};
  Seen seen = play.see();
  seen.database.server_major = 17;
  for (const TaskKind kind : kAllTasks) {
    const TaskSpec task =
        make_task({.stack = play.stack, .seen = seen, .kind = kind, .to = "v1.16.6"});
    EXPECT_EQ(task.postgres_major, 17);
    std::map<std::string, EnvVar> env;
    for (const EnvVar& variable : task.env) env[variable.name] = variable;
    EXPECT_EQ(env.at("STACKSPEC_DATABASE_URL").secret, (SecretKeyRef{"crm-db", "direct"}));
    EXPECT_EQ(env.at("STACKSPEC_OWNER").value, "shop/crm");
    EXPECT_FALSE(env.contains("PGPASSWORD"));
    if (task.version.empty()) continue;
    EXPECT_EQ(env.at("PG_DATABASE_URL").secret, (SecretKeyRef{"crm-db", "direct"}));
    EXPECT_EQ(env.at("REDIS_URL").secret, (SecretKeyRef{"crm-redis", "url"}));
  }
}

}  // namespace
}  // namespace stackspec
