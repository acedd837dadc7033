// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/plan.hpp"

namespace stackspec {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kNow{std::chrono::seconds(1795251600)};

BackupSeen backup(const std::string& id, int days_old, bool proven) {
  BackupSeen seen;
  seen.id = id;
  seen.cutoff_time = to_rfc3339(kNow - std::chrono::days(days_old));
  seen.proven = proven;
  return seen;
}

TEST(Retention, DeletesOnlyWhatIsOldAndBeyondTheNumber) {
  const std::vector<BackupSeen> backups = {backup("a", 90, true), backup("b", 80, false),
                                           backup("c", 60, true), backup("d", 40, true),
                                           backup("e", 5, true)};
  const struct {
    const char* name;
    BackupPolicy policy;
    std::vector<std::string> protected_ids;
    std::vector<std::string> doomed;
  } rows[] = {
      {"number wins over age", {.keep_last = 7, .keep_days = 30}, {}, {"b"}},
      {"age wins over number", {.keep_last = 1, .keep_days = 365}, {}, {}},
      {"both exceeded", {.keep_last = 2, .keep_days = 30}, {}, {"a", "b", "c"}},
      {"the newest proven stays", {.keep_last = 0, .keep_days = 0}, {}, {"a", "b", "c", "d"}},
      {"the path in flight stays", {.keep_last = 1, .keep_days = 30}, {"a"}, {"b", "c", "d"}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(backups_to_delete(backups, row.policy, row.protected_ids, kNow), row.doomed);
  }
}

TEST(Retention, AProvenBackupAlwaysRemains) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    std::vector<BackupSeen> backups;
    for (unsigned i = 0; i < 6; ++i) {
      backups.push_back(backup(std::string(1, static_cast<char>('a' + i)),
                               static_cast<int>(400 - 10 * i), (bits >> i & 1U) != 0));
    }
    const auto doomed = backups_to_delete(backups, {.keep_last = 1, .keep_days = 1}, {}, kNow);
    int proven = 0;
    for (const BackupSeen& each : backups) {
      const bool kept = std::find(doomed.begin(), doomed.end(), each.id) == doomed.end();
      if (each.proven && kept) ++proven;
    }
    EXPECT_EQ(proven, bits == 0 ? 0 : 1) << bits;
  }
}

TEST(Retention, KeepsWhatItCannotDate) {
  BackupSeen odd = backup("odd", 900, false);
  odd.cutoff_time = "last week";
  EXPECT_TRUE(backups_to_delete({odd}, {.keep_last = 1, .keep_days = 1}, {}, kNow).empty());
}

}  // namespace
}  // namespace stackspec
