// SPDX-License-Identifier: Apache-2.0
#include "twenty/logs.hpp"

#include <regex.h>

#include <algorithm>
#include <memory>
#include <string>

namespace stackspec {
namespace {

constexpr std::size_t kLineLimit = 200;

/// A line of `upgrade` output that proves failure. `regex` is a POSIX extended expression without
/// anchors, groups that matter, `$(` or `$$`: the shell's grep and a pod's environment take it as
/// is.
struct FailureRule {
  const char* name;
  const char* regex;
};

// Texts of the vendor's upgrade code. What is absent is as important: `contains null values`,
// `QueryFailedError` and `relation "core.…" does not exist` also come by in upgrades that end well.
constexpr FailureRule kFailures[] = {
    {"UpgradeRefused", "Unable to run the upgrade command|WORKSPACE_VERSION_MISSMATCH"},
    {"ReleaseNotInImage", "No command found for version"},
    {"WorkspaceFailed", "Error in workspace [^ ]+:|event=workspace\\.failed"},
    {"CoreMigrationFailed",
     "Error running database migrations|Error during migration run|Migration \"[^\"]+\" failed"},
    {"UpgradeAborted", "event=(sequence\\.)?aborted"},
    {"UpgradeFailed", "Upgrade failed:|Upgrade completed with (errors|[1-9][0-9]* workspace)"},
    {"WorkspacesFailed", "totalFailures=[1-9]|, [1-9][0-9]* workspace\\(s\\) failed"},
    {"NoUpgradeRecord", "No upgrade migration found"},
    {"StepUnknown", "Step \"[^\"]*\" not found in upgrade sequence"},
    {"CursorInvalid", "invalid cursors for workspace segment|Cannot run instance step: workspace"},
    {"AppVersionMissing",
     "APP_VERSION must be a valid semantic version|APP_VERSION is not defined"},
    {"ConfigInvalid", "Config variables validation failed"},
    {"StatusUnreadable", "Failed to retrieve upgrade status"},
};

/// Known failures and what helps; the first that matches speaks.
struct Remedy {
  const char* regex;
  const char* advice;
};

constexpr Remedy kRemedies[] = {
    {"Unable to run the upgrade command|WORKSPACE_VERSION_MISSMATCH",
     "a workspace is not at the previous minor; nothing was migrated: bring every workspace to "
     "that "
     "minor first, with that minor's newest patch"},
    {"No command found for version",
     "the image does not know its own version; use another patch of this minor"},
    {"Could not find flat entity with universal identifier",
     "a backfill runs before what it needs exists, seen in early 1.16 releases: use the newest "
     "patch "
     "of this minor"},
    {"column \"?ViewSortEntity\\.subFieldName\"? does not exist",
     "2.x cannot be reached from 1.22 directly: restore, then go to v1.23.9 first"},
    {"AddWorkspaceIdToIndirectEntities|indexFieldMetadata\\.workspaceId",
     "known of 1.22: restore, then go from 1.21 to v1.23.9"},
    {"Query read timeout|canceling statement due to statement timeout",
     "a statement on a large table took longer than the client allows: try again with "
     "PG_DATABASE_PRIMARY_TIMEOUT_MS set higher in spec.env"},
    {"No upgrade migration found",
     "the database has no record of 1.21 or newer: go through v1.23.9 first"},
    {"relation \"core\\.upgradeMigration\" does not exist",
     "the database is older than 1.21: go through every minor up to v1.23.9 first"},
    {"Step \"[^\"]*\" not found in upgrade sequence",
     "the database is newer than the image: restore a backup of this release, or ask for a newer "
     "one"},
    {"Cannot run instance step|invalid cursors for workspace segment",
     "a workspace has not finished an earlier release: restore the backup of that hop and try "
     "again"},
    {"INVALID_VIEW_DATA|Field metadata not found",
     "known of several 2.x releases: use a newer patch of the same minor"},
    {"APP_VERSION",
     "the image was built without APP_VERSION, which the upgrade needs: use the official image or "
     "build with that argument"},
    {"does not have permission|METADATA_CACHE_VERSION_NOT_FOUND",
     "the cache is stale: flush it and restart server and worker"},
    {"duplicate key value violates unique constraint|contains null values|already exists",
     "a migration met data it did not expect: use a newer patch of the same minor, from the "
     "restored backup"},
    {"table \"[^\"]+\" does not exist",
     "another upgrade of the same database was running: make sure that nothing else migrates it"},
    {"column \"?[^ ]+ does not exist",
     "the schema is older than the code: the upgrade has not run, or not to its end"},
    {"no space left in [^ ]*backups",
     "raise spec.backup.destination.pvc.size, or free disk space where backups go"},
    {"No space left on device",
     "a volume is full: raise its size in spec (database, storage, backup), or free disk space"},
    {"password authentication failed",
     "the password in the Secret is not the database's: the volume keeps the one it was made with"},
    {"ECONNREFUSED|Connection terminated unexpectedly",
     "PostgreSQL or Redis was not reachable: see whether it runs, then try again"},
    {"EACCES|permission denied, (open|mkdir)",
     "the storage folder does not belong to the user that Twenty runs as"},
    {"JavaScript heap out of memory|Cannot allocate memory",
     "there was not enough memory: an upgrade needs about 1 GB"},
};

/// A POSIX extended expression, by the C library: what `grep -E` of the migrate task sees as well.
class Expression {
 public:
  explicit Expression(const char* text)
      : usable_(::regcomp(&regex_, text, REG_EXTENDED | REG_NOSUB) == 0) {}
  ~Expression() {
    if (usable_) ::regfree(&regex_);
  }
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  bool matches(const std::string& line) const {
    return usable_ && ::regexec(&regex_, line.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t regex_{};
  bool usable_;
};

/// Without colour codes and other control sequences (ESC [ … letter) and control characters.
std::string plain(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b' && i + 1 < line.size() && line[i + 1] == '[') {
      i += 2;
      while (i < line.size() && (line[i] < '@' || line[i] > '~')) ++i;
      continue;
    }
    const auto byte = static_cast<unsigned char>(line[i]);
    if (byte >= 0x20 && byte != 0x7f) text += line[i];
  }
  return text;
}

/// At most kLineLimit bytes, and not in the middle of a character.
std::string shortened(std::string text) {
  if (text.size() <= kLineLimit) return text;
  std::size_t end = kLineLimit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

const char* rule_of(const std::string& line) {
  for (const FailureRule& rule : kFailures) {
    if (Expression(rule.regex).matches(line)) return rule.name;
  }
  return "";
}

}  // namespace

std::vector<LogFinding> upgrade_failures(std::string_view log) {
  const Expression any(failure_regex().c_str());
  std::vector<LogFinding> findings;
  while (!log.empty()) {
    const auto end = std::min(log.find('\n'), log.size());
    const std::string line = plain(log.substr(0, end));
    log.remove_prefix(std::min(end + 1, log.size()));
    if (any.matches(line)) {
      findings.push_back({rule_of(line), shortened(line), advice_for(line)});
    }
  }
  return findings;
}

std::string failure_regex() {
  std::string all;
  for (const FailureRule& rule : kFailures)
    all += (all.empty() ? "" : "|") + std::string(rule.regex);
  return all;
}

std::string advice_for(std::string_view error) {
  const std::string text(error);
  for (const Remedy& remedy : kRemedies) {
    if (Expression(remedy.regex).matches(text)) return remedy.advice;
  }
  return "";
}

}  // namespace stackspec
