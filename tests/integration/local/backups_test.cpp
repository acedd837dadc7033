// SPDX-License-Identifier: Apache-2.0
#include "platform/local/backups.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fakes/temp_folder.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;

struct Backups {
  TempFolder folder;

  void add(const std::string& id, const std::string& time, const std::string& files,
           const std::string& stack = "crm") const {
    fs::create_directories(folder / id);
    std::ofstream(folder / (id + "/manifest.json"))
        << R"({"format":1,"id":")" << id << R"(","stack":")" << stack
        << R"(","sourceVersion":"v1.15.4","cutoffTime":")" << time
        << R"(","cutoffLsn":"0/1","systemIdentifier":"7","cursorKey":"k","sha256":"aa",)"
        << R"("sizeBytes":5,"tables":3,"files":1,"keyFingerprints":{"APP_SECRET":"f"}})";
    std::ofstream(folder / (id + "/files.tsv")) << files;
  }
  void prove(const std::string& id, const std::string& level, const std::string& sha256) const {
    std::ofstream(folder / (id + "/proof.json"))
        << R"({"level":")" << level << R"(","sha256":")" << sha256 << R"("})";
  }
  void store(const std::string& hash) const {
    fs::create_directories(folder / "files");
    std::ofstream(folder / ("files/" + hash)) << hash;
  }
  bool has(const std::string& path) const { return fs::exists(folder / path); }
  std::vector<BackupSeen> list() const { return list_backups(folder.path(), "crm"); }
};

TEST(LocalBackups, ReadsPublishedOnesOldestFirst) {
  const Backups backups;
  backups.add("b2", "2026-01-02T00:00:00Z", "");
  backups.add("b1", "2026-01-03T00:00:00Z", "");
  backups.add(".tmp-task", "2026-01-01T00:00:00Z", "");
  backups.add("other", "2026-01-01T00:00:00Z", "", "shop");
  fs::create_directories(backups.folder / "empty");
  fs::create_directories(backups.folder / "garbage");
  std::ofstream(backups.folder / "garbage/manifest.json") << "{";
  const auto list = backups.list();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].id, "b2");
  EXPECT_EQ(list[1].id, "b1");
  EXPECT_EQ(list[0].source_version, "v1.15.4");
  EXPECT_EQ(list[0].size_bytes, 5);
  EXPECT_EQ(list[0].tables, 3);
  EXPECT_EQ(list[0].key_fingerprints.at("APP_SECRET"), "f");
  EXPECT_EQ(list[0].location, backups.folder / "b2");
}

TEST(LocalBackups, BelievesOnlyAProofOfTheVerySameDump) {
  const struct {
    const char* level;
    const char* sha256;
    bool proven;
  } rows[] = {{"L4", "aa", true}, {"L4", "ab", false}, {"L3", "aa", false}, {"", "", false}};
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.level) + row.sha256);
    const Backups backups;
    backups.add("b", "2026-01-01T00:00:00Z", "");
    backups.prove("b", row.level, row.sha256);
    EXPECT_EQ(backups.list().at(0).proven, row.proven);
  }
}

TEST(LocalBackups, DeletesABackupAndOnlyContentNobodyLists) {
  const Backups backups;
  backups.add("old", "2026-01-01T00:00:00Z", "h1\t2\ta\nh2\t2\tb\n");
  backups.add("new", "2026-01-02T00:00:00Z", "h2\t2\tb\n");
  for (const char* hash : {"h1", "h2", "h3"}) backups.store(hash);
  ASSERT_TRUE(delete_backup(backups.folder.path(), "old", false));
  ASSERT_TRUE(delete_backup(backups.folder.path(), "old", false));  // Again is nothing.
  EXPECT_FALSE(backups.has("old"));
  EXPECT_FALSE(backups.has("files/h1"));
  EXPECT_TRUE(backups.has("files/h2"));
  EXPECT_FALSE(backups.has("files/h3"));
}

TEST(LocalBackups, KeepsAllContentWhenInDoubt) {
  const Backups backups;
  backups.add("old", "2026-01-01T00:00:00Z", "h1\t2\ta\n");
  backups.store("h1");
  fs::create_directories(backups.folder / ".tmp-running");  // Its list is not written yet.
  ASSERT_TRUE(delete_backup(backups.folder.path(), "old", false));
  EXPECT_FALSE(backups.has("old"));
  EXPECT_TRUE(backups.has("files/h1"));
}

TEST(LocalBackups, DeletesNothingByAnOddName) {
  const Backups backups;
  backups.store("h1");
  for (const char* id : {"", ".", "..", "files", "../x", "a/b", ".tmp-1"}) {
    SCOPED_TRACE(id);
    const auto deleted = delete_backup(backups.folder.path(), id, false);
    ASSERT_FALSE(deleted);
    EXPECT_EQ(deleted.error().kind, ErrorKind::Invalid);
  }
  EXPECT_TRUE(backups.has("files/h1"));
}

}  // namespace
}  // namespace stackspec::local
