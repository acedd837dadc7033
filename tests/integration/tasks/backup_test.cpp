// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "base/hash.hpp"
#include "fakes/eventually.hpp"
#include "integration/tasks/task_world.hpp"

// backup, prove and restore on a real PostgreSQL.

namespace stackspec {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kShells[] = {"dash", "busybox"};

void expect_end(const TaskEnd& end, int code) {
  EXPECT_EQ(end.code, code) << end.log;
  EXPECT_LE(end.raw_result.size(), 2048U);
  EXPECT_TRUE(end.raw_result.empty() || json::accept(end.raw_result)) << end.raw_result;
}

/// What a failed release leaves: more rows, lost rows, a new table, a column, other files.
void spoil(TaskWorld& world) {
  world.sql(
      "delete from core.\"featureFlag\"; delete from \"workspace_Odd Näme\".person where position "
      "< 5; create table core.\"newTable\" (id int); insert into core.\"_typeorm_migrations\" "
      "(timestamp, name) select i, 'x' from generate_series(1, 21) i; alter table core.workspace "
      "drop column name cascade");
  world.write("files/one", "changed!!!");
  world.write("files/later", "newer");
  fs::remove(world.path("files/three"));
}

TEST(Backup, ComesBackAsItWasUnderBothShells) {
  for (const char* shell : kShells) {
    SCOPED_TRACE(shell);
    TaskWorld world(shell);
    world.make_data();
    const std::string before = world.contents();
    const TaskEnd backup = world.run(TaskKind::Backup);
    expect_end(backup, 0);
    expect_end(world.run(TaskKind::Prove), 0);
    spoil(world);
    const TaskEnd restored = world.run(TaskKind::Restore);
    expect_end(restored, 0);
    EXPECT_EQ(world.contents(), before);
    EXPECT_EQ(restored.result.at("setAside"), "3");
    EXPECT_EQ(restored.result.at("extraRows"), "21");
    EXPECT_EQ(restored.result.at("rows"), backup.result.at("rows"));
    EXPECT_EQ(read_text(world.path("files-set-aside-0badcafe_0/later")), "newer");
    EXPECT_EQ(read_text(world.path("files-set-aside-0badcafe_0/one")), "changed!!!");
    EXPECT_EQ(world.sql("select count(*) from \"stackspec_old_0badcafe_0_core\".\"newTable\""),
              "0");
    // The same restore again changes nothing, whatever happened since.
    world.sql("delete from core.\"fieldMetadata\"");
    expect_end(world.run(TaskKind::Restore, "restore-2"), 0);
    EXPECT_EQ(world.sql("select count(*) from core.\"fieldMetadata\""), "0");
    EXPECT_EQ(world.sql("select count(*) from pg_namespace where nspname like 'stackspec_old%'"),
              "3");
  }
}

TEST(Backup, TellsEverythingInItsManifest) {
  TaskWorld world;
  world.make_data();
  const TaskEnd end = world.run(TaskKind::Backup);
  expect_end(end, 0);
  const json manifest = json::parse(read_text(world.backup("manifest.json")));
  // A controller that cannot read the storage knows it from the result.
  for (const char* field : {"sourceVersion", "systemIdentifier", "cursorKey", "cutoffTime",
                            "cutoffLsn", "sha256", "keyFingerprints"}) {
    const json& value = manifest[field];
    const std::string told = end.result.at(field);
    EXPECT_EQ(value.is_string() ? value : json(value.dump()),
              value.is_string() ? told : json::parse(told).dump())
        << field;
  }
  EXPECT_EQ(manifest["id"], "b1");
  EXPECT_EQ(manifest["stack"], "crm");
  EXPECT_EQ(manifest["sourceVersion"], "v1.15.4");
  EXPECT_EQ(manifest["cursorKey"], "77");
  EXPECT_EQ(manifest["keyFingerprints"]["APP_SECRET"], "sha256:ab \"x\"");
  EXPECT_EQ(manifest["tables"], 10);
  EXPECT_EQ(manifest["rows"], 77 + 50 + 2 + 2 * 21);
  EXPECT_EQ(manifest["files"], 3);
  EXPECT_EQ(manifest["filesBytes"], 100020);
  EXPECT_EQ(manifest["extensions"], json::parse(R"(["citext","unaccent","uuid-ossp"])"));
  EXPECT_EQ(manifest["sha256"].get<std::string>().size(), 64U);
  EXPECT_EQ(manifest["sizeBytes"], fs::file_size(world.backup("database.dump")));
  EXPECT_EQ(manifest["systemIdentifier"],
            world.pg.sql("default", "select system_identifier from pg_control_system()"));
  EXPECT_EQ(manifest["cutoffTime"].get<std::string>().size(), 20U);
  // Equal contents are stored once.
  EXPECT_EQ(std::distance(fs::directory_iterator(world.path("backups/files")), {}), 2);
  EXPECT_EQ(world.sql("select count(*) from pg_namespace where nspname like 'stackspec%'"), "0");
}

TEST(Backup, IsReusedWhenCompleteAndRefusedWhenDamaged) {
  TaskWorld world;
  world.make_data();
  expect_end(world.run(TaskKind::Backup), 0);
  const std::string manifest = read_text(world.backup("manifest.json"));
  world.sql("delete from core.\"fieldMetadata\"");
  expect_end(world.run(TaskKind::Backup, "backup-2"), 0);
  EXPECT_EQ(read_text(world.backup("manifest.json")), manifest);
  fs::resize_file(world.backup("database.dump"), 1000);
  expect_end(world.run(TaskKind::Backup, "backup-3"), 13);
}

void flip_byte(const std::string& path, std::size_t at) {
  std::string text = read_text(path);
  text.at(at) = static_cast<char>(text.at(at) ^ 1);
  std::ofstream(path, std::ios::binary) << text;
}

std::string stored(const TaskWorld& world, const std::string& text) {
  return world.path("backups/files/" + sha256_hex(text));
}

/// A dump that holds no rows of one table, under a manifest that is right about its sha256.
void dump_without_rows(TaskWorld& world) {
  const auto dumped = run_program(
      {world.pg.programs() + "/pg_dump", "-Fc", "-n", "core", "-n", "workspace_*",
       "--exclude-table-data=core.\"fieldMetadata\"", "-f", world.backup("database.dump")},
      world.pg.environment(), "/");
  ASSERT_EQ(dumped.code, 0) << dumped.output;
  json manifest = json::parse(read_text(world.backup("manifest.json")));
  manifest["sha256"] = sha256_hex(read_text(world.backup("database.dump")));
  manifest["parts"]["database.dump"] = manifest["sha256"];
  std::ofstream(world.backup("manifest.json")) << manifest.dump();
}

TEST(Prove, CatchesEveryDamageAndRestoreRefusesIt) {
  TaskWorld world;
  world.make_data();
  expect_end(world.run(TaskKind::Backup), 0);
  expect_end(world.run(TaskKind::Prove), 0);
  const std::string before = world.contents();
  struct Damage {
    const char* name;
    const char* message;
    std::function<void()> make;
  };
  const auto dump = [&] { return world.backup("database.dump"); };
  const Damage damages[] = {
      {"truncated dump", "database.dump",
       [&] { fs::resize_file(dump(), fs::file_size(dump()) / 2); }},
      {"byte of the dump", "database.dump",
       [&] { flip_byte(dump(), fs::file_size(dump()) - 300); }},
      {"missing dump", "database.dump", [&] { fs::remove(dump()); }},
      {"table without rows", "core.fieldMetadata", [&] { dump_without_rows(world); }},
      {"byte of a stored file", "", [&] { flip_byte(stored(world, "first file"), 3); }},
      {"missing stored file", "", [&] { fs::remove(stored(world, "first file")); }},
      {"list of files", "files.tsv", [&] { flip_byte(world.backup("files.tsv"), 5); }},
      {"garbage manifest", "no manifest", [&] { flip_byte(world.backup("manifest.json"), 0); }},
      {"empty manifest", "no manifest", [&] { std::ofstream(world.backup("manifest.json")); }},
      {"missing manifest", "manifest.json", [&] { fs::remove(world.backup("manifest.json")); }}};
  fs::copy(world.path("backups"), world.path("kept"), fs::copy_options::recursive);
  int number = 0;
  for (const Damage& damage : damages) {
    SCOPED_TRACE(damage.name);
    ++number;
    damage.make();
    world.give_all("backups");
    const TaskEnd restore = world.run(TaskKind::Restore, "restore-" + std::to_string(number));
    expect_end(restore, 13);
    const TaskEnd proof = world.run(TaskKind::Prove, "prove-" + std::to_string(number));
    expect_end(proof, 13);
    EXPECT_NE(proof.log.find(damage.message), std::string::npos) << proof.log;
    EXPECT_FALSE(proof.result.at("failure").empty());
    fs::remove_all(world.path("backups"));
    fs::copy(world.path("kept"), world.path("backups"), fs::copy_options::recursive);
    world.give_all("backups");
  }
  EXPECT_EQ(world.contents(), before);
}

TEST(Restore, RefusesWhatWasNeverProven) {
  TaskWorld world;
  world.make_data();
  expect_end(world.run(TaskKind::Backup), 0);
  const std::string before = world.contents();
  expect_end(world.run(TaskKind::Restore), 13);
  world.env["STACKSPEC_BACKUP_ID"] = "unknown";
  expect_end(world.run(TaskKind::Restore, "restore-2"), 13);
  EXPECT_EQ(world.contents(), before);
}

TEST(Restore, PutsBackWhatWasThereWhenTheDumpTurnsOutWrong) {
  TaskWorld world;
  world.make_data();
  expect_end(world.run(TaskKind::Backup), 0);
  ASSERT_NO_FATAL_FAILURE(dump_without_rows(world));
  const json manifest = json::parse(read_text(world.backup("manifest.json")));
  json proof = json::object();
  proof["level"] = "L4";
  world.write("backups/b1/proof.json",
              "{\"level\":\"L4\",\"sha256\":" + manifest["sha256"].dump() + "}");
  spoil(world);
  const std::string before = world.contents();
  const TaskEnd end = world.run(TaskKind::Restore);
  expect_end(end, 10);
  EXPECT_NE(end.result.at("failure").find("core.fieldMetadata"), std::string::npos);
  EXPECT_EQ(world.contents(), before);
  EXPECT_EQ(world.sql("select count(*) from stackspec_meta.restore"), "0");
}

TEST(Backup, OfHundredAndTwentyWorkspacesNeedsNoBigLockTable) {
  // Room for the locks of pg_dump, not for those of every index as well.
  TaskWorld world("dash", {"max_locks_per_transaction=10"});
  world.make_data(120);
  const std::string before = world.contents();
  expect_end(world.run(TaskKind::Backup), 0);
  expect_end(world.run(TaskKind::Prove), 0);
  // As if an earlier attempt had died after the load.
  const ProcessId restore = world.start(TaskKind::Restore);
  ASSERT_TRUE(eventually(
      [&] { return read_text(world.path("log")).find("comparing") != std::string::npos; },
      std::chrono::seconds(100)));
  world.kill(restore);
  const TaskEnd end = world.run(TaskKind::Restore, "restore-2");
  expect_end(end, 0);
  EXPECT_EQ(end.result.at("setAside"), "121");
  EXPECT_EQ(world.contents(), before);
}

TEST(Backup, KilledAtAnyInstantIsFinishedByTheNextAttempt) {
  std::mt19937 random(20260117);
  TaskWorld world;
  world.make_data();
  const std::string before = world.contents();
  int attempt = 0, killed = 0;
  // How long a whole run takes here, so that the instants lie all over it.
  const auto duration_of = [&](TaskKind kind) {
    world.env["STACKSPEC_BACKUP_ID"] = "b0";
    const auto start = std::chrono::steady_clock::now();
    expect_end(world.run(kind, "timed-" + std::string(to_string(kind))), 0);
    world.env["STACKSPEC_BACKUP_ID"] = "b1";
    return static_cast<int>((std::chrono::steady_clock::now() - start) /
                            std::chrono::milliseconds(1));
  };
  // A run that ended before its instant is undone where that can be done, and does not count.
  const auto harass = [&](TaskKind kind, int times, int limit_ms, const std::string& result) {
    for (int left = times, tries = 4 * times; left > 0 && tries > 0; --tries) {
      world.use_shell(kShells[attempt % 2]);
      // Every other attempt meets the scratch folder of a killed run of its own.
      const auto process = world.start(kind, "task-" + std::to_string(attempt / 2));
      ++attempt;
      const auto delay = std::uniform_int_distribution<int>(0, limit_ms)(random);
      if (eventually([&] { return !is_alive(process); }, std::chrono::milliseconds(delay))) {
        if (result.empty()) break;
        fs::remove_all(result);
        continue;
      }
      --left;
      world.kill(process);
      ++killed;
      for (const auto& entry : fs::directory_iterator(world.path("backups"))) {
        const std::string name = entry.path().filename();
        EXPECT_TRUE(name != "b1" || fs::exists(entry.path() / "manifest.json"));
      }
    }
    ++attempt;
    const TaskEnd end = world.run(kind, "last-" + std::string(to_string(kind)));
    expect_end(end, 0);
  };
  const int backup_ms = duration_of(TaskKind::Backup), prove_ms = duration_of(TaskKind::Prove);
  harass(TaskKind::Backup, 6, backup_ms, world.path("backups/b1"));
  harass(TaskKind::Prove, 5, prove_ms, world.backup("proof.json"));
  spoil(world);
  // A proof makes a cluster first, and then restores the same dump.
  harass(TaskKind::Restore, 8, prove_ms / 4, "");
  EXPECT_GE(killed, 8);
  EXPECT_EQ(world.contents(), before);
  EXPECT_EQ(world.sql("select count(*) from pg_namespace where nspname like 'stackspec_old%'"),
            "3");
  for (const auto& entry : fs::directory_iterator(world.path("backups"))) {
    EXPECT_NE(entry.path().filename().string()[0], '.') << entry.path();
  }
}

/// A full disk without rights to make one: no file may grow over `kilobytes`.
void limit_file_size(TaskWorld& world, int kilobytes) {
  world.write("bin/pg_dump",
              "#!/bin/sh\nulimit -f " + std::to_string(kilobytes * 2) + "\nexec " +
                  world.pg.programs() + "/pg_dump \"$@\"\n",
              0755);
}

TEST(Backup, OnAFullDiskIsAVerdictThatLeavesNothing) {
  TaskWorld world;
  world.make_data();
  world.sql(
      "insert into core.\"fieldMetadata\" (id) select public.uuid_generate_v4() from "
      "generate_series(1, 40000)");
  const bool mounted = ::geteuid() == 0 && ::mount("tmpfs", world.path("backups").c_str(), "tmpfs",
                                                   0, "size=300k,mode=0777") == 0;
  if (!mounted) limit_file_size(world, 100);
  const TaskEnd end = world.run(TaskKind::Backup);
  int left = 0;
  for (const auto& entry : fs::directory_iterator(world.path("backups"))) {
    if (entry.path().filename() != "files") ++left;
  }
  if (mounted) ::umount2(world.path("backups").c_str(), MNT_DETACH);
  expect_end(end, 12);
  EXPECT_EQ(left, 0);
  EXPECT_NE(end.result.at("failure").find("no space left"), std::string::npos);
}

/// Enough rows that their table does not fit where files may have 20 MB.
void make_big(TaskWorld& world) {
  world.sql(
      "create table core.big as select i, md5(i::text) as text from generate_series(1, 400000) i");
}
constexpr long kSmallDisk = 20L << 20U;  // bytes; PostgreSQL's own files have 16 MiB

TEST(Prove, OnAFullDiskIsAVerdictThatProvesNothing) {
  TaskWorld world;
  world.make_data();
  make_big(world);
  expect_end(world.run(TaskKind::Backup), 0);
  world.write("bin/postgres",
              "#!/bin/sh\nulimit -f " + std::to_string(kSmallDisk / 512) + "\nexec " +
                  world.pg.programs() + "/postgres \"$@\"\n",
              0755);
  const TaskEnd end = world.run(TaskKind::Prove);
  expect_end(end, 12);
  EXPECT_NE(end.result.at("failure").find("no space left"), std::string::npos) << end.raw_result;
  EXPECT_FALSE(fs::exists(world.backup("proof.json")));
  fs::remove(world.path("bin/postgres"));
  expect_end(world.run(TaskKind::Prove, "prove-2"), 0);
}

TEST(Restore, OnAFullDiskPutsBackWhatWasThere) {
  TaskWorld world;
  world.make_data();
  make_big(world);
  const std::string wanted = world.contents();
  expect_end(world.run(TaskKind::Backup), 0);
  expect_end(world.run(TaskKind::Prove), 0);
  spoil(world);
  const std::string before = world.contents();
  world.pg.limit_files(kSmallDisk);
  const TaskEnd end = world.run(TaskKind::Restore);
  world.pg.limit_files(-1);
  expect_end(end, 12);
  EXPECT_NE(end.result.at("failure").find("in its place again"), std::string::npos);
  EXPECT_EQ(world.contents(), before);
  expect_end(world.run(TaskKind::Restore, "restore-2"), 0);
  EXPECT_EQ(world.contents(), wanted);
}

}  // namespace
}  // namespace stackspec
