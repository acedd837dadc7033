// SPDX-License-Identifier: Apache-2.0
#include "twenty/logs.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "fakes/temp_folder.hpp"

namespace stackspec {
namespace {

#define NEST "[Nest] 24183  - 11/21/2026, 2:16:15 AM   "

struct Line {
  const char* text;
  const char* rule;  ///< Empty: does not count.
};

constexpr Line kLines[] = {
    {NEST "ERROR [UpgradeCommand] Error in workspace 8d8e26df-e8db-4d98-a218-9e2a12fffe26: Unable "
          "to run the upgrade command. Aborting the upgrade process.",
     "UpgradeRefused"},
    {NEST "ERROR [UpgradeCommand] Error in workspace global: No command found for version 1.18.0. "
          "Please check the commands record.",
     "ReleaseNotInImage"},
    {NEST "WARN [UpgradeCommand] Error in workspace b86ae623-4810-46d4-b682-c77a6fd87cc0: Could "
          "not find flat entity with universal identifier 20202020-d01a-4131-8a31-f123456789ab",
     "WorkspaceFailed"},
    {"\x1b[31m[Nest] 1  - \x1b[39m 2:16:15 AM \x1b[31m  ERROR\x1b[39m "
     "\x1b[38;5;3m[UpgradeCommand] \x1b[39m\x1b[31mError in workspace w1: Migration action "
     "'create' for 'fieldMetadata' failed\x1b[39m",
     "WorkspaceFailed"},
    {NEST "ERROR [UpgradeCommand] Error running database migrations:", "CoreMigrationFailed"},
    {"Migration \"RemoteRemoteTables1767812158000\" failed, error: table \"remoteTable\" does not "
     "exist",
     "CoreMigrationFailed"},
    {"ERROR WORKSPACE_VERSION_MISSMATCH", "UpgradeRefused"},
    {"[upgrade] event=aborted", "UpgradeAborted"},
    {"x [upgrade] event=sequence.aborted reason=workspace-failures", "UpgradeAborted"},
    {"[upgrade] event=workspace.failed workspaceId=w1", "WorkspaceFailed"},
    {"[upgrade] event=summary totalSuccesses=1 totalFailures=1 dryRun=false", "WorkspacesFailed"},
    {"Upgrade summary: 2 workspace(s) succeeded, 12 workspace(s) failed", "WorkspacesFailed"},
    {NEST "ERROR [UpgradeCommand] Upgrade failed: relation \"core.upgradeMigration\" does not "
          "exist",
     "UpgradeFailed"},
    {"Warning: Upgrade completed with errors. Some workspaces may not be fully migrated. Check "
     "logs for details.",
     "UpgradeFailed"},
    {"Error: Upgrade completed with 2 workspace failure(s)", "UpgradeFailed"},
    {"No upgrade migration found for workspace(s): w1", "NoUpgradeRecord"},
    {"Step \"2.21.0_X_1\" not found in upgrade sequence. The sequence only covers versions [2.1.0]",
     "StepUnknown"},
    {"Cannot run instance step: workspace w1 has not completed \"x\"", "CursorInvalid"},
    {"3 workspace(s) have invalid cursors for workspace segment [a]", "CursorInvalid"},
    {NEST "ERROR APP_VERSION must be a valid semantic version (e.g., 1.0.0)", "AppVersionMissing"},
    {"Cannot run upgrade command when APP_VERSION is not defined", "AppVersionMissing"},
    {"ConfigVariableException [Error]: Config variables validation failed", "ConfigInvalid"},
    {NEST "ERROR [UpgradeStatusCommand] Failed to retrieve upgrade status: relation "
          "\"core.upgradeMigration\" does not exist",
     "StatusUnreadable"},

    // What upgrades that end well print, and noise of a first boot.
    {NEST "LOG [UpgradeCommand] Initialized upgrade context with:", ""},
    {NEST "LOG [UpgradeCommand] Command completed!", ""},
    {NEST "LOG [UpgradeCommand] Fresh installation detected, skipping migration", ""},
    {NEST "LOG [UpgradeCommand] Upgrade for workspace w1 ignored as is already at a higher "
          "version.",
     ""},
    {"error: error: column \"universalIdentifier\" of relation \"fieldMetadata\" contains null "
     "values",
     ""},
    {NEST "ERROR [UpgradeCommand] undefined", ""},
    {NEST "WARN [IdentifyRoleMetadataCommand] Standard role \"Admin\" already has applicationId "
          "set, skipping",
     ""},
    {"Upgrade summary: 2 workspace(s) succeeded, 0 workspace(s) failed", ""},
    {"[upgrade] event=summary totalSuccesses=2 totalFailures=0 dryRun=false", ""},
    {"[upgrade] event=sequence.stopped", ""},
    {"[upgrade] event=workspace.success workspaceId=w1 executedByVersion=2.21.0", ""},
    {"Created pool for localhost|5432|postgres failed to use an SSL connection", ""},
    {"localhost|5432|postgres", ""},
    {"QueryFailedError: relation \"core.workspace\" does not exist", ""},
    {"error: error: relation \"core.workspace\" does not exist", ""},
    {"npm warn Unknown env config \"nodedir\". This will stop working in the next major version",
     ""},
    {"  Workspaces: 1 up to date, 0 behind, 0 failed (1 total)", ""},
    {"ICU features such as interpolation and plurals will not work properly for that message.", ""},
    {"", ""},
};

TEST(UpgradeLog, KnowsProofOfFailureFromNoise) {
  for (const Line& line : kLines) {
    SCOPED_TRACE(line.text);
    const auto findings = upgrade_failures(line.text);
    ASSERT_EQ(findings.size(), *line.rule == '\0' ? 0U : 1U);
    if (findings.empty()) continue;
    EXPECT_EQ(findings[0].pattern, line.rule);
    EXPECT_EQ(findings[0].line.find('\x1b'), std::string::npos);
    EXPECT_LE(findings[0].line.size(), 200U);
  }
}

/// Numbers of the lines that `grep -E` takes, one a line.
std::string grepped(const std::string& grep, const std::string& file, const std::string& regex) {
  const std::string command = grep + " -nE -f '" + regex + "' '" + file + "' | cut -d: -f1";
  std::string numbers;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "no shell";
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    numbers += static_cast<char>(c);
  }
  ::pclose(pipe);
  return numbers;
}

TEST(UpgradeLog, IsTheSameForGrepInTheTask) {
  const TempFolder folder;
  std::ofstream(folder / "regex") << failure_regex() << '\n';
  std::string expected;
  {
    std::ofstream log(folder / "log");
    int number = 0;
    for (const Line& line : kLines) {
      log << line.text << '\n';
      ++number;
      if (*line.rule != '\0') expected += std::to_string(number) + "\n";
    }
  }
  EXPECT_EQ(grepped("grep", folder / "log", folder / "regex"), expected);
  EXPECT_EQ(grepped("busybox grep", folder / "log", folder / "regex"), expected);
  EXPECT_EQ(failure_regex().find("$("), std::string::npos) << "a pod would expand it";
  EXPECT_EQ(failure_regex().find('\n'), std::string::npos);
}

TEST(UpgradeLog, AdvisesOnKnownFailures) {
  const struct {
    const char* error;
    const char* advice;
  } rows[] = {
      {"Unable to run the upgrade command. Aborting", "previous minor"},
      {"Could not find flat entity with universal identifier 2020", "newest patch"},
      {"column ViewSortEntity.subFieldName does not exist", "v1.23.9"},
      {"Query read timeout", "PG_DATABASE_PRIMARY_TIMEOUT_MS"},
      {"relation \"core.upgradeMigration\" does not exist", "older than 1.21"},
      {"Step \"x\" not found in upgrade sequence.", "newer than the image"},
      {"INVALID_VIEW_DATA", "newer patch"},
      {"duplicate key value violates unique constraint \"PK_1\"", "newer patch"},
      {"table \"remoteTable\" does not exist", "another upgrade"},
      {"connect ECONNREFUSED 127.0.0.1:6379", "not reachable"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.error);
    EXPECT_NE(advice_for(row.error).find(row.advice), std::string::npos) << advice_for(row.error);
  }
  EXPECT_EQ(advice_for("all is well"), "");
}

TEST(UpgradeLog, ShortensInsideNoCharacter) {
  std::string line = "Upgrade failed: ";
  while (line.size() < 300) line += "\xc3\xa4";
  const auto findings = upgrade_failures(line);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].line.size(), 200U);
  EXPECT_EQ(upgrade_failures("x" + line)[0].line.size(), 199U);
}

TEST(UpgradeLog, SurvivesHostileText) {
  std::string huge(2000000, 'E');
  huge += "\nUpgrade failed: x\n\x1b[\x1b[31";
  EXPECT_EQ(upgrade_failures(huge).size(), 1U);
  EXPECT_TRUE(upgrade_failures(std::string("\0\0\n\xff\xfe\n", 6)).empty());
}

}  // namespace
}  // namespace stackspec
