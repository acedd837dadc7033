// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "integration/local/local_world.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;

/// What psql answers as the owner of the stack's database.
Shell query(LocalWorld& world, const std::string& sql) {
  std::string environment;
  for (const auto& variable :
       database_environment(world.stack.key, world.stack.spec, world.look().endpoints, "test")) {
    std::string value = variable.secret ? world.secrets[variable.secret->name][variable.secret->key]
                                        : variable.value;
    for (std::size_t at = 0; (at = value.find('\'', at)) != std::string::npos; at += 4) {
      value.replace(at, 1, "'\\''");
    }
    environment += variable.name + "='" + value + "' ";
  }
  return shell(environment + "psql -X -At -v ON_ERROR_STOP=1 -c \"" + sql + "\"");
}

TEST(LocalPlatform, RunsAWholeStackAndStopsIt) {
  LocalWorld world;
  for (const Component component : kAllComponents) {
    EXPECT_EQ(world.bring_up(component), "ready") << to_string(component);
  }
  const auto endpoints = world.look().endpoints;
  EXPECT_EQ(http_status(endpoints.gateway_private_port, "/healthz"), 200);
  EXPECT_EQ(http_status(endpoints.gateway_private_port, "/fundraising/health"), 200);
  EXPECT_GT(world.processes_left(), 5);

  ASSERT_TRUE(world.platform->stop_stack(world.stack.key, {}));
  EXPECT_EQ(world.processes_left(), 0);
  // It was told to run and still is: a later controller starts it again.
  EXPECT_EQ(world.look(Component::Server).wanted, 1);
  EXPECT_EQ(world.look(Component::Server).running, 0);
  EXPECT_EQ(world.bring_up(Component::Server), "ready");
}

TEST(LocalPlatform, MakesADatabaseThatItsOwnerCanUseAndNobodyElse) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Postgres), "ready");
  const struct {
    const char* sql;
    const char* answer;
  } rows[] = {
      {"select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = current_user",
       "f"},
      {"create schema core; create table core.t (c citext, id uuid default uuid_generate_v4()); "
       "insert into core.t values ('A'); select count(*) from core.t where c = 'a'",
       "CREATE SCHEMA\nCREATE TABLE\nINSERT 0 1\n1"},
      {"create function public.f() returns int language sql as 'select 1'; select f()",
       "CREATE FUNCTION\n1"},
      {"select extname from pg_extension where extname in ('citext', 'unaccent', 'uuid-ossp') "
       "order by 1",
       "citext\nunaccent\nuuid-ossp"},
      {"select system_identifier > 0 from pg_control_system()", "t"},
      {"show max_locks_per_transaction", "256"},
      {"show data_checksums", "on"},
      {"show server_encoding", "UTF8"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.sql);
    EXPECT_EQ(query(world, row.sql).output, row.answer);
  }
  const std::string port = std::to_string(world.look().endpoints.postgres_port);
  const auto stranger =
      shell("PGPASSWORD=wrong psql -X -h 127.0.0.1 -p " + port + " -U stackspec postgres -c ''");
  EXPECT_EQ(stranger.code, 2) << stranger.output;
  struct stat info {};
  ASSERT_EQ(::stat((world.folder() + "/postgres").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
}

TEST(LocalPlatform, StartsTheDatabaseOverWhenItsMakingWasCutShort) {
  LocalWorld world;
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(world.apply(Component::Postgres));
    const std::string unfinished = world.folder() + "/postgres/data.new";
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(unfinished); }, kPatience));
    std::this_thread::sleep_for(150ms * round);  // Another stage of the making each round.
    ::kill(-world.pid_of(Component::Postgres), SIGKILL);
    ASSERT_TRUE(
        eventually([&] { return world.look(Component::Postgres).running == 0; }, kPatience));
    world.clock.shift += 100s;  // Past the back-off.
  }
  ASSERT_EQ(world.bring_up(Component::Postgres), "ready");
  EXPECT_EQ(query(world, "select count(*) from pg_extension where extname = 'citext'").output, "1");
}

TEST(LocalPlatform, KeepsWhatWasWrittenWhenPostgresIsKilled) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Postgres), "ready");
  ASSERT_EQ(query(world, "create table t as select 1 as n").code, 0);
  ::kill(world.pid_of(Component::Postgres), SIGKILL);
  ASSERT_TRUE(eventually([&] { return world.look(Component::Postgres).running == 0; }, kPatience));
  world.clock.shift += 100s;
  ASSERT_EQ(world.bring_up(Component::Postgres), "ready");
  EXPECT_EQ(query(world, "select n from t").output, "1");
}

TEST(LocalPlatform, RefusesAPostgresMajorThatIsNotHere) {
  LocalWorld world;
  world.stack.spec.database.managed.version = "9";
  const auto applied = world.apply(Component::Postgres);
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().kind, ErrorKind::Invalid);
  EXPECT_NE(applied.error().message.find("this host's PostgreSQL is"), std::string::npos)
      << applied.error().message;
}

TEST(LocalPlatform, FindsEverythingAgainAfterItsOwnDeath) {
  LocalWorld world;
  for (const Component component : {Component::Redis, Component::Server, Component::Worker}) {
    ASSERT_EQ(world.bring_up(component), "ready");
  }
  const auto before = world.look();
  const pid_t server = world.pid_of(Component::Server);
  world.restart_controller();
  const auto after = world.look();
  EXPECT_EQ(after.endpoints, before.endpoints);
  EXPECT_EQ(after.components, before.components);
  ASSERT_TRUE(world.apply(Component::Server));
  EXPECT_EQ(world.pid_of(Component::Server), server);
}

TEST(LocalPlatform, RefusesASecondController) {
  LocalWorld world;
  const auto second =
      make_local_platform({world.data, world.releases, ""}, *world.redis, world.clock);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::Conflict);
  EXPECT_NE(second.error().message.find(world.data + "/lock"), std::string::npos);
}

TEST(LocalPlatform, NeverStartsAComponentTwice) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Worker), "ready");
  const pid_t first = world.pid_of(Component::Worker);
  // A controller that died right after the start has not noted it: only the record tells.
  std::filesystem::remove(world.folder() + "/run/worker.json");
  const int processes = world.processes_left();
  for (int i = 0; i < 3; ++i) {
    world.restart_controller();
    ASSERT_TRUE(world.apply(Component::Worker));
    EXPECT_EQ(world.processes_left(), processes);
  }
  EXPECT_EQ(world.look(Component::Worker).running, 1);
  EXPECT_NE(first, 0);
}

TEST(LocalPlatform, StartsADeadComponentAgain) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  const pid_t first = world.pid_of(Component::Server);
  ::kill(first, SIGKILL);
  ASSERT_TRUE(eventually([&] { return world.look(Component::Server).running == 0; }, kPatience));
  const auto dead = world.look(Component::Server);
  EXPECT_EQ(dead.wanted, 1);
  EXPECT_EQ(dead.ready, 0);
  EXPECT_NE(dead.message.find("killed by signal 9"), std::string::npos) << dead.message;
  ASSERT_TRUE(world.apply(Component::Server));
  EXPECT_EQ(world.look(Component::Server).running, 0);  // An early death: not at once.
  world.clock.shift += 1s;
  EXPECT_EQ(world.bring_up(Component::Server), "ready");
  EXPECT_EQ(world.look(Component::Server).restarts, 1);
  EXPECT_NE(world.pid_of(Component::Server), first);
}

TEST(LocalPlatform, BacksOffFromAComponentThatDiesAtOnce) {
  LocalWorld world;
  world.stack.spec.env["BROKEN"] = "yes";
  int restarts = 0;
  for (const int delay : {1, 2, 4, 8, 16, 32, 60, 60}) {
    SCOPED_TRACE(delay);
    ASSERT_TRUE(world.apply(Component::Server));
    ASSERT_TRUE(eventually([&] { return world.look(Component::Server).running == 0; }, kPatience));
    ASSERT_TRUE(world.apply(Component::Server));  // Counts the death.
    world.clock.shift += std::chrono::seconds(delay - 1);
    ASSERT_TRUE(world.apply(Component::Server));
    const auto seen = world.look(Component::Server);
    EXPECT_EQ(seen.running, 0);
    EXPECT_EQ(seen.restarts, restarts);
    EXPECT_NE(seen.message.find("exit code 1: cannot start: it is broken"), std::string::npos)
        << seen.message;
    ++restarts;
    world.clock.shift += 1s;
  }
}

TEST(LocalPlatform, ReplacesAnotherRevision) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  const pid_t first = world.pid_of(Component::Server);
  const auto next = world.wanted(Component::Server, "v1.16.6");
  ASSERT_TRUE(world.act(ApplyComponent{next}));
  ASSERT_TRUE(world.eventually_ready(Component::Server));
  const auto seen = world.look(Component::Server);
  EXPECT_EQ(seen.version, "v1.16.6");
  EXPECT_EQ(seen.revision, next.revision);
  EXPECT_EQ(seen.restarts, 0);
  EXPECT_NE(world.pid_of(Component::Server), first);
  const int port = world.look().endpoints.server_port;
  EXPECT_EQ(shell("curl -s http://127.0.0.1:" + std::to_string(port)).output, "1.16.6");
}

TEST(LocalPlatform, KillsWhatOutlivesItsGrace) {
  LocalWorld world;
  world.stack.spec.env["STUBBORN"] = "yes";
  ASSERT_EQ(world.bring_up(Component::Server), "ready");
  auto none = world.wanted(Component::Server);
  none.replicas = 0;
  ASSERT_TRUE(world.act(ApplyComponent{none}));
  auto seen = world.look(Component::Server);
  EXPECT_EQ(seen.running, 1);
  EXPECT_EQ(seen.ready, 0);
  EXPECT_EQ(seen.wanted, 0);
  EXPECT_EQ(seen.message, "is stopping");
  world.restart_controller();
  world.clock.shift += std::chrono::seconds(none.termination_grace_seconds + 1);
  // Nobody orders it again: the platform sees to it.
  EXPECT_TRUE(eventually([&] { return world.look(Component::Server).running == 0; }, kPatience));
}

TEST(LocalPlatform, ComesBackFromAStopThatIsTakenBack) {
  LocalWorld world;
  ASSERT_EQ(world.bring_up(Component::Worker), "ready");
  auto none = world.wanted(Component::Worker);
  none.replicas = 0;
  ASSERT_TRUE(world.act(ApplyComponent{none}));
  EXPECT_TRUE(eventually([&] { return world.look(Component::Worker).running == 0; }, kPatience));
  EXPECT_EQ(world.bring_up(Component::Worker), "ready");
  EXPECT_EQ(world.look(Component::Worker).restarts, 0);
}

TEST(LocalPlatform, SaysWhatItCannotDo) {
  LocalWorld world;
  const auto fails = [&](ComponentSpec component) {
    const auto applied = world.act(ApplyComponent{component});
    return applied ? std::string() : applied.error().message;
  };
  auto two = world.wanted(Component::Server);
  two.replicas = 2;
  EXPECT_NE(fails(two).find("one host runs one server"), std::string::npos);
  const auto absent = world.wanted(Component::Server, "v1.17.4");
  EXPECT_NE(fails(absent).find(world.releases + "/v1.17.4"), std::string::npos);
  const auto worker = world.wanted(Component::Worker);
  world.secrets.clear();
  EXPECT_NE(fails(worker).find("no Secret crm-secrets"), std::string::npos) << fails(worker);

  world.stack.spec.tag = "v1.17.4";
  world.stack.spec.fundraising.version = "v9.9.9";
  EXPECT_EQ(world.look().missing_releases,
            (std::vector<std::string>{"v1.17.4", "fundraising/v9.9.9"}));
}

TEST(LocalPlatform, NamesTheFolderThatShutsItsUserOut) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root runs stacks as somebody else";
  const TempFolder temp;  // 0700
  const auto redis = make_redis();
  const auto made =
      make_local_platform({temp / "data", temp / "releases", ""}, *redis, system_clock());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::Invalid);
  EXPECT_NE(made.error().message.find("cannot enter " + temp.path() + ";"), std::string::npos)
      << made.error().message;
}

}  // namespace
}  // namespace stackspec
