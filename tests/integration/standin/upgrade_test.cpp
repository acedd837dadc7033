// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "integration/standin/standin_world.hpp"

namespace stackspec {
namespace {

const std::vector<std::string> kUpgrade = {"yarn", "command:prod", "upgrade"};

// What real servers left, told by their ledgers and logs: a row for each case that was observed.
struct Observed {
  const char* name;
  const char* state;    // of the database before
  const char* release;  // that runs `upgrade`
  const char* option;
  const char* faults;
  Environment env;
  int exit;
  std::vector<const char*> phrases;
  const char* versions;  // of the workspaces afterwards
  int migrations;
  bool not_null;  // core."fieldMetadata"."universalIdentifier"
};

const std::vector<Observed> kObserved = {
    {"adjacent 1.14 to 1.15",
     "1.14",
     "v1.15.4",
     "",
     "",
     {},
     0,
     {"fromWorkspaceVersion: 1.14.0", "completed.", "Command completed!"},
     "1.15.4",
     77,
     false},
    {"adjacent 1.15 to 1.16",
     "1.15",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"77 migrations are already loaded", "98 migrations were found in the source code",
      "contains null values", "21 migrations are new", "Command completed!"},
     "1.16.6",
     98,
     true},
    {"adjacent 1.16 to 1.17",
     "1.16",
     "v1.17.4",
     "",
     "",
     {},
     0,
     {"No migrations are pending", "to=1.17.0 1/1"},
     "1.17.4",
     98,
     true},
    {"skipped minor",
     "1.14",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"Unable to run the upgrade command. Aborting the upgrade process.",
      "at least the previous minor version (1.15.0)", "ERROR [UpgradeCommand] undefined",
      "Command completed!"},
     "1.14.0",
     70,
     false},
    {"one workspace too old: all refused",
     "1.15-one-old",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"Unable to run the upgrade command"},
     "1.15.4 1.14.0",
     77,
     false},
    {"one workspace without version: all refused",
     "1.15-one-null",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"Unable to run the upgrade command"},
     "1.15.4 -",
     77,
     false},
    {"the workspace fails",
     "1.15",
     "v1.16.6",
     "",
     R"({"failWorkspace": "all"})",
     {},
     0,
     {"Database migrations completed successfully", "WARN [UpgradeCommand] Error in workspace",
      "ERROR [UpgradeCommand] Error in workspace", "Command completed!"},
     "1.15.4",
     98,
     false},
    {"one of two workspaces fails",
     "1.15-two",
     "v1.16.6",
     "",
     R"({"failWorkspace": 1})",
     {},
     0,
     {"Error in workspace", "to=1.16.0 2/2", "completed."},
     "1.15.4 1.16.6",
     98,
     false},
    {"already there",
     "1.16",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"No migrations are pending", "ignored as is already at a higher version"},
     "1.16.6",
     98,
     true},
    {"older image",
     "1.17",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"ignored as is already at a higher version"},
     "1.17.4",
     98,
     true},
    {"unknown minor",
     "1.17",
     "v1.17.4",
     "",
     "",
     {{"APP_VERSION", "1.18.0"}},
     0,
     {"Error in workspace global: No command found for version 1.18.0", "Command completed!"},
     "1.17.4",
     98,
     true},
    {"no workspace",
     "1.14-fresh",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"Fresh installation detected, skipping migration", "Command completed!"},
     "",
     70,
     false},
    {"no active workspace",
     "1.14-onboarding",
     "v1.16.6",
     "",
     "",
     {},
     0,
     {"Fresh installation detected, skipping migration"},
     "-",
     70,
     false},
    {"dry run applies the core migrations",
     "1.15",
     "v1.16.6",
     "--dry-run",
     "",
     {},
     0,
     {"21 migrations are new", "[DRY RUN]", "Command completed!"},
     "1.15.4",
     98,
     false},
    {"core migrations fail",
     "1.15",
     "v1.16.6",
     "",
     R"({"failCoreMigration": true})",
     {},
     0,
     {"Error running database migrations:", "code: '42P01'", "Command completed!"},
     "1.15.4",
     77,
     false},
    {"APP_VERSION empty",
     "1.16",
     "v1.17.4",
     "",
     "",
     {{"APP_VERSION", ""}},
     1,
     {"APP_VERSION must be a valid semantic version"},
     "1.16.6",
     98,
     true},
    {"APP_VERSION latest",
     "1.16",
     "v1.17.4",
     "",
     "",
     {{"APP_VERSION", "latest"}},
     1,
     {"APP_VERSION must be a valid semantic version"},
     "1.16.6",
     98,
     true},
    {"the bad release",
     "1.17",
     "v1.18.0",
     "",
     "",
     {},
     0,
     {"Error in workspace", "Command completed!"},
     "1.17.4",
     110,
     true},
    {"its good patch", "1.17", "v1.18.1", "", "", {}, 0, {"completed."}, "1.18.1", 110, true},
    {"unsupported jump to 2.x",
     "1.17",
     "v2.21.0",
     "",
     "",
     {},
     1,
     {"Upgrade failed: relation \"core.upgradeMigration\" does not exist", "event=aborted"},
     "1.17.4",
     98,
     true},
};

TEST(StandinUpgrade, DoesWhatRealServersWereSeenToDo) {
  auto& world = StandinWorld::get();
  for (const auto& row : kObserved) {
    SCOPED_TRACE(row.name);
    const std::string database = world.database(row.state);
    auto command = kUpgrade;
    if (*row.option != '\0') command.emplace_back(row.option);
    Environment env = row.env;
    if (*row.faults != '\0') env.merge(world.faults(row.faults));
    const Finished done = world.run(row.release, database, command, env);
    EXPECT_EQ(done.code, row.exit) << done.output;
    for (const char* phrase : row.phrases) {
      EXPECT_NE(done.output.find(phrase), std::string::npos) << phrase << "\n" << done.output;
    }
    EXPECT_EQ(versions(database), row.versions);
    EXPECT_EQ(migrations(database), row.migrations);
    EXPECT_EQ(identifiers_not_null(database), row.not_null);
  }
}

TEST(StandinUpgrade, EndsWithOneWhenTheDatabaseCannotBeReached) {
  auto& world = StandinWorld::get();
  const Finished done =
      world.run("v1.16.6", "x", kUpgrade, {{"PG_DATABASE_URL", "postgres://twenty@127.0.0.1:1/x"}});
  EXPECT_EQ(done.code, 1);
  EXPECT_NE(done.output.find("Unable to connect to the database"), std::string::npos);
}

TEST(StandinUpgrade, IsFinishedByALaterPatchOfTheSameMinor) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  world.run("v1.16.6", database, kUpgrade, world.faults(R"({"failWorkspace": 1})"));
  ASSERT_EQ(versions(database), "1.15.4");
  EXPECT_EQ(world.run("v1.16.6", database, kUpgrade).code, 0);
  EXPECT_EQ(versions(database), "1.16.6");
  EXPECT_TRUE(identifiers_not_null(database));
}

TEST(StandinUpgrade, LosesARaceWithExitCodeZero) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("1.15");
  const TempFolder folder;
  const std::string go = folder / "go";
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  const auto loser = world.start("v1.16.6", database, kUpgrade,
                                 world.faults(R"({"hang": "listed", "until": ")" + go + "\"}"));
  ASSERT_TRUE(loser->logs("21 migrations are new")) << loser->log();
  EXPECT_EQ(world.run("v1.16.6", database, kUpgrade).code, 0);
  std::ofstream(go) << "go";
  EXPECT_EQ(loser->end(0), 0);
  const std::string log = loser->log();
  for (const char* phrase : {"Error running database migrations:", "Command completed!",
                             "table \"remoteTable\" does not exist"}) {
    EXPECT_NE(log.find(phrase), std::string::npos) << log;
  }
  EXPECT_EQ(versions(database), "1.16.6");
  EXPECT_EQ(migrations(database), 98);
}

TEST(StandinUpgrade, FinishesAfterAKillAtEveryPlace) {
  auto& world = StandinWorld::get();
  struct Row {
    const char* place;
    const char* phrase;
    int migrations;
  };
  for (const Row& row : {Row{"core", "MakeObjectMetadata", 77}, Row{"workspace", "1/1", 98}}) {
    SCOPED_TRACE(row.place);
    const std::string database = world.database("1.15");
    const auto killed = world.start("v1.16.6", database, kUpgrade,
                                    world.faults(std::string(R"({"hang": ")") + row.place + "\"}"));
    ASSERT_TRUE(killed->logs(row.phrase)) << killed->log();
    EXPECT_EQ(killed->end(SIGKILL), 128 + SIGKILL);
    EXPECT_EQ(migrations(database), row.migrations);
    EXPECT_EQ(world.run("v1.16.6", database, kUpgrade).code, 0);
    EXPECT_EQ(versions(database), "1.16.6");
    EXPECT_EQ(migrations(database), 98);
  }
}

std::string rows(const std::string& database, const std::string& where) {
  return StandinWorld::get().postgres().sql(
      database, "select count(*) from core.\"upgradeMigration\" where " + where);
}

TEST(StandinSequence, UpgradesFrom219To221InOneStep) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("2.19");
  EXPECT_EQ(rows(database, "\"isInitial\" and \"workspaceId\" is not null"), "1");
  const Finished done = world.run("v2.21.0", database, kUpgrade);
  EXPECT_EQ(done.code, 0);
  for (const char* phrase :
       {"event=sequence.initialized", "event=workspace.success", "totalFailures=0"}) {
    EXPECT_NE(done.output.find(phrase), std::string::npos) << phrase << done.output;
  }
  EXPECT_EQ(migrations(database), 182);
  const std::string status =
      world.run("v2.21.0", database, {"yarn", "command:prod", "upgrade:status"}).output;
  EXPECT_NE(status.find("Instance: Up to date"), std::string::npos) << status;
  EXPECT_NE(status.find("Inferred version: 2.20.0"), std::string::npos) << status;
  EXPECT_NE(status.find("Workspaces: 1 up to date, 0 behind, 0 failed (1 total)"),
            std::string::npos);
}

TEST(StandinSequence, EndsWithOneWhenAWorkspaceFailsAndRetriesWithTheNextAttempt) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("2.19");
  const Finished failed =
      world.run("v2.21.0", database, kUpgrade, world.faults(R"({"failWorkspace": 1})"));
  EXPECT_EQ(failed.code, 1);
  for (const char* phrase : {"event=workspace.failed", "event=sequence.aborted",
                             "Upgrade completed with 1 workspace failure(s)", "event=aborted"}) {
    EXPECT_NE(failed.output.find(phrase), std::string::npos) << phrase << failed.output;
  }
  EXPECT_EQ(rows(database, "status = 'failed'"), "1");
  EXPECT_EQ(world.run("v2.21.0", database, kUpgrade).code, 0);
  EXPECT_EQ(rows(database, "status = 'completed' and attempt = 2"), "1");
}

TEST(StandinSequence, RefusesADatabaseOfALaterRelease) {
  auto& world = StandinWorld::get();
  const std::string database = world.database("2.19");
  ASSERT_EQ(world.run("v2.21.0", database, kUpgrade).code, 0);
  const Finished done = world.run("v2.19.0", database, kUpgrade);
  EXPECT_EQ(done.code, 1);
  EXPECT_NE(done.output.find("not found in upgrade sequence"), std::string::npos) << done.output;
}

TEST(StandinSequence, StatusEndsWithZeroEvenWithoutALedger) {
  auto& world = StandinWorld::get();
  const Finished done =
      world.run("v2.21.0", world.database("1.17"), {"yarn", "command:prod", "upgrade:status"});
  EXPECT_EQ(done.code, 0);
  EXPECT_NE(done.output.find("Failed to retrieve upgrade status: relation "
                             "\"core.upgradeMigration\" does not exist"),
            std::string::npos)
      << done.output;
}

}  // namespace
}  // namespace stackspec
