// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "fakes/eventually.hpp"
#include "integration/standin/standin_world.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;

/// A server in the background that answers /healthz.
struct Server {
  int port = StandinWorld::free_port();
  std::unique_ptr<Running> process;

  Server(const std::string& tag, const std::string& database, Environment env = {},
         const std::vector<std::string>& args = {}) {
    env["NODE_PORT"] = std::to_string(port);
    process = StandinWorld::get().start(tag, database, args, env);
    if (!eventually([&] { return get("/healthz").status == 200; })) {
      ADD_FAILURE() << process->log();
    }
  }
  Answer get(const std::string& path) const { return http("GET", port, path); }
  Answer post(const std::string& path, const std::string& body) const {
    return http("POST", port, path, body);
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string field(const std::string& json, const std::string& name) {
  const std::string key = "\"" + name + "\": \"";
  const auto at = json.find(key);
  if (at == std::string::npos) return "";
  const auto begin = at + key.size();
  return json.substr(begin, json.find('"', begin) - begin);
}

TEST(StandinServer, ReadsTheSchemaItsReleaseExpects) {
  auto& world = StandinWorld::get();
  struct Row {
    const char* state;
    const char* release;
    int status;
    const char* text;
  };
  const Row rows[] = {
      {"1.15", "v1.15.4", 200, "currentWorkspaces"},
      {"1.14", "v1.16.6", 500, "42703"},
      {"1.14-fresh", "v1.16.6", 500, "rowLevelPermissionPredicate"},
      {"1.15", "v1.16.6", 500, "objectMetadataId"},
      {"1.17", "v1.14.0", 200, "currentWorkspaces"},
      {"1.16", "v1.17.4", 500, "targetTaskId"},
      {"1.17", "v2.21.0", 500, "42P01"},
      {"2.19", "v2.21.0", 200, "currentWorkspaces"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.state) + " " + row.release);
    const Server server(row.release, world.database(row.state));
    for (const char* path : {"/graphql", "/metadata"}) {
      const Answer answer = server.post(path, R"({"query":"{ __typename }"})");
      EXPECT_EQ(answer.status, row.status);
      EXPECT_TRUE(has(answer.body, row.text)) << answer.body;
    }
    EXPECT_EQ(server.get("/healthz").status, 200);
  }
}

TEST(StandinServer, Of219DoesNotServeADatabaseOf221) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("2.19");
  ASSERT_EQ(world.run("v2.21.0", database, {"yarn", "command:prod", "upgrade"}).code, 0);
  const Server server("v2.19.0", database);
  EXPECT_EQ(server.post("/graphql", "{}").status, 500);
}

TEST(StandinServer, KeepsRecordsAndFilesAcrossAnUpgrade) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  std::string path;
  {
    const Server server("v1.15.4", database);
    EXPECT_EQ(server.post("/rest/companies", R"({"name":"Ünï & 'Co\""})").status, 201);
    const Answer file = server.post("/files?name=a/../b.txt", "hello");
    EXPECT_EQ(file.status, 201);
    path = field(file.body, "path");
    EXPECT_EQ(server.get("/files/" + path).body, "hello");
    EXPECT_EQ(server.get("/files/..%2f..%2f..%2fetc%2fpasswd").status, 404);
    EXPECT_TRUE(has(server.get("/rest/companies").body, "\"totalCount\": 3"));
    EXPECT_TRUE(
        has(http("GET", server.port, "/", "", "x-request-id: abc").body, "x-request-id: abc"));
    EXPECT_EQ(server.process->end(SIGTERM), 0);
  }
  ASSERT_EQ(world.run("v1.16.6", database, {"yarn", "command:prod", "upgrade"}).code, 0);
  const Server server("v1.16.6", database);
  EXPECT_TRUE(has(server.get("/rest/companies").body, "\"totalCount\": 3"));
  EXPECT_EQ(server.get("/files/" + path).body, "hello");
  EXPECT_EQ(world.postgres().sql(database, R"(select sha256 from core.file)"),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
}

TEST(StandinServer, LetsSomebodySignUpAtEveryRelease) {
  auto& world = StandinWorld::get();
  for (const char* tag : {"v1.14.0", "v1.19.0", "v2.21.0"}) {
    SCOPED_TRACE(tag);
    const std::string database = world.database();
    ASSERT_EQ(world.run(tag, database, {"true"}, kMigrationsOn).code, 0);
    const Server server(tag, database);
    EXPECT_EQ(server.post("/rest/signup", R"({"name":"Acme","email":"a@b.c"})").status, 201);
    EXPECT_EQ(server.post("/rest/signup", R"({"name":"Late","activate":false})").status, 201);
    EXPECT_EQ(server.post("/graphql", "{}").status, 200);
    EXPECT_EQ(server.post("/rest/people", R"({"name":"Tim"})").status, 201);
    const std::string listed = server.get("/rest/workspaces").body;
    EXPECT_TRUE(has(listed, "PENDING_CREATION")) << listed;
    if (std::string(tag) < "v1.23") {
      EXPECT_TRUE(has(listed, std::string("\"version\": \"") + (tag + 1)));
    }
  }
}

TEST(StandinServer, KnowsHealthOfPartsOnlyBefore2) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  const Server old_server("v1.15.4", database);
  for (const char* part : {"database", "redis", "connectedAccount", "app"}) {
    EXPECT_EQ(old_server.get(std::string("/healthz/") + part).status, 200) << part;
  }
  EXPECT_EQ(old_server.get("/healthz/worker").status, 503);
  EXPECT_EQ(old_server.get("/healthz/nothing").status, 400);
  {
    const auto worker = world.start("v1.15.4", database, {"yarn", "worker:prod"});
    EXPECT_TRUE(eventually([&] { return old_server.get("/healthz/worker").status == 200; }));
    EXPECT_TRUE(has(world.redis().command("CLIENT LIST"), "name=bull:"));
    EXPECT_EQ(old_server.post("/rest/jobs", R"({"name":"from a job"})").status, 202);
    EXPECT_TRUE(worker->logs("job done"));
    EXPECT_TRUE(has(old_server.get("/rest/companies").body, "from a job"));
    EXPECT_EQ(worker->end(SIGTERM), 0);
  }
  EXPECT_EQ(old_server.get("/healthz/worker").status, 503);
  ASSERT_EQ(world.run("v1.16.6", database, {"yarn", "command:prod", "upgrade"}).code, 0);
  EXPECT_EQ(old_server.get("/healthz/app").status, 503);
  const Server new_server("v2.21.0", world.database("2.19"));
  EXPECT_EQ(new_server.get("/healthz/database").status, 404);
}

TEST(StandinServer, EndsWithinTwoSecondsOfASignal) {
  const Server server("v1.15.4", StandinWorld::get().database("1.15"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(server.process->end(SIGTERM), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

TEST(StandinServer, DoesNotStartWithoutWhatItNeeds) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  struct Row {
    Environment env;
    const char* phrase;
  };
  const Row rows[] = {
      {{{"REDIS_URL", "redis://127.0.0.1:1"}}, "ECONNREFUSED"},
      {{{"APP_SECRET", ""}}, "APP_SECRET"},
      {{{"PG_DATABASE_URL", "postgres://127.0.0.1:1/x"}}, "Unable to connect to the database"},
      {{{"APP_VERSION", "latest"}}, "APP_VERSION must be a valid"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.phrase);
    const Finished done = world.run("v1.15.4", database, {}, row.env);
    EXPECT_EQ(done.code, 1);
    EXPECT_TRUE(has(done.output, row.phrase)) << done.output;
  }
}

TEST(StandinEntrypoint, StartsTheServerThoughTheUpgradeFailed) {
  auto& world = StandinWorld::get();
  struct Row {
    const char* state;
    const char* release;
    const char* phrase;
  };
  for (const Row& row :
       {Row{"1.14", "v1.16.6", "Unable to run the upgrade command"},
        Row{"1.17", "v2.21.0", "Warning: Upgrade completed with errors. Some workspaces"}}) {
    SCOPED_TRACE(row.release);
    const Server server(row.release, world.database(row.state), kMigrationsOn);
    EXPECT_TRUE(has(server.process->log(), row.phrase)) << server.process->log();
    EXPECT_TRUE(has(server.process->log(), "Successfully migrated DB!"));
    EXPECT_EQ(server.post("/graphql", "{}").status, 500);
  }
}

TEST(StandinEntrypoint, FallsIntoTheInitTrap) {
  auto& world = StandinWorld::get();
  const std::string database = world.database();
  const std::string initialised = "select to_regclass('core.workspace') is not null";
  world.postgres().sql(database, "create schema core");
  const Finished done = world.run("v1.15.4", database, {"true"}, kMigrationsOn);
  EXPECT_EQ(done.code, 0) << done.output;
  EXPECT_EQ(world.postgres().sql(database, initialised), "f");
  EXPECT_EQ(world.run("v1.15.4", database, {"yarn", "database:init:prod"}).code, 0);
  EXPECT_EQ(world.postgres().sql(database, initialised), "t");
  EXPECT_EQ(migrations(database), 77);
}

TEST(StandinEntrypoint, RunsAnythingWithMigrationsOff) {
  auto& world = StandinWorld::get();
  const std::string database = world.database();
  const Finished done = world.run("v1.15.4", database, {"sh", "-c", "echo $PWD; exit 7"});
  EXPECT_EQ(done.code, 7);
  EXPECT_TRUE(has(done.output, "migrations are disabled, skipping..."));
  EXPECT_TRUE(has(done.output, world.work("v1.15.4") + "\n"));
  EXPECT_EQ(world.postgres().sql(database, "select to_regnamespace('core') is null"), "t");
}

TEST(StandinCommands, FlushQueuesOnlyBefore2) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  for (const char* tag : {"v1.15.4", "v2.21.0"}) {
    SCOPED_TRACE(tag);
    world.redis().command("FLUSHALL");
    EXPECT_EQ(world.run(tag, database, {"yarn", "command:prod", "cron:register:all"}).code, 0);
    world.redis().command("SET engine:cached 1");
    EXPECT_EQ(world.redis().command("DBSIZE"), "2");
    EXPECT_EQ(world.run(tag, database, {"yarn", "command:prod", "cache:flush"}).code, 0);
    EXPECT_EQ(world.redis().command("DBSIZE"), std::string(tag) == "v1.15.4" ? "0" : "1");
  }
  EXPECT_EQ(world.run("v1.15.4", database, {"yarn", "command:prod", "upgrade:status"}).code, 1);
}

TEST(StandinFaults, AreDoneAsOrdered) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  const std::vector<std::string> upgrade = {"yarn", "command:prod", "upgrade"};
  struct Row {
    const char* faults;
    std::vector<std::string> args;
    int exit;
    const char* phrase;
  };
  const Row rows[] = {
      {R"({"crash": "server", "crashCode": 3})", {}, 3, "crash ordered for server"},
      {R"({"crash": ["server", "worker"]})", {"yarn", "worker:prod"}, 1, "ordered for worker"},
      {R"({"outOfMemory": "upgrade"})", upgrade, 137, ""},
      {R"({"unknownMinor": true})", upgrade, 0, "No command found for version"},
      {R"({"failCron": true})", {"yarn", "command:prod", "cron:register:all"}, 1, "ordered fault"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.faults);
    const Finished done = world.run("v1.15.4", database, row.args, world.faults(row.faults));
    EXPECT_EQ(done.code, row.exit) << done.output;
    EXPECT_TRUE(has(done.output, row.phrase)) << done.output;
  }
}

TEST(StandinFaults, BreakPagesOrLoginsOnly) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  const Server pages("v1.15.4", database, world.faults(R"({"brokenPages": true})"));
  EXPECT_EQ(pages.get("/").status, 0);
  EXPECT_EQ(pages.get("/healthz").status, 200);
  const Server logins("v1.15.4", database, world.faults(R"({"brokenQuery": true})"));
  EXPECT_EQ(logins.get("/").status, 200);
  const Answer answer = logins.post("/graphql", "{}");
  EXPECT_EQ(answer.status, 500);
  EXPECT_TRUE(has(answer.body, "42703"));
}

TEST(StandinRelease, IsCompleteAndShipsItsMigrations) {
  auto& world = StandinWorld::get();
  struct Row {
    const char* tag;
    int count;
  };
  const Row rows[] = {{"v1.14.0", 70},  {"v1.15.4", 77},  {"v1.16.6", 98},
                      {"v1.17.4", 98},  {"v1.18.0", 110}, {"v1.18.1", 110},
                      {"v1.19.0", 118}, {"v2.19.0", 182}, {"v2.21.0", 182}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.tag);
    const auto folder = world.work(row.tag) + "/dist/database/typeorm/core/migrations/common";
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      count += has(entry.path().filename(), "-") ? 1 : 0;
    }
    EXPECT_EQ(count, row.count);
    EXPECT_EQ(world.run(row.tag, "x", {"sh", "-c", "echo $APP_VERSION $(yarn --version)"})
                      .output.find(row.tag + 1) != std::string::npos,
              true);
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(world.release(row.tag))) {
      EXPECT_FALSE(entry.is_symlink()) << entry.path();
    }
  }
}

TEST(StandinFundraising, CountsItsRuns) {
  auto& world = StandinWorld::get();
  const int port = StandinWorld::free_port();
  TempFolder folder;
  const std::string release = world.release("fundraising/v0.1.0");
  Running service({release + "/entrypoint.sh"},
                  {{"PATH", "/usr/bin:/bin"}, {"PORT", std::to_string(port)}}, release,
                  folder / "log");
  ASSERT_TRUE(eventually([&] { return http("GET", port, "/health").status == 200; }))
      << service.log();
  EXPECT_TRUE(has(http("GET", port, "/status").body, "\"activeRuns\": 0"));
  EXPECT_EQ(http("POST", port, "/runs", R"({"seconds": 600})").status, 201);
  EXPECT_TRUE(has(http("GET", port, "/status").body, "\"activeRuns\": 1"));
  EXPECT_EQ(http("POST", port, "/runs", R"({"seconds": 0.01})").status, 201);
  EXPECT_TRUE(
      eventually([&] { return has(http("GET", port, "/status").body, "\"activeRuns\": 1"); }));
  EXPECT_EQ(http("DELETE", port, "/runs").status, 200);
  EXPECT_TRUE(has(http("GET", port, "/status").body, "\"activeRuns\": 0"));
  EXPECT_EQ(service.end(SIGTERM), 0);
}

}  // namespace
}  // namespace stackspec
