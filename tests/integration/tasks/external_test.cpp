// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "integration/tasks/task_world.hpp"
#include "twenty/service_url.hpp"

// Tasks on a database that somebody else runs: reached by a URL, perhaps shared with others.

namespace stackspec {
namespace {

using nlohmann::json;

void expect_end(const TaskEnd& end, int code) {
  EXPECT_EQ(end.code, code) << end.log << end.raw_result;
}

std::string encoded(const std::string& text) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

/// As the tasks of a stack with `database.external` are started.
void make_external(TaskWorld& world, bool shared) {
  const std::string url = "postgresql://twenty:" + encoded(world.env.at("PGPASSWORD")) +
                          "@127.0.0.1:" + world.env.at("PGPORT") + "/default?sslmode=prefer";
  for (const char* name : {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}) {
    world.env.erase(name);
  }
  world.env["STACKSPEC_DATABASE_URL"] = url;
  world.env["STACKSPEC_OWNER"] = "crm-ns/crm";
  world.env["STACKSPEC_SHARED"] = shared ? "yes" : "";
  world.env["STACKSPEC_SCHEMAS_SQL"] = own_schemas_sql(shared);
  world.env["STACKSPEC_DEPENDENTS_SQL"] = foreign_dependents_sql(shared);
}

/// Twenty's records name the schemas of its workspaces.
void record_schemas(TaskWorld& world) {
  world.sql(
      "create table core.\"dataSource\" (id int, schema text, \"workspaceId\" uuid);"
      "insert into core.\"dataSource\" values (1, 'workspace_Odd Näme', null), (2, 'workspace_2', "
      "null), (3, 'public', null), (4, null, null)");
}

/// Another application in the same database, whose names look like Twenty's.
void add_neighbour(TaskWorld& world) {
  world.pg.sql("default",
               "create role neighbour login; create schema workspace_shop authorization neighbour; "
               "create schema metadata authorization neighbour; create schema shop authorization "
               "neighbour; create extension hstore; grant create on schema public to neighbour",
               "postgres");
  world.pg.sql(
      "default",
      "create table workspace_shop.orders (id int, more public.hstore); insert into "
      "workspace_shop.orders select i from generate_series(1, 7) i; create table "
      "metadata.things (id int); create function public.total() returns bigint language "
      "plpgsql as 'begin return (select count(*) from workspace_shop.orders); end'; create "
      "function public.first(o workspace_shop.orders) returns int language sql as 'select "
      "o.id'",
      "neighbour");
}

std::string of_neighbour(TaskWorld& world) {
  return world.pg.sql("default",
                      "select n.oid, n.nspname, c.oid, c.relname from pg_namespace n left join "
                      "pg_class c on c.relnamespace = n.oid where n.nspname in ('workspace_shop', "
                      "'metadata', 'shop') order by 1, 3; select count(*) from "
                      "workspace_shop.orders; select public.total()",
                      "neighbour");
}

TEST(ExternalDatabase, IsReachedByItsUrlAlone) {
  for (const char* shell : {"dash", "busybox"}) {
    SCOPED_TRACE(shell);
    TaskWorld world(shell);
    world.make_data();
    world.pg.sql("default", "alter role twenty password 'a/b@c %25?#d:é'", "postgres");
    world.env["PGPASSWORD"] = "a/b@c %25?#d:é";
    make_external(world, false);
    const std::string before = world.contents();
    const TaskEnd backup = world.run(TaskKind::Backup);
    expect_end(backup, 0);
    const std::string cluster =
        world.sql("select system_identifier from pg_control_system()") + "/default";
    EXPECT_EQ(backup.result.at("systemIdentifier"), cluster);
    // The URL is taken apart by the shell; what comes after is the same under both.
    if (shell == std::string_view("busybox")) continue;
    expect_end(world.run(TaskKind::Prove), 0);
    world.sql("delete from core.\"featureFlag\"; drop table workspace_2.person");
    expect_end(world.run(TaskKind::Restore), 0);
    EXPECT_EQ(world.contents(), before);
  }
}

TEST(ExternalDatabase, ABadUrlIsAVerdictThatDoesNotTellIt) {
  TaskWorld world;
  make_external(world, false);
  for (const char* url :
       {"postgres://twenty:hunter2secret@db", "postgres://twenty:hunter2%zz@h/d"}) {
    SCOPED_TRACE(url);
    world.env["STACKSPEC_DATABASE_URL"] = url;
    const TaskEnd end = world.run(TaskKind::Backup);
    expect_end(end, 14);
    EXPECT_NE(end.result.at("failure").find("the URL of the database"), std::string::npos);
    EXPECT_EQ((end.log + end.raw_result).find("hunter2"), std::string::npos);
  }
}

TEST(ExternalDatabase, SharedWithOthersTheyAreNeitherSavedNorTouched) {
  TaskWorld world("busybox");
  world.make_data();
  record_schemas(world);
  add_neighbour(world);
  make_external(world, true);
  const std::string neighbour = of_neighbour(world);
  const std::string core = world.sql("select count(*) from core.workspace");
  expect_end(world.run(TaskKind::Backup), 0);
  const std::string dump = read_text(world.backup("inventory.tsv"));
  EXPECT_NE(dump.find("workspace_2"), std::string::npos);
  EXPECT_NE(dump.find("workspace_Odd Näme"), std::string::npos);
  for (const char* foreign : {"workspace_shop", "metadata", "hstore", "total"}) {
    EXPECT_EQ(dump.find(foreign), std::string::npos) << foreign;
  }
  EXPECT_NE(dump.find("unaccent_immutable"), std::string::npos);
  expect_end(world.run(TaskKind::Prove), 0);
  world.sql(
      "delete from core.\"featureFlag\"; delete from core.workspace; drop schema workspace_2 "
      "cascade");
  const TaskEnd restored = world.run(TaskKind::Restore);
  expect_end(restored, 0);
  EXPECT_EQ(restored.result.at("setAside"), "2");
  EXPECT_EQ(world.sql("select count(*) from core.workspace"), core);
  EXPECT_EQ(world.sql("select count(*) from workspace_2.person"), "20");
  EXPECT_EQ(of_neighbour(world), neighbour);
}

TEST(ExternalDatabase, ARestoreInASharedOneSurvivesItsDeath) {
  TaskWorld world;
  world.make_data();
  record_schemas(world);
  add_neighbour(world);
  make_external(world, true);
  expect_end(world.run(TaskKind::Backup), 0);
  expect_end(world.run(TaskKind::Prove), 0);
  const std::string neighbour = of_neighbour(world);
  const std::string before = world.contents();
  // What a run leaves that died between setting aside and the end of the load.
  world.sql(
      "create schema stackspec_meta; create table stackspec_meta.restore (id text primary key, "
      "state text not null, backup text not null, at timestamptz not null default now()); create "
      "table stackspec_meta.set_aside (id text, name text, aside text not null, primary key (id, "
      "name)); insert into stackspec_meta.restore values ('0badcafe_0', 'started', 'b1'); insert "
      "into stackspec_meta.set_aside select '0badcafe_0', n, 'stackspec_old_0badcafe_0_' || n from "
      "unnest(array['core', 'workspace_2', 'workspace_Odd Näme']) n; alter schema core rename to "
      "stackspec_old_0badcafe_0_core; alter schema workspace_2 rename to "
      "stackspec_old_0badcafe_0_workspace_2; alter schema \"workspace_Odd Näme\" rename to "
      "\"stackspec_old_0badcafe_0_workspace_Odd Näme\"; create schema core; create table "
      "core.workspace (id int); create schema workspace_2");
  expect_end(world.run(TaskKind::Restore, "restore-2"), 0);
  EXPECT_EQ(world.sql("select count(*) from workspace_2.person"), "20");
  EXPECT_EQ(world.contents().substr(0, 4), before.substr(0, 4));
  EXPECT_EQ(of_neighbour(world), neighbour);
}

TEST(ExternalDatabase, WhatOthersBuiltOnItIsNamedAndNothingIsRestored) {
  TaskWorld world;
  world.make_data();
  make_external(world, false);
  EXPECT_EQ(world.sql(foreign_dependents_sql(false)), "") << "Twenty's own is not foreign";
  expect_end(world.run(TaskKind::Backup), 0);
  expect_end(world.run(TaskKind::Prove), 0);
  const std::string before = world.contents();
  world.sql(
      "create schema reports; create view reports.busy as select count(*) from core.workspace; "
      "create table reports.notes (w uuid references core.workspace)");
  const TaskEnd end = world.run(TaskKind::Restore);
  expect_end(end, 14);
  EXPECT_NE(end.result.at("failure").find("busy"), std::string::npos) << end.raw_result;
  EXPECT_NE(end.result.at("failure").find("notes"), std::string::npos) << end.raw_result;
  EXPECT_EQ(world.contents(), before);
  EXPECT_EQ(world.sql("select count(*) from pg_namespace where nspname like 'stackspec_old%'"),
            "0");
  world.sql("drop schema reports cascade");
  expect_end(world.run(TaskKind::Restore, "restore-2"), 0);
}

TEST(ExternalDatabase, IsOneStacksForEver) {
  TaskWorld world;
  world.make_data();
  make_external(world, false);
  world.yarn("exit 0");
  expect_end(world.run(TaskKind::Install), 0);
  expect_end(world.run(TaskKind::Install, "install-2"), 0);
  EXPECT_EQ(world.sql("select stack from stackspec_meta.owner"), "crm-ns/crm");
  world.env["STACKSPEC_OWNER"] = "shop/crm";
  const TaskEnd end = world.run(TaskKind::Install, "install-3");
  expect_end(end, 14);
  EXPECT_NE(end.result.at("failure").find("crm-ns/crm"), std::string::npos);
}

}  // namespace
}  // namespace stackspec
