// SPDX-License-Identifier: Apache-2.0
#include "twenty/ledger.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

constexpr const char* kSentinel = R"(core."fieldMetadata"."universalIdentifier" NOT NULL)";
constexpr const char* kNone = "";  ///< A version that is NULL.

Version v(std::string_view text) {
  return parse_version(text).value();
}

struct Person {
  const char* activation = "ACTIVE";
  const char* version = kNone;
  bool has_cursor = false;
};

/// What real databases held after real commands; the names say which.
struct Record {
  const char* name;
  LedgerModel model;
  std::vector<Person> workspaces;
  int migrations;
  bool sentinel;
  const char* instance = "";
  const char* newest = "";
  bool failed = false;
};

Ledger ledger_of(const Record& record) {
  Ledger ledger;
  ledger.model = record.model;
  for (const Person& person : record.workspaces) {
    Workspace workspace;
    workspace.id = "w" + std::to_string(ledger.workspaces.size() + 1);
    workspace.activation = person.activation;
    if (*person.version != '\0') workspace.version = person.version;
    workspace.has_cursor = person.has_cursor;
    ledger.workspaces.push_back(workspace);
  }
  ledger.migrations = record.migrations;
  ledger.sentinels[kSentinel] = record.sentinel;
  ledger.instance_cursor = record.instance;
  if (*record.newest != '\0') ledger.newest = {record.newest};
  if (record.failed) ledger.failed = {{"2.20.0_Backfill_1", "w1", "2.20.0", "no such field"}};
  return ledger;
}

const Record kEmpty{"empty", LedgerModel::None, {}, 0, false};
const Record k114{"1.14", LedgerModel::Workspace, {{"ACTIVE", "1.14.0"}}, 70, false};
// The skip to 1.16 was refused with exit code 0 and changed nothing.
const Record k114Refused{"1.14 refused", LedgerModel::Workspace, {{"ACTIVE", "1.14.0"}}, 70, false};
const Record k114Fresh{"1.14 fresh", LedgerModel::Workspace, {}, 70, false};
const Record k114Onboarding{
    "1.14 onboarding", LedgerModel::Workspace, {{"ONGOING_CREATION", kNone}}, 70, false};
const Record k115{"1.15", LedgerModel::Workspace, {{"ACTIVE", "1.15.0"}}, 77, false};
const Record k115Two{
    "1.15 two", LedgerModel::Workspace, {{"ACTIVE", "1.15.0"}, {"ACTIVE", "1.15.0"}}, 77, false};
const Record k116{"1.16", LedgerModel::Workspace, {{"ACTIVE", "1.16.0"}}, 98, true};
const Record k116Half{"1.16 half", LedgerModel::Workspace, {{"ACTIVE", "1.15.0"}}, 98, false};
const Record k116HalfMoved{
    "1.16 half, version moved", LedgerModel::Workspace, {{"ACTIVE", "1.16.0"}}, 98, false};
const Record k116DryRun{"1.16 dry run", LedgerModel::Workspace, {{"ACTIVE", "1.15.0"}}, 98, false};
const Record k116OneFailed{"1.16 one of two failed",
                           LedgerModel::Workspace,
                           {{"ACTIVE", "1.16.0"}, {"SUSPENDED", "1.15.0"}},
                           98,
                           true};
const Record k116NoVersion{
    "1.16 version NULL", LedgerModel::Workspace, {{"ACTIVE", kNone}}, 98, true};
const Record k117{"1.17", LedgerModel::Workspace, {{"ACTIVE", "1.17.0"}}, 98, true};
const Record k219{"2.19",
                  LedgerModel::Cursor,
                  {{"ACTIVE", kNone, true}},
                  182,
                  true,
                  "2.19.0_BackfillDisplayFields_1783073776591",
                  "2.19.0_BackfillSystemUniqueIndex_1783093620000"};
const Record k221{"2.21",
                  LedgerModel::Cursor,
                  {{"ACTIVE", kNone, true}},
                  182,
                  true,
                  "2.20.0_BackfillGalleryImages_1783615890056",
                  "2.21.0_BackfillSystemField_1783925862946"};
const Record k221Fresh{"2.21 fresh",
                       LedgerModel::Cursor,
                       {},
                       182,
                       true,
                       "2.20.0_BackfillGalleryImages_1783615890056",
                       "2.20.0_BackfillGalleryImages_1783615890056"};
const Record k221Failed{"2.21 failed",
                        LedgerModel::Cursor,
                        {{"ACTIVE", kNone, true}},
                        182,
                        true,
                        "2.20.0_BackfillGalleryImages_1783615890056",
                        "",
                        true};
const Record k221NoCursor{"2.21 without a row",
                          LedgerModel::Cursor,
                          {{"ACTIVE", kNone, true}, {"CREATED", kNone, false}},
                          182,
                          true,
                          "2.20.0_BackfillGalleryImages_1783615890056"};
const Record k221Empty{"2.21 no rows", LedgerModel::Cursor, {{"ACTIVE", kNone, true}}, 182, true};

std::string gates(const std::vector<GateFinding>& findings) {
  std::string text;
  for (const GateFinding& finding : findings) {
    EXPECT_FALSE(finding.seen.empty() || finding.wanted.empty()) << finding.gate;
    text += (text.empty() ? "" : " ") + finding.gate;
  }
  return text;
}

TEST(MigrationGate, OpensOnlyForADatabaseThatIsThere) {
  const struct {
    const Record& record;
    const char* to;
    std::optional<int> image;
    const char* gates;
  } rows[] = {
      {kEmpty, "v1.16.6", 98, "NotInitialised"},
      {k114, "v1.14.0", 70, ""},
      {k114, "v1.15.4", 77, "WorkspacesBehind MigrationCount"},
      {k114Refused, "v1.16.6", 98, "WorkspacesBehind MigrationCount Sentinel"},
      // Nobody signed up: no workspace is behind, and nothing was migrated.
      {k114Fresh, "v1.16.6", 98, "MigrationCount Sentinel"},
      {k114Onboarding, "v1.16.6", 98, "MigrationCount Sentinel"},
      {k114Fresh, "v1.15.4", std::nullopt, "MigrationCount"},
      {k114Fresh, "v1.15.4", 0, "MigrationCount"},
      {k114Fresh, "v1.18.1", std::nullopt, "MigrationCount Sentinel"},
      {k114Fresh, "v1.14.0", 70, ""},
      {k115, "v1.15.4", 77, ""},
      {k115Two, "v1.15.4", std::nullopt, ""},
      {k115, "v1.16.6", 98, "WorkspacesBehind MigrationCount Sentinel"},
      {k116Half, "v1.16.6", 98, "WorkspacesBehind Sentinel"},
      {k116HalfMoved, "v1.16.6", 98, "Sentinel"},
      {k116HalfMoved, "v1.17.4", 98, "WorkspacesBehind Sentinel"},
      {k116DryRun, "v1.16.6", 98, "WorkspacesBehind Sentinel"},
      {k116OneFailed, "v1.16.6", 98, "WorkspacesBehind"},
      {k116NoVersion, "v1.16.6", 98, "WorkspacesBehind"},
      {k116, "v1.16.6", 98, ""},
      {k116, "v1.16.6", 101, "MigrationCount"},
      {k116, "v1.16.6", 97, ""},
      {k116, "v1.15.4", 77, "WorkspacesAhead"},
      {k117, "v1.17.4", 98, ""},
      {k117, "v1.18.1", std::nullopt, "WorkspacesBehind"},
      {k117, "v2.21.0", std::nullopt, "NoCursor"},
      {k219, "v1.20.0", std::nullopt, "LedgerTooNew"},
      {k219, "v2.19.0", std::nullopt, ""},
      {k221, "v2.21.0", std::nullopt, ""},
      {k221, "v2.19.0", std::nullopt, "CursorAhead"},
      {k221Fresh, "v2.21.0", std::nullopt, ""},
      {k221Failed, "v2.21.0", std::nullopt, "FailedStep"},
      {k221NoCursor, "v2.21.0", std::nullopt, "NoCursor"},
      {k221NoCursor, "v2.19.0", std::nullopt, "CursorAhead NoCursor"},
      {k221Empty, "v2.21.0", std::nullopt, "NoCursor"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.record.name) + " at " + row.to);
    const auto findings =
        migration_gate(ledger_of(row.record), {v(row.to), row.image}, Catalog::builtin());
    EXPECT_EQ(gates(findings), row.gates);
  }
}

TEST(CleanGate, BlocksADirtyStart) {
  const struct {
    const Record& record;
    const char* at;
    const char* gates;
  } rows[] = {
      {k114, "v1.14.0", ""},
      {k114Refused, "v1.14.0", ""},
      {k114Fresh, "v1.14.0", ""},
      {k114Onboarding, "v1.14.0", ""},
      {k115, "v1.15.4", ""},
      {k115Two, "v1.15.4", ""},
      // The core migrations of 1.16 were applied, its workspace part was not.
      {k116Half, "v1.15.4", "MigrationCount"},
      {k116DryRun, "v1.15.4", "MigrationCount"},
      {k116Half, "v1.16.6", "WorkspacesBehind Sentinel"},
      {k114Fresh, "v1.16.6", "MigrationCount Sentinel"},
      {k116OneFailed, "v1.16.6", "WorkspacesBehind"},
      {k116, "v1.16.6", ""},
      {k117, "v1.17.4", ""},
      {k117, "v1.16.6", "WorkspacesAhead"},
      {k219, "v2.19.0", ""},
      {k221, "v2.21.0", ""},
      {k221Failed, "v2.21.0", "FailedStep"},
      {kEmpty, "v1.15.4", "NotInitialised"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.record.name) + " at " + row.at);
    EXPECT_EQ(gates(clean_gate(ledger_of(row.record), v(row.at), Catalog::builtin())), row.gates);
  }
}

TEST(CleanGate, AllowsAPublishedImageAFewMigrationsMore) {
  Ledger ledger = ledger_of(k115);
  for (const int count : {71, 76, 78, 97}) {
    ledger.migrations = count;
    EXPECT_EQ(gates(clean_gate(ledger, v("v1.15.4"), Catalog::builtin())), "") << count;
  }
  for (const int count : {0, 70, 98, 120}) {
    ledger.migrations = count;
    EXPECT_EQ(gates(clean_gate(ledger, v("v1.15.4"), Catalog::builtin())), "MigrationCount")
        << count;
  }
}

TEST(Gates, TreatASentinelThatWasNotReadAsUnproven) {
  Ledger ledger = ledger_of(k116);
  ledger.sentinels.clear();
  EXPECT_EQ(gates(migration_gate(ledger, {v("v1.16.6"), 98}, Catalog::builtin())), "Sentinel");
}

TEST(Gates, StayReadableWithManyWorkspaces) {
  Ledger ledger = ledger_of(k115);
  for (int i = 0; i < 500; ++i) ledger.workspaces.push_back(ledger.workspaces.front());
  const auto findings = migration_gate(ledger, {v("v1.16.6"), 98}, Catalog::builtin());
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].seen, "w1 at 1.15.0, w1 at 1.15.0, w1 at 1.15.0 and 498 more");
}

TEST(Cursor, SaysOnlyWhatTheDatabaseProves) {
  const struct {
    const Record& record;
    const char* version;
  } rows[] = {
      {kEmpty, "unknown"},
      {k114, "v1.14.0"},
      {k114Fresh, "v1.14"},
      {k114Onboarding, "v1.14"},
      {k115, "v1.15.0"},
      {k116Half, "v1.15.0"},
      {k116, "v1.16"},
      {k117, "v1.17.0"},
      {k116OneFailed, "v1.15.0"},
      {k116NoVersion, "unknown"},
      {k219, "v2.19"},
      {k221, "v2.21"},
      {k221Fresh, "v2.20"},
      {k221Empty, "unknown"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.record.name);
    const auto cursor = cursor_of(ledger_of(row.record), Catalog::builtin());
    EXPECT_EQ(cursor ? to_string(*cursor) : "unknown", row.version);
  }
  Ledger ambiguous = ledger_of(k117);
  ambiguous.workspaces.clear();
  EXPECT_EQ(cursor_of(ambiguous, Catalog::builtin()), std::nullopt) << "98 is 1.16 and 1.17";
}

TEST(Ledger, CountsWorkspacesBehind) {
  EXPECT_EQ(workspaces_behind(ledger_of(k115Two), v("v1.16.6")), 2);
  EXPECT_EQ(workspaces_behind(ledger_of(k116OneFailed), v("v1.16.6")), 1);
  EXPECT_EQ(workspaces_behind(ledger_of(k116NoVersion), v("v1.16.6")), 1);
  EXPECT_EQ(workspaces_behind(ledger_of(k114Onboarding), v("v1.16.6")), 0);
  EXPECT_EQ(workspaces_behind(ledger_of(k116), v("v1.16.6")), 0);
  EXPECT_EQ(workspaces_behind(ledger_of(k221Failed), v("v2.21.0")), 1);
  EXPECT_EQ(workspaces_behind(ledger_of(k221NoCursor), v("v2.21.0")), 1);
}

TEST(Ledger, AsksForTheCursorInOneStatementSafeInAnEnvironment) {
  const std::string sql(cursor_sql());
  EXPECT_EQ(sql.find(';'), std::string::npos);
  EXPECT_EQ(sql.find('$'), std::string::npos) << "`$(` and `$$` are read by pods";
}

}  // namespace
}  // namespace stackspec
