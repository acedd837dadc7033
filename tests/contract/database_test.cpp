// SPDX-License-Identifier: Apache-2.0
#include "database/database.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "contract/pooler.hpp"
#include "contract/raw_peer.hpp"
#include "contract/relay.hpp"
#include "integration/postgres_fixture.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;
using testing::Listener;
using testing::Socket;
using Steady = std::chrono::steady_clock;

PostgresFixture& postgres() {
  static PostgresFixture instance;
  return instance;
}

class DatabaseReadings : public ::testing::Test {
 protected:
  DatabaseReadings() {
    static int count = 0;
    name_ = "readings_" + std::to_string(++count);
    postgres().create_database(name_);
  }

  DatabaseTarget target() const {
    return {postgres().host(),         postgres().port(), "twenty", postgres().password(), name_,
            "stackspec/crm/controller"};
  }
  void sql(const std::string& statements) { postgres().sql(name_, statements); }
  DatabaseSeen read(const std::vector<Sentinel>& sentinels = {}) {
    auto seen = database_->read(target(), sentinels, {});
    EXPECT_TRUE(seen) << seen.error().message;
    EXPECT_EQ(seen->error, "");
    return std::move(seen).value();
  }

  std::string name_;
  std::unique_ptr<Database> database_ = make_database();
};

constexpr const char* kAda = "11111111-1111-4111-8111-111111111111";
constexpr const char* kBob = "22222222-2222-4222-8222-222222222222";

// The record as releases of Twenty leave it; only the columns that somebody reads.
constexpr const char* kWorkspaceModel = R"(
  CREATE SCHEMA core;
  CREATE TYPE core.workspace_activation AS ENUM
    ('ONGOING_CREATION', 'PENDING_CREATION', 'ACTIVE', 'INACTIVE', 'SUSPENDED');
  CREATE TABLE core.workspace (id uuid PRIMARY KEY, "displayName" varchar,
    "deletedAt" timestamptz, "createdAt" timestamptz NOT NULL DEFAULT now(),
    "activationStatus" core.workspace_activation NOT NULL DEFAULT 'ACTIVE', version varchar);
  CREATE TABLE core._typeorm_migrations (id serial, "timestamp" bigint, name varchar);
  CREATE TABLE core."dataSource" (id uuid DEFAULT gen_random_uuid(), schema varchar,
    "workspaceId" uuid);
  CREATE TABLE core."featureFlag" (id uuid DEFAULT gen_random_uuid(), key text,
    "workspaceId" uuid, value boolean, "createdAt" timestamptz DEFAULT now(),
    "updatedAt" timestamptz DEFAULT now());)";

constexpr const char* kCursorModel = R"(
  CREATE SCHEMA core;
  CREATE TABLE core.workspace (id uuid PRIMARY KEY, "displayName" varchar,
    "deletedAt" timestamptz, "createdAt" timestamptz NOT NULL DEFAULT now(),
    "activationStatus" text NOT NULL DEFAULT 'ACTIVE', "databaseSchema" varchar);
  CREATE TABLE core._typeorm_migrations (id serial, "timestamp" bigint, name varchar);
  CREATE TABLE core."featureFlag" (id uuid DEFAULT gen_random_uuid(), key text,
    "workspaceId" uuid, value boolean);
  CREATE TABLE core."upgradeMigration" (id uuid DEFAULT gen_random_uuid(), name varchar,
    status varchar, attempt int DEFAULT 1, "executedByVersion" varchar, "errorMessage" text,
    "isInitial" boolean DEFAULT false, "workspaceId" uuid,
    "createdAt" timestamptz DEFAULT clock_timestamp());)";

std::string migrations(int count) {
  return "INSERT INTO core._typeorm_migrations (\"timestamp\", name) SELECT 1700000000000 + i, "
         "'Migration' || i FROM generate_series(1, " +
         std::to_string(count) + ") i;";
}

TEST_F(DatabaseReadings, TellsAboutTheServer) {
  sql("CREATE EXTENSION citext; CREATE SCHEMA stackspec_old_1a2b_core");
  const auto seen = read();
  EXPECT_TRUE(seen.reachable);
  EXPECT_GE(seen.server_major, 13);
  EXPECT_EQ(seen.server_version.find(std::to_string(seen.server_major)), 0U);
  EXPECT_GT(seen.size_bytes, 1'000'000);
  EXPECT_NE(seen.lsn.find('/'), std::string::npos);
  EXPECT_TRUE(seen.old_schemas);
  EXPECT_EQ(seen.extensions, (std::vector<std::string>{"citext", "plpgsql"}));
  EXPECT_NE(
      std::find(seen.available_extensions.begin(), seen.available_extensions.end(), "uuid-ossp"),
      seen.available_extensions.end());
}

TEST_F(DatabaseReadings, ReadsTheIdentityWhereItMay) {
  const std::string identity =
      postgres().sql("postgres", "SELECT system_identifier FROM pg_control_system()", "postgres");
  postgres().sql(name_, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC, twenty",
                 "postgres");
  EXPECT_EQ(read().system_identifier, "");
  postgres().sql(name_, "GRANT EXECUTE ON FUNCTION pg_control_system() TO twenty", "postgres");
  EXPECT_EQ(read().system_identifier, identity.substr(0, identity.find('\n')));
}

TEST_F(DatabaseReadings, TellsWhatCountsInADatabaseOfSomebodyElse) {
  DatabaseTarget external = target();
  external.external = true;
  const auto look = [&] {
    auto seen = database_->read(external, {}, {});
    EXPECT_TRUE(seen && seen->reachable) << (seen ? seen->error : seen.error().message);
    return std::move(seen).value();
  };
  auto seen = look();
  EXPECT_EQ(seen.name, name_);
  EXPECT_EQ(seen.user, "twenty");
  EXPECT_TRUE(seen.system_identifier.ends_with("/" + name_)) << seen.system_identifier;
  EXPECT_EQ(seen.external.owner, "");
  EXPECT_FALSE(seen.external.occupied);
  EXPECT_FALSE(seen.external.looked) << "only where a preflight asks";
  EXPECT_TRUE(seen.external.may_create);
  external.thorough = true;
  seen = look();
  EXPECT_TRUE(seen.external.looked);
  EXPECT_TRUE(seen.external.direct);
  EXPECT_TRUE(seen.external.foreign_dependents.empty());

  sql("CREATE SCHEMA core; CREATE TABLE core.things (id int)");
  EXPECT_TRUE(look().external.occupied);
  sql("DROP SCHEMA core CASCADE");
  sql(kWorkspaceModel);
  sql("CREATE SCHEMA workspace_a; CREATE TABLE workspace_a.person (id uuid REFERENCES "
      "core.workspace, name text); CREATE VIEW workspace_a.names AS SELECT name FROM "
      "workspace_a.person; CREATE SCHEMA stackspec_meta; CREATE TABLE stackspec_meta.owner (stack "
      "text); INSERT INTO stackspec_meta.owner VALUES ('shop/crm')");
  seen = look();
  EXPECT_FALSE(seen.external.occupied);
  EXPECT_EQ(seen.external.owner, "shop/crm");
  EXPECT_TRUE(seen.external.foreign_dependents.empty()) << seen.external.foreign_dependents[0];
  sql("CREATE SCHEMA reports; CREATE VIEW reports.busy AS SELECT count(*) FROM core.workspace; "
      "CREATE TABLE reports.notes (w uuid REFERENCES core.workspace); CREATE FUNCTION reports.f(p "
      "workspace_a.person) RETURNS int LANGUAGE sql AS 'SELECT 1'");
  EXPECT_EQ(look().external.foreign_dependents.size(), 3U);
}

TEST_F(DatabaseReadings, InASharedDatabaseOnlyTheSchemasThatTwentyNamesAreItsOwn) {
  DatabaseTarget external = target();
  external.external = external.shared = external.thorough = true;
  sql(kWorkspaceModel);
  sql("INSERT INTO core.\"dataSource\" (schema) VALUES ('workspace_a'), ('reports'), (NULL); "
      "CREATE "
      "SCHEMA workspace_a; CREATE TABLE workspace_a.person (id int); CREATE SCHEMA workspace_shop; "
      "CREATE TABLE workspace_shop.orders (id int); CREATE SCHEMA reports; CREATE VIEW reports.o "
      "AS "
      "SELECT * FROM workspace_shop.orders");
  auto seen = database_->read(external, {}, {});
  ASSERT_TRUE(seen && seen->reachable);
  EXPECT_TRUE(seen->external.foreign_dependents.empty()) << seen->external.foreign_dependents[0];
  sql("CREATE VIEW reports.p AS SELECT * FROM workspace_a.person");
  seen = database_->read(external, {}, {});
  EXPECT_EQ(seen->external.foreign_dependents.size(), 1U);
}

TEST_F(DatabaseReadings, SaysWhatAStrangerMayNotDo) {
  const std::string role = "stranger_" + name_;
  postgres().sql(name_,
                 "CREATE ROLE " + role +
                     " LOGIN PASSWORD 'not-a-secret'; CREATE SCHEMA "
                     "stackspec_meta; CREATE TABLE stackspec_meta.owner (stack text)",
                 "postgres");
  DatabaseTarget external = target();
  external.user = role;
  external.external = true;
  const auto seen = database_->read(external, {}, {});
  ASSERT_TRUE(seen && seen->reachable) << seen->error;
  EXPECT_FALSE(seen->external.may_create);
  EXPECT_EQ(seen->external.owner, "another user");
  const auto& can = seen->available_extensions;
  EXPECT_EQ(std::find(can.begin(), can.end(), "citext"), can.end());
}

TEST_F(DatabaseReadings, SeesThroughAPoolerThatGivesALockToTwo) {
  const testing::Pooler pooler(postgres().port());
  DatabaseTarget pooled = target();
  pooled.port = pooler.port();
  pooled.ssl_mode = "disable";
  pooled.external = pooled.thorough = true;
  const auto seen = database_->read(pooled, {}, {});
  ASSERT_TRUE(seen && seen->reachable) << seen->error;
  EXPECT_TRUE(seen->external.looked);
  EXPECT_FALSE(seen->external.direct);
}

TEST_F(DatabaseReadings, ASessionOfAnotherStackIsForeignThere) {
  DatabaseTarget external = target();
  external.external = true;
  DatabaseTarget other = external;
  other.application_name = "stackspec/other/server";
  const auto theirs = make_database();
  ASSERT_TRUE(theirs->read(other, {}, {})->reachable);
  // A controller that looks at it for another stack only reads.
  other.application_name = "stackspec/other/controller";
  ASSERT_TRUE(theirs->read(other, {}, {})->reachable);
  const auto seen = database_->read(external, {}, {});
  ASSERT_EQ(seen->sessions.size(), 1U);
  EXPECT_FALSE(seen->sessions[0].ours);
}

TEST_F(DatabaseReadings, NeverTakesASchemaForAnInstalledTwenty) {
  EXPECT_EQ(read().ledger.model, LedgerModel::None);
  EXPECT_FALSE(read().old_schemas);
  sql("CREATE SCHEMA core");
  EXPECT_EQ(read().ledger.model, LedgerModel::None);
  sql("CREATE TABLE core._typeorm_migrations (id int, \"timestamp\" bigint, name varchar)");
  const auto seen = read();
  EXPECT_TRUE(seen.reachable);
  EXPECT_EQ(seen.ledger.model, LedgerModel::None);
  EXPECT_NE(seen.ledger.cursor_key, "");
}

TEST_F(DatabaseReadings, ReadsTheWorkspaceModel) {
  sql(kWorkspaceModel);
  sql(migrations(77));
  sql(std::string("INSERT INTO core.workspace (id, \"createdAt\", version) VALUES ('") + kAda +
      "', '2026-01-01', '1.15.4'), ('" + kBob +
      "', '2026-01-02', NULL);"
      "INSERT INTO core.\"dataSource\" (schema, \"workspaceId\") VALUES ('workspace_ada', '" +
      kAda +
      "');"
      "INSERT INTO core.\"featureFlag\" (key, \"workspaceId\", value) VALUES "
      "('IS_AI_ENABLED', '" +
      kAda + "', true), ('IS_OTHER', '" + kAda + "', false)");
  const Ledger ledger = read().ledger;
  EXPECT_EQ(ledger.model, LedgerModel::Workspace);
  EXPECT_EQ(ledger.migrations, 77);
  EXPECT_EQ(ledger.newest, (std::vector<std::string>{"Migration77", "Migration76", "Migration75",
                                                     "Migration74", "Migration73"}));
  ASSERT_EQ(ledger.workspaces.size(), 2U);
  EXPECT_EQ(ledger.workspaces[0],
            (Workspace{kAda, "ACTIVE", "1.15.4", "workspace_ada", false, true}));
  EXPECT_EQ(ledger.workspaces[1], (Workspace{kBob, "ACTIVE", std::nullopt, "", false, true}));
  const std::map<std::string, std::map<std::string, bool>> flags = {
      {kAda, {{"IS_AI_ENABLED", true}, {"IS_OTHER", false}}}};
  EXPECT_EQ(ledger.flags, flags);
  EXPECT_TRUE(ledger.failed.empty());
  EXPECT_EQ(ledger.instance_cursor, "");
}

TEST_F(DatabaseReadings, KnowsAWorkspaceBeingCreatedAndLeavesADeletedOneOut) {
  sql(kWorkspaceModel);
  const struct {
    const char* activation;
    const char* created;
    bool old_creation;
  } rows[] = {
      {"ONGOING_CREATION", "now() - interval '5 minutes'", false},
      {"ONGOING_CREATION", "now() - interval '2 hours'", true},
      {"PENDING_CREATION", "now()", true},
      {"ACTIVE", "now()", true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.created);
    sql(std::string("DELETE FROM core.workspace; INSERT INTO core.workspace (id, "
                    "\"activationStatus\", \"createdAt\") VALUES ('") +
        kAda + "', '" + row.activation + "', " + row.created + ")");
    const auto workspaces = read().ledger.workspaces;
    ASSERT_EQ(workspaces.size(), 1U);
    EXPECT_EQ(workspaces[0].activation, row.activation);
    EXPECT_EQ(workspaces[0].old_creation, row.old_creation);
  }
  sql("UPDATE core.workspace SET \"deletedAt\" = now()");
  EXPECT_TRUE(read().ledger.workspaces.empty());
}

TEST_F(DatabaseReadings, ReadsTheCursorModel) {
  sql(kCursorModel);
  sql(migrations(182));
  sql(std::string("INSERT INTO core.workspace (id, \"createdAt\", \"databaseSchema\") VALUES ('") +
      kAda + "', '2026-01-01', 'workspace_ada'), ('" + kBob +
      "', '2026-01-02', '');"
      "INSERT INTO core.\"upgradeMigration\" (name, status, attempt, \"executedByVersion\", "
      "\"errorMessage\", \"workspaceId\") VALUES "
      "('2.19.0_A_1', 'completed', 1, '2.19.0', NULL, NULL),"
      "('2.19.0_B_2', 'completed', 1, '2.19.0', NULL, '" +
      kAda +
      "'),"
      "('2.20.0_C_3', 'failed', 1, '2.20.0', 'first try', NULL),"
      "('2.20.0_C_3', 'completed', 2, '2.20.0', NULL, NULL),"
      "('2.20.0_D_4', 'failed', 1, '2.20.0', 'boom', '" +
      kAda +
      "'),"
      "('2.20.0_D_4', 'failed', 2, '2.20.1', 'boom again', '" +
      kAda + "')");
  const Ledger ledger = read().ledger;
  EXPECT_EQ(ledger.model, LedgerModel::Cursor);
  EXPECT_EQ(ledger.migrations, 182);
  EXPECT_EQ(ledger.newest,
            (std::vector<std::string>{"2.20.0_D_4", "2.20.0_C_3", "2.19.0_B_2", "2.19.0_A_1"}));
  EXPECT_EQ(ledger.instance_cursor, "2.20.0_C_3");
  EXPECT_EQ(ledger.failed, (std::vector<FailedStep>{{"2.20.0_D_4", kAda, "2.20.1", "boom again"}}));
  ASSERT_EQ(ledger.workspaces.size(), 2U);
  EXPECT_EQ(ledger.workspaces[0],
            (Workspace{kAda, "ACTIVE", std::nullopt, "workspace_ada", true, true}));
  EXPECT_EQ(ledger.workspaces[1], (Workspace{kBob, "ACTIVE", std::nullopt, "", false, true}));
}

TEST_F(DatabaseReadings, ReadsAReleaseBetweenTheModelsWithItsVersionColumn) {
  sql(kCursorModel);
  sql(std::string("ALTER TABLE core.workspace ADD version varchar; INSERT INTO core.workspace (id, "
                  "version) VALUES ('") +
      kAda + "', '1.21.0')");
  const Ledger ledger = read().ledger;
  EXPECT_EQ(ledger.model, LedgerModel::Cursor);
  ASSERT_EQ(ledger.workspaces.size(), 1U);
  EXPECT_EQ(ledger.workspaces[0].version, "1.21.0");
}

TEST_F(DatabaseReadings, AsksTheSentinelsAndLeavesOutWhatHasNoAnswer) {
  sql(kWorkspaceModel);
  const std::vector<Sentinel> sentinels = {
      {"broken first", "SELECT nothing FROM nowhere"},
      {"yes", "SELECT true"},
      {"broken", "SELECT nothing FROM nowhere"},
      {"no", "SELECT to_regclass('core.nothing') IS NOT NULL"},
      {"null", "SELECT NULL::boolean"},
      {"writes", "DELETE FROM core.workspace RETURNING true"},
      {"two statements", "COMMIT; DROP TABLE core.workspace"},
      {"empty", ""},
      {"fails late", "SELECT 1 / (SELECT count(*) FROM core.workspace) = 1"},
      {"two rows", "SELECT true UNION ALL SELECT false"},
      {"last", "SELECT true"},
      {"broken last", "SELECT nothing FROM nowhere"}};
  const std::map<std::string, bool> wanted = {{"last", true}, {"no", false}, {"yes", true}};
  for (int look = 0; look < 3; ++look) {
    SCOPED_TRACE(look);
    EXPECT_EQ(read(sentinels).ledger.sentinels, wanted);
  }
  auto external = target();
  external.external = true;
  EXPECT_EQ(database_->read(external, sentinels, {})->ledger.sentinels, wanted);
  EXPECT_EQ(read().ledger.model, LedgerModel::Workspace);
}

TEST_F(DatabaseReadings, TellsForeignSessionsFromOurs) {
  const auto other = make_database();
  auto person = target();
  person.application_name = "psql";
  auto worker = target();
  worker.application_name = "stackspec/crm/worker";
  ASSERT_TRUE(other->read(person, {}, {})->reachable);
  ASSERT_TRUE(other->read(worker, {}, {})->reachable);
  auto sessions = read().sessions;
  std::sort(sessions.begin(), sessions.end(),
            [](const auto& a, const auto& b) { return a.application < b.application; });
  ASSERT_EQ(sessions.size(), 2U);
  EXPECT_EQ(sessions[0].application, "psql");
  EXPECT_FALSE(sessions[0].ours);
  EXPECT_EQ(sessions[0].user, "twenty");
  EXPECT_EQ(sessions[0].address, "127.0.0.1");
  EXPECT_GT(sessions[0].pid, 0);
  EXPECT_EQ(sessions[0].query_start.size(), std::string("2026-11-21T09:00:00Z").size());
  EXPECT_TRUE(sessions[1].ours);
}

TEST_F(DatabaseReadings, KeepsItsConnectionAndReplacesABrokenOne) {
  const auto mine = [this] {
    return postgres().sql("postgres",
                          "SELECT pid FROM pg_stat_activity WHERE application_name = "
                          "'stackspec/crm/controller' AND datname = '" +
                              name_ + "'",
                          "postgres");
  };
  read();
  const auto first = mine();
  EXPECT_NE(first, "");
  read();
  EXPECT_EQ(mine(), first);
  postgres().sql("postgres",
                 "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE "
                 "application_name = 'stackspec/crm/controller' AND datname = '" +
                     name_ + "'",
                 "postgres");
  EXPECT_TRUE(read().reachable);
  EXPECT_NE(mine(), first);
}

TEST_F(DatabaseReadings, AtRestKeepsNoMoreThanTheEightSessionsUsedLast) {
  const auto application = [](int stack) {
    return "stackspec/crm" + std::to_string(10 + stack) + "/controller";
  };
  std::string all, last;
  for (int stack = 0; stack < 12; ++stack) {
    DatabaseTarget one = target();
    one.application_name = application(stack);
    EXPECT_TRUE(database_->read(one, {}, {})->reachable);
    all += (all.empty() ? "" : "\n") + application(stack);
    if (stack >= 4) last += (last.empty() ? "" : "\n") + application(stack);
  }
  const auto sessions = [&] {
    return postgres().sql("postgres",
                          "SELECT application_name FROM pg_stat_activity WHERE datname = '" +
                              name_ + "' AND application_name LIKE 'stackspec/%' ORDER BY 1",
                          "postgres");
  };
  EXPECT_EQ(sessions(), all) << "at work none connects anew at every look";
  database_->rest();
  // A backend ends some time after its client has.
  const auto deadline = Steady::now() + 60s;
  while (sessions() != last && Steady::now() < deadline) {
  }
  EXPECT_EQ(sessions(), last);
}

TEST_F(DatabaseReadings, MoreThanItMayKeepDoNotTakeEachOthersSessions) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlimit few{16, files.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  database_ = make_database();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  const auto in_turns = [this] {
    for (int stack = 10; stack < 22; ++stack) {
      DatabaseTarget one = target();
      one.application_name = "stackspec/crm" + std::to_string(stack) + "/controller";
      EXPECT_TRUE(database_->read(one, {}, {})->reachable);
    }
  };
  const auto kept = [this] {
    return postgres().sql("postgres",
                          "SELECT string_agg(application_name || ' ' || pid, ',' ORDER BY 1) FROM "
                          "pg_stat_activity WHERE application_name < 'stackspec/crm18' AND "
                          "application_name LIKE 'stackspec/%' AND datname = '" +
                              name_ + "'",
                          "postgres");
  };
  in_turns();
  const std::string first = kept();
  EXPECT_EQ(std::count(first.begin(), first.end(), ','), 7) << first;
  in_turns();
  EXPECT_EQ(kept(), first);
}

TEST_F(DatabaseReadings, ALookAtAKnownDatabaseIsOneRoundTrip) {
  sql(kWorkspaceModel);
  postgres().sql(name_, "GRANT EXECUTE ON FUNCTION pg_control_system() TO twenty", "postgres");
  const testing::Relay relay(postgres().port());
  DatabaseTarget relayed = target();
  relayed.port = relay.port();
  relayed.ssl_mode = "disable";
  const auto trips = [&] {
    const int before = relay.round_trips();
    const auto seen = database_->read(relayed, {}, {});
    EXPECT_TRUE(seen && seen->reachable) << (seen ? seen->error : seen.error().message);
    EXPECT_EQ(seen->ledger.model, LedgerModel::Workspace);
    return relay.round_trips() - before;
  };
  trips();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(trips(), 1);
  // Through a pooler one after the other. What a new session asks once is not asked again: three to
  // connect, and the extensions between a savepoint and its release.
  relayed.external = true;
  const int first = trips();
  const int second = trips();
  EXPECT_EQ(first - second, 6);
  EXPECT_EQ(trips(), second);
}

TEST_F(DatabaseReadings, KnowsNothingOfAnotherServerInTheSamePlace) {
  const PostgresFixture other;
  const std::string grant = "GRANT EXECUTE ON FUNCTION pg_control_system() TO twenty";
  other.sql("default", grant, "postgres");
  postgres().sql("default", grant, "postgres");
  // Nothing that this user could create: the list is that of the other server, whenever it was
  // asked.
  other.sql("postgres", "ALTER DATABASE \"default\" OWNER TO postgres", "postgres");
  other.sql("default",
            "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)",
            "postgres");
  const auto identity = [](const PostgresFixture& of) {
    return of.sql("postgres", "SELECT system_identifier FROM pg_control_system()", "postgres");
  };
  testing::Relay relay(postgres().port());
  DatabaseTarget place = target();
  place.port = relay.port();
  place.ssl_mode = "disable";
  place.dbname = "default";
  const auto look = [&] {
    auto seen = database_->read(place, {}, {});
    EXPECT_TRUE(seen && seen->reachable) << (seen ? seen->error : seen.error().message);
    return std::move(seen).value();
  };
  look();
  const auto first = look();
  EXPECT_EQ(first.system_identifier, identity(postgres()));
  relay.lead_to(other.port());
  const auto second = look();
  EXPECT_EQ(second.system_identifier, identity(other));
  EXPECT_LT(second.available_extensions.size(), first.available_extensions.size());
  EXPECT_GT(second.size_bytes, first.size_bytes + 10'000'000);
  relay.lead_to(postgres().port());
  const auto third = look();
  EXPECT_EQ(third.system_identifier, first.system_identifier);
  EXPECT_EQ(third.available_extensions, first.available_extensions);
}

TEST_F(DatabaseReadings, TellsWhatAMigrationDidSinceTheLastLook) {
  sql(kCursorModel);
  sql(migrations(3));
  const std::vector<Sentinel> sentinels = {
      {"flags", "SELECT count(*) > 0 FROM core.\"featureFlag\""}};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(read(sentinels).reachable);
  const struct {
    const char* statements;
    std::size_t newest;
    int migrations;
    LedgerModel model;
    std::size_t sentinels;
  } rows[] = {
      {"INSERT INTO core.\"upgradeMigration\" (name, status) VALUES ('a', 'completed')", 1, 3,
       LedgerModel::Cursor, 1},
      // What was prepared would now answer with another type.
      {"ALTER TABLE core.\"upgradeMigration\" ALTER COLUMN name TYPE text", 1, 3,
       LedgerModel::Cursor, 1},
      {"ALTER TABLE core.workspace DROP COLUMN \"databaseSchema\"", 1, 3, LedgerModel::Cursor, 1},
      {"ALTER TABLE core.workspace ADD version varchar", 1, 3, LedgerModel::Cursor, 1},
      {"DROP TABLE core.\"featureFlag\"", 1, 3, LedgerModel::Cursor, 0},
      {"DROP TABLE core.\"upgradeMigration\"", 3, 3, LedgerModel::Workspace, 0},
      {"DROP TABLE core._typeorm_migrations", 0, 0, LedgerModel::Workspace, 0},
      {"ALTER SCHEMA core RENAME TO stackspec_old_core", 0, 0, LedgerModel::None, 0},
      {"ALTER SCHEMA stackspec_old_core RENAME TO core", 0, 0, LedgerModel::Workspace, 0},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.statements);
    sql(row.statements);
    for (int i = 0; i < 2; ++i) {
      const Ledger ledger = read(sentinels).ledger;
      EXPECT_EQ(ledger.newest.size(), row.newest);
      EXPECT_EQ(ledger.migrations, row.migrations);
      EXPECT_EQ(ledger.model, row.model);
      EXPECT_EQ(ledger.sentinels.size(), row.sentinels);
    }
  }
}

/// Somebody holds `core.workspace` for some seconds, and a look waits for it.
class DatabaseReadingsBehindALock : public DatabaseReadings {
 protected:
  void wait_until_the_look_waits() {
    const auto deadline = Steady::now() + 60s;
    while (waiting() == "0" && Steady::now() < deadline) {
    }
    EXPECT_EQ(waiting(), "1");
  }
  std::string waiting() {
    return postgres().sql(
        "postgres",
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
        "datname = '" +
            name_ + "' AND application_name LIKE 'stackspec/%'",
        "postgres");
  }
  void end_sessions(const std::string& which) {
    postgres().sql(
        "postgres",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '" + name_ +
            "' AND " + which,
        "postgres");
  }
  /// Ends when its session is ended.
  std::jthread lock_in_the_background() {
    std::jthread holder([this] {
      EXPECT_THROW(sql("BEGIN; LOCK TABLE core.workspace; SELECT pg_sleep(600)"),
                   std::runtime_error);
    });
    const auto deadline = Steady::now() + 60s;
    while (held() == "0" && Steady::now() < deadline) {
    }
    EXPECT_EQ(held(), "1");
    return holder;
  }
  std::string held() {
    return postgres().sql(
        name_,
        "SELECT count(*) FROM pg_locks WHERE relation = 'core.workspace'::regclass AND granted "
        "AND mode = 'AccessExclusiveLock'",
        "postgres");
  }
};

TEST_F(DatabaseReadingsBehindALock, ALookThatLosesItsSessionBeginsAnew) {
  sql(kWorkspaceModel);
  database_ = make_database({60s, 60s});
  read();
  read();
  const auto holder = lock_in_the_background();
  std::jthread ending([this] {
    wait_until_the_look_waits();
    end_sessions("application_name LIKE 'stackspec/%'");
    end_sessions("application_name = 'psql'");
  });
  EXPECT_EQ(read().ledger.model, LedgerModel::Workspace);
}

TEST_F(DatabaseReadingsBehindALock, ALookIsCancelledWhileItWaits) {
  sql(kWorkspaceModel);
  database_ = make_database({60s, 60s});
  read();
  read();
  const auto holder = lock_in_the_background();
  std::stop_source stop;
  std::jthread stopping([&] {
    wait_until_the_look_waits();
    stop.request_stop();
  });
  const auto seen = database_->read(target(), {}, stop.get_token());
  ASSERT_FALSE(seen);
  EXPECT_EQ(seen.error().kind, ErrorKind::Cancelled);
  end_sessions("application_name = 'psql'");
  EXPECT_EQ(read().ledger.model, LedgerModel::Workspace);
}

TEST_F(DatabaseReadings, IsUsableAgainAfterALockMadeItGiveUp) {
  sql(kWorkspaceModel);
  const auto impatient = make_database({5000ms, 300ms});
  ASSERT_TRUE(impatient->read(target(), {}, {})->reachable);
  std::jthread migrating(
      [this] { sql("BEGIN; LOCK TABLE core.workspace; SELECT pg_sleep(2); COMMIT"); });
  const auto deadline = Steady::now() + 10s;
  DatabaseSeen seen;
  do {
    seen = *impatient->read(target(), {}, {});
  } while (seen.reachable && Steady::now() < deadline);
  EXPECT_FALSE(seen.reachable);
  EXPECT_NE(seen.error.find("statement timeout"), std::string::npos) << seen.error;
  EXPECT_EQ(seen.ledger.model, LedgerModel::None);
  migrating.join();
  EXPECT_TRUE(impatient->read(target(), {}, {})->reachable);
}

TEST_F(DatabaseReadings, NeverTellsThePassword) {
  auto wrong = target();
  wrong.password = "hunter2hunter2";
  const auto seen = database_->read(wrong, {}, {});
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->reachable);
  EXPECT_NE(seen->error.find("password authentication failed"), std::string::npos) << seen->error;
  EXPECT_EQ(seen->error.find("hunter2"), std::string::npos);
  EXPECT_EQ(seen->error.find('\n'), std::string::npos);
}

TEST_F(DatabaseReadings, SaysWhichDatabaseIsMissing) {
  auto wrong = target();
  wrong.dbname = "not_there";
  const auto seen = database_->read(wrong, {}, {});
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->reachable);
  EXPECT_NE(seen->error.find("not_there"), std::string::npos) << seen->error;
}

TEST(DatabaseWithoutServer, IsAValueWhenNobodyListens) {
  Listener gone;
  const int port = gone.port();
  gone.close();
  const auto seen = make_database()->read({"127.0.0.1", port, "u", "p", "d", "a"}, {}, {});
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->reachable);
  EXPECT_NE(seen->error.find("refused"), std::string::npos) << seen->error;
}

TEST(DatabaseWithoutServer, CutsAMutePeerAtTheDeadline) {
  const Listener mute;
  const auto started = Steady::now();
  const auto database = make_database({300ms, 300ms});
  const auto seen = database->read({"127.0.0.1", mute.port(), "u", "p", "d", "a"}, {}, {});
  const auto took = Steady::now() - started;
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->reachable);
  EXPECT_NE(seen->error.find("no answer within 300 ms"), std::string::npos) << seen->error;
  EXPECT_GE(took, 290ms);
  EXPECT_LT(took, 3s);
}

TEST(DatabaseWithoutServer, SurvivesAPeerThatIsNoPostgres) {
  Listener other;
  std::jthread web([&other] {
    const Socket peer = other.accept();
    peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  const auto seen =
      make_database({2s, 2s})->read({"127.0.0.1", other.port(), "u", "p", "d", "a"}, {}, {});
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->reachable);
  EXPECT_NE(seen->error, "");
}

TEST(DatabaseWithoutServer, StopsWhenAsked) {
  const Listener mute;
  std::stop_source stop;
  std::jthread asking([&] {
    const Socket peer = mute.accept();
    stop.request_stop();
    peer.receive_all(5s);
  });
  const auto started = Steady::now();
  const auto seen =
      make_database({20s, 20s})
          ->read({"127.0.0.1", mute.port(), "u", "p", "d", "a"}, {}, stop.get_token());
  ASSERT_FALSE(seen);
  EXPECT_EQ(seen.error().kind, ErrorKind::Cancelled);
  EXPECT_LT(Steady::now() - started, 5s);
}

TEST_F(DatabaseReadings, ReadsFromManyThreads) {
  sql(kWorkspaceModel);
  std::vector<std::jthread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10; ++n) good += database_->read(target(), {}, {})->reachable ? 1 : 0;
    });
  }
  threads.clear();
  EXPECT_EQ(good, 40);
}

TEST_F(DatabaseReadings, CountsWhatWouldBeLost) {
  sql(kWorkspaceModel);
  sql(R"(CREATE SCHEMA "workspace_3ab"; CREATE SCHEMA other;
         CREATE TABLE "workspace_3ab"."person" (id int, "createdAt" timestamptz,
           "updatedAt" timestamptz);
         CREATE TABLE "workspace_3ab"."odd name" (id int, "updatedAt" timestamp);
         CREATE TABLE "workspace_3ab"."timeless" (id int);
         CREATE TABLE other.person (id int, "createdAt" timestamptz);
         INSERT INTO "workspace_3ab"."person" VALUES
           (1, '2026-11-01T10:00:00Z', '2026-11-01T10:00:00Z'),
           (2, '2026-11-01T10:00:00Z', '2026-11-01T12:00:01Z'),
           (3, '2026-11-01T12:30:00Z', NULL);
         INSERT INTO "workspace_3ab"."odd name" VALUES (1, '2026-11-01T13:00:00');
         INSERT INTO "workspace_3ab"."timeless" VALUES (1);
         INSERT INTO other.person VALUES (1, '2026-11-02T13:00:00Z'))");
  const struct {
    const char* cutoff;
    Loss loss;
  } rows[] = {
      {"2026-11-01T12:00:00Z", {3, "2026-11-01T13:00:00Z"}},
      {"2026-11-01T12:30:00Z", {1, "2026-11-01T13:00:00Z"}},
      {"2026-11-01T09:00:00Z", {4, "2026-11-01T13:00:00Z"}},
      {"2026-11-01T13:00:00Z", {0, ""}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.cutoff);
    const auto loss = database_->loss_since(target(), row.cutoff, {});
    ASSERT_TRUE(loss) << loss.error().message;
    EXPECT_EQ(*loss, row.loss);
  }
}

TEST_F(DatabaseReadings, CountsTheLossOfManyWorkspaces) {
  std::string all;
  for (int i = 0; i < 120; ++i) {
    const std::string schema = "workspace_" + std::to_string(i);
    all += "CREATE SCHEMA " + schema + "; CREATE TABLE " + schema +
           ".note (\"createdAt\" timestamptz); INSERT INTO " + schema +
           ".note VALUES ('2026-11-01T12:00:01Z');";
  }
  sql(all);
  const auto loss = database_->loss_since(target(), "2026-11-01T12:00:00Z", {});
  ASSERT_TRUE(loss) << loss.error().message;
  EXPECT_EQ(*loss, (Loss{120, "2026-11-01T12:00:01Z"}));
}

TEST_F(DatabaseReadings, RefusesACutoffThatIsNoTimeAndHasNoLossInAnEmptyDatabase) {
  const auto odd = database_->loss_since(target(), "yesterday'; DROP TABLE x", {});
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().kind, ErrorKind::Invalid);
  const auto none = database_->loss_since(target(), "2026-11-01T12:00:00Z", {});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(*none, Loss());
}

}  // namespace
}  // namespace stackspec
