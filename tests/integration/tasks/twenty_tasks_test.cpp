// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "fakes/eventually.hpp"
#include "integration/tasks/task_world.hpp"

// inspect, install, migrate, flush, flags with a fake yarn on a real PostgreSQL.

namespace stackspec {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

void expect_end(const TaskEnd& end, int code) {
  EXPECT_EQ(end.code, code) << end.log;
  EXPECT_LE(end.raw_result.size(), 2048U);
  EXPECT_TRUE(end.raw_result.empty() || json::accept(end.raw_result)) << end.raw_result;
}

constexpr const char* kUpgrade =
    "command:prod cache:flush\ncommand:prod upgrade\ncommand:prod cache:flush\n";

TEST(Inspect, BelievesOnlyTheVersionTheImageHolds) {
  TaskWorld world("busybox");
  for (int i = 0; i < 3; ++i) {
    world.write("app/dist/db/core/migrations/common/170000000000" + std::to_string(i) + "-x.js",
                "");
  }
  world.write("app/dist/db/core/migrations/common/1700000000000-x.js.map", "");
  world.write("app/dist/db/core/migrations/billing/1700000000009-b.js", "");
  world.write("app/dist/db/metadata/migrations/1700000000010-m.js", "");
  struct Case {
    const char* app;
    const char* to;
    int code;
  };
  const Case cases[] = {{"1.16.6", "v1.16.6", 0},  {"1.16.0", "v1.16.6", 0},
                        {"v1.16.6", "v1.16.6", 0}, {"1.1.6", "v1.16.6", 10},
                        {"", "v1.16.6", 10},       {"latest", "v1.16.6", 10},
                        {"1.17.0", "v1.16.6", 10}};
  int number = 0;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.app);
    world.env["APP_VERSION"] = c.app;
    world.env["STACKSPEC_TO"] = c.to;
    const TaskEnd end = world.run(TaskKind::Inspect, "inspect-" + std::to_string(++number));
    expect_end(end, c.code);
    if (c.code != 0) continue;
    EXPECT_EQ(end.result.at("imageMigrations"), "3");
    EXPECT_EQ(end.result.at("psql").empty(), false);
    EXPECT_EQ(end.result.at("arch").empty(), false);
  }
}

/// What an image's entrypoint does, as far as this matters.
constexpr const char* kEntrypoint = R"sh(#!/bin/sh
if [ "${DISABLE_DB_MIGRATIONS:-}" != true ]; then
  [ "$(psql -XqAtc "select count(*) from pg_namespace where nspname = 'core'")" = 1 ] || yarn database:init:prod
fi
exec "$@"
)sh";
constexpr const char* kInitYarn =
    R"sh([ "$1" != database:init:prod ] || psql -Xqc 'create schema if not exists core; create table core.workspace (id int)')sh";

TEST(Install, MakesTheSchemaOnceEvenWhenAnEmptyOneIsThere) {
  TaskWorld world("dash");
  world.write("entrypoint.sh", kEntrypoint, 0755);
  world.yarn(kInitYarn);
  expect_end(world.run(TaskKind::Install), 0);
  EXPECT_EQ(world.calls(), "database:init:prod\ncommand:prod cache:flush\n");
  expect_end(world.run(TaskKind::Install, "install-2"), 0);
  EXPECT_EQ(world.calls(), "database:init:prod\ncommand:prod cache:flush\n");
  // An interrupted first start leaves an empty schema, which the entrypoint takes for a full one.
  world.use_shell("busybox");
  world.sql("drop table core.workspace");
  expect_end(world.run(TaskKind::Install, "install-3"), 0);
  EXPECT_EQ(world.sql("select to_regclass('core.workspace') is not null"), "t");
}

TEST(Install, IsAVerdictWhenNothingWasMade) {
  TaskWorld world;
  world.yarn("exit 0");
  const TaskEnd end = world.run(TaskKind::Install);
  expect_end(end, 10);
  EXPECT_NE(end.result.at("failure").find("core.workspace"), std::string::npos);
}

TEST(Migrate, FlushesUpgradesAndFlushesUnderBothShells) {
  for (const char* shell : {"dash", "busybox"}) {
    SCOPED_TRACE(shell);
    TaskWorld world(shell);
    world.make_data();
    world.yarn(
        "echo \"$2 $PG_DATABASE_PRIMARY_TIMEOUT_MS $NO_COLOR $DISABLE_DB_MIGRATIONS\"; [ \"$2\" != "
        "upgrade ] || psql -Xqc 'insert into core._typeorm_migrations (timestamp, name) values (1, "
        "2)'");
    const TaskEnd end = world.run(TaskKind::Migrate);
    expect_end(end, 0);
    EXPECT_EQ(world.calls(), kUpgrade);
    EXPECT_EQ(end.result.at("migrations"), "78");
    EXPECT_EQ(end.result.at("exitCode"), "0");
    EXPECT_EQ(end.result.at("workspaces"), "2");
    EXPECT_NE(end.log.find("upgrade 600000 1 true"), std::string::npos) << end.log;
  }
}

TEST(Migrate, SeesFailuresInTheLogAndInTheExitCode) {
  TaskWorld world;
  world.make_data();
  struct Case {
    const char* yarn;
    const char* failure;
  };
  const Case cases[] = {
      {"[ $2 != upgrade ] || printf '\\033[31mERROR\\033[0m Unable to run the upgrade command: "
       "\"x\\\\y\" \\377 \\n more'",
       "ERROR Unable to run the upgrade command: \"x\\y\" ? "},
      {"[ $2 != upgrade ] || exit 7", "upgrade ended with exit code 7"},
      {"[ $2 != cache:flush ] || exit 3", "cache:flush ended with exit code 3"}};
  int number = 0;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.failure);
    world.yarn(c.yarn);
    const TaskEnd end = world.run(TaskKind::Migrate, "migrate-" + std::to_string(++number));
    expect_end(end, 10);
    EXPECT_EQ(end.result.at("failure"), c.failure);
  }
}

TEST(Migrate, RunsTheCoreMigrationsItselfWhenNobodySignedUp) {
  TaskWorld world;
  world.make_data();
  world.sql("update core.workspace set \"activationStatus\" = 'PENDING_CREATION'");
  world.yarn("exit 0");
  expect_end(world.run(TaskKind::Migrate), 0);
  EXPECT_NE(world.calls().find("upgrade\ndatabase:migrate:prod\n"), std::string::npos);
  world.write("app/package.json", "{\"scripts\":{\"command:prod\":\"x\"}}");
  expect_end(world.run(TaskKind::Migrate, "migrate-2"), 0);
  EXPECT_EQ(world.calls().rfind("database:migrate:prod"),
            world.calls().find("database:migrate:prod"));
}

TEST(Migrate, OnAFullDiskNeverLooksDone) {
  TaskWorld world;
  world.make_data();
  // What tells of the failure comes when nothing more can be written down.
  world.yarn(
      "case $* in *upgrade) head -c 300000 /dev/zero | tr '\\0' x; echo; "
      "echo 'Upgrade failed: disk full' ;; esac");
  world.limit_files(100 << 10);
  const TaskEnd end = world.run(TaskKind::Migrate);
  EXPECT_NE(end.code, 0) << end.log;
}

TEST(Migrate, IsStaleWhenTheCursorMoved) {
  TaskWorld world("busybox");
  world.make_data();
  world.yarn("exit 0");
  world.env["STACKSPEC_CURSOR"] = "70";
  expect_end(world.run(TaskKind::Migrate), 11);
  EXPECT_EQ(world.calls(), "");
}

TEST(Migrate, NamesWhoHoldsTheLock) {
  TaskWorld world;
  world.make_data();
  world.yarn("until [ -e ../go ]; do sleep 0.05; done");
  const ProcessId first = world.start(TaskKind::Migrate, "first");
  ASSERT_TRUE(eventually([&] { return !world.calls().empty(); }));
  world.env["STACKSPEC_LOCK_WAIT"] = "1";
  for (const TaskKind kind : {TaskKind::Migrate, TaskKind::Backup, TaskKind::Install}) {
    SCOPED_TRACE(std::string(to_string(kind)));
    const TaskEnd second = world.run(kind, "second-" + std::string(to_string(kind)));
    expect_end(second, 75);
    EXPECT_NE(second.log.find("is held by task, process"), std::string::npos) << second.log;
  }
  EXPECT_EQ(world.calls(), "command:prod cache:flush\n");
  world.write("go", "");
  EXPECT_TRUE(eventually([&] { return !is_alive(first); }, std::chrono::seconds(60)));
}

/// The upgrade notes its process and those below it, and stays.
constexpr const char* kLongUpgrade =
    "[ $2 = upgrade ] || exit 0\ntrap '' TERM\nsleep 300 & echo $! >children\necho $$ "
    ">>children\nmv "
    "children pids\nwait";

bool any_alive(const std::string& path) {
  std::ifstream file(path);
  for (int pid = 0; file >> pid;) {
    const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
    if (!stat.empty() && stat.find(") Z ") == std::string::npos) return true;
  }
  return false;
}

TEST(Migrate, StopsTheWholeUpgradeWhenTheLockIsLost) {
  for (const char* shell : {"dash", "busybox"}) {
    SCOPED_TRACE(shell);
    TaskWorld world(shell);
    world.make_data();
    world.yarn(kLongUpgrade);
    const ProcessId process = world.start(TaskKind::Migrate);
    ASSERT_TRUE(eventually([&] { return fs::exists(world.path("app/pids")); }));
    ASSERT_TRUE(any_alive(world.path("app/pids")));
    world.pg.sql("default",
                 "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'",
                 "postgres");
    const auto lost = std::chrono::steady_clock::now();
    const TaskEnd end = world.wait(process);
    const auto took = std::chrono::steady_clock::now() - lost;
    expect_end(end, 75);
    EXPECT_FALSE(any_alive(world.path("app/pids")));
    EXPECT_LT(took, std::chrono::seconds(15));  // 1 s to notice, 2 s of grace, and a busy machine.
  }
}

TEST(Migrate, KilledTakesTheUpgradeWithIt) {
  for (const char* shell : {"dash", "busybox"}) {
    SCOPED_TRACE(shell);
    TaskWorld world(shell);
    world.make_data();
    world.yarn(kLongUpgrade);
    const ProcessId process = world.start(TaskKind::Migrate);
    ASSERT_TRUE(eventually([&] { return fs::exists(world.path("app/pids")); }));
    world.kill(process);
    EXPECT_TRUE(eventually([&] { return !any_alive(world.path("app/pids")); }));
    world.yarn("exit 0");
    expect_end(world.run(TaskKind::Migrate, "migrate-2"), 0);
  }
}

TEST(Migrate, AskedToStopEndsAsInterrupted) {
  TaskWorld world;
  world.make_data();
  world.yarn(kLongUpgrade);
  const ProcessId process = world.start(TaskKind::Migrate);
  ASSERT_TRUE(eventually([&] { return fs::exists(world.path("app/pids")); }));
  signal_group(process, SIGTERM);
  expect_end(world.wait(process), 75);
  EXPECT_TRUE(eventually([&] { return !any_alive(world.path("app/pids")); }));
}

TEST(Flush, DeservesASecondTry) {
  TaskWorld world;
  world.yarn("[ $2 != cron:register:all ] || [ -e once ] || { : >once; exit 1; }");
  expect_end(world.run(TaskKind::Flush), 0);
  EXPECT_EQ(
      world.calls(),
      "command:prod cache:flush\ncommand:prod cron:register:all\ncommand:prod cron:register:all\n");
  world.yarn("[ $2 != cron:register:all ]");
  expect_end(world.run(TaskKind::Flush, "flush-2"), 10);
}

TEST(Flags, AreSetInEveryWorkspaceInUse) {
  TaskWorld world("busybox");
  world.make_data();
  world.sql("insert into core.workspace (\"activationStatus\") values ('PENDING_CREATION')");
  world.yarn("exit 0");
  world.env["STACKSPEC_FLAGS"] =
      R"json({"IS_AI_ENABLED":true,"it's '; drop table core.workspace --":false})json";
  TaskEnd end = world.run(TaskKind::Flags);
  expect_end(end, 0);
  EXPECT_EQ(end.result.at("changed"), "4");
  EXPECT_EQ(
      world.sql("select count(*) from core.\"featureFlag\" where value and key = 'IS_AI_ENABLED'"),
      "2");
  end = world.run(TaskKind::Flags, "flags-2");
  EXPECT_EQ(end.result.at("changed"), "0");
  world.env["STACKSPEC_FLAGS"] = R"({"IS_AI_ENABLED":false})";
  end = world.run(TaskKind::Flags, "flags-3");
  EXPECT_EQ(end.result.at("changed"), "2");
  EXPECT_NE(world.calls().find("cache:flush\ncommand:prod cron:register:all"), std::string::npos);
}

}  // namespace
}  // namespace stackspec
