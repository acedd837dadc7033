// SPDX-License-Identifier: Apache-2.0
#include "twenty/ledger.hpp"

#include <algorithm>
#include <set>

namespace stackspec {
namespace {

// Source: the vendor's upgrade code; 1.21 made the cursor table, 1.22 gave every workspace a row.
constexpr Version kFirstCursor{1, 21, -1};
constexpr Version kFirstWorkspaceCursor{1, 22, -1};

constexpr std::size_t kNamedAtMost = 3;

Version minor_only(const Version& version) {
  return {version.major, version.minor, -1};
}

bool is_cursor_release(const Version& version) {
  return minor_only(version) >= kFirstCursor;
}

std::optional<Version> version_of_workspace(const Workspace& workspace) {
  if (!workspace.version) return std::nullopt;
  const auto version = parse_version(*workspace.version);
  if (!version) return std::nullopt;
  return *version;
}

/// `2.20.0_AddSomething_1783…` is of 2.20.0.
std::optional<Version> version_of_step(const std::string& name) {
  const auto version = parse_version(name.substr(0, name.find('_')));
  if (!version) return std::nullopt;
  return *version;
}

/// The first names and how many more, so that a thousand workspaces still make a readable status.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamedAtMost; ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > kNamedAtMost) {
    text += " and " + std::to_string(names.size() - kNamedAtMost) + " more";
  }
  return text;
}

bool has_provisioned(const Ledger& ledger) {
  return std::any_of(ledger.workspaces.begin(), ledger.workspaces.end(),
                     [&](const Workspace& workspace) { return is_provisioned(ledger, workspace); });
}

/// The record must be of the kind that release writes; everything else is judged after that.
std::optional<GateFinding> wrong_model(const Ledger& ledger, const Version& at) {
  if (ledger.model == LedgerModel::None) {
    return GateFinding{"NotInitialised", "no core.workspace", "a database of " + to_string(at)};
  }
  const bool cursor = is_cursor_release(at);
  if (cursor == (ledger.model == LedgerModel::Cursor)) return std::nullopt;
  if (cursor) {
    return GateFinding{"NoCursor", "no core.\"upgradeMigration\"",
                       "the migration record of " + to_string(at)};
  }
  return GateFinding{"LedgerTooNew", "core.\"upgradeMigration\" of 1.21 or newer",
                     "the migration record of " + to_string(at)};
}

void add_workspace_versions(const Ledger& ledger, const Version& at,
                            std::vector<GateFinding>& findings) {
  std::vector<std::string> behind, ahead;
  for (const Workspace& workspace : ledger.workspaces) {
    if (!is_provisioned(ledger, workspace)) continue;
    const auto version = version_of_workspace(workspace);
    const std::string seen = workspace.id + " at " + workspace.version.value_or("no version");
    if (!version || minor_only(*version) < minor_only(at)) {
      behind.push_back(seen);
    } else if (!version->same_minor(at)) {
      ahead.push_back(seen);
    }
  }
  const std::string wanted = "every active or suspended workspace at " + minor_of(at);
  if (!behind.empty()) findings.push_back({"WorkspacesBehind", listed(behind), wanted});
  if (!ahead.empty()) findings.push_back({"WorkspacesAhead", listed(ahead), wanted});
}

/// A sentinel proves its own minor and all later ones that keep the same kind of record.
void add_sentinels(const Ledger& ledger, const Version& at, const Catalog& catalog,
                   std::vector<GateFinding>& findings) {
  for (const Release& release : catalog.releases()) {
    const bool applies = minor_only(release.minor) <= minor_only(at) &&
                         is_cursor_release(release.minor) == is_cursor_release(at);
    if (!applies) continue;
    for (const Sentinel& sentinel : release.sentinels) {
      const auto answer = ledger.sentinels.find(sentinel.name);
      if (answer != ledger.sentinels.end() && answer->second) continue;
      const char* seen = answer == ledger.sentinels.end() ? "not known: " : "not so: ";
      findings.push_back(
          {"Sentinel", seen + sentinel.name, "true from " + minor_of(release.minor)});
    }
  }
}

void add_failed_steps(const Ledger& ledger, std::vector<GateFinding>& findings) {
  std::vector<std::string> names;
  for (const FailedStep& step : ledger.failed) names.push_back(step.name);
  if (!names.empty()) findings.push_back({"FailedStep", listed(names), "no failed last attempt"});
}

void add_cursors(const Ledger& ledger, const Version& at, std::vector<GateFinding>& findings) {
  const auto instance = version_of_step(ledger.instance_cursor);
  if (ledger.instance_cursor.empty()) {
    findings.push_back({"NoCursor", "no row of the instance", "a completed row of the instance"});
  } else if (instance && minor_only(*instance) > minor_only(at)) {
    findings.push_back(
        {"CursorAhead", ledger.instance_cursor, "no step newer than " + minor_of(at)});
  }
  if (minor_only(at) < kFirstWorkspaceCursor) return;
  std::vector<std::string> without;
  for (const Workspace& workspace : ledger.workspaces) {
    if (is_provisioned(ledger, workspace) && !workspace.has_cursor) without.push_back(workspace.id);
  }
  if (!without.empty()) {
    findings.push_back({"NoCursor", listed(without), "a row for every provisioned workspace"});
  }
}

void add_cursor_model(const Ledger& ledger, const Version& at, const Catalog& catalog,
                      std::vector<GateFinding>& findings) {
  add_failed_steps(ledger, findings);
  add_cursors(ledger, at, findings);
  add_sentinels(ledger, at, catalog, findings);
}

/// After a hop. The workspaces alone say nothing where there are none: then the count has to be
/// known, or the gate stays closed.
void add_migration_count(const Ledger& ledger, const HopExpectation& expected,
                         const Catalog& catalog, std::vector<GateFinding>& findings) {
  std::optional<int> wanted;
  // An image whose migrations were not found counts 0, which would let everything pass.
  if (expected.image_migrations.value_or(0) > 0) wanted = expected.image_migrations;
  const Release* release = catalog.find(expected.to);
  if (!wanted && release != nullptr) wanted = release->migrations;
  if (wanted && ledger.migrations >= *wanted) return;
  if (!wanted && has_provisioned(ledger)) return;
  findings.push_back({"MigrationCount", std::to_string(ledger.migrations),
                      wanted ? "at least " + std::to_string(*wanted)
                             : "the number the image ships, which is not known"});
}

/// Before a hop. The published image may ship a few migrations more or less than the catalog's
/// figure, so only a count that belongs to another measured minor is wrong.
void add_foreign_count(const Ledger& ledger, const Version& at, const Catalog& catalog,
                       std::vector<GateFinding>& findings) {
  const Release* own = catalog.find(at);
  if (own == nullptr || !own->migrations) return;
  const Release* other = nullptr;
  for (const Release& release : catalog.releases()) {
    if (!release.migrations || *release.migrations == *own->migrations) continue;
    const bool older = release.minor < own->minor && ledger.migrations <= *release.migrations;
    const bool newer = release.minor > own->minor && ledger.migrations >= *release.migrations;
    if (older || newer) other = &release;
    if (older) break;
  }
  if (other == nullptr) return;
  findings.push_back({"MigrationCount",
                      std::to_string(ledger.migrations) + ", as at " + minor_of(other->minor),
                      "about " + std::to_string(*own->migrations) + ", as at " + minor_of(at)});
}

std::optional<Version> cursor_by_workspaces(const Ledger& ledger, const Catalog& catalog) {
  std::optional<Version> oldest;
  for (const Workspace& workspace : ledger.workspaces) {
    if (!is_provisioned(ledger, workspace)) continue;
    const auto version = version_of_workspace(workspace);
    if (version && (!oldest || *version < *oldest)) oldest = version;
  }
  // A workspace keeps the patch it was last migrated by; one that may not run says only the minor.
  if (oldest && catalog.denied(*oldest) != nullptr) return minor_only(*oldest);
  return oldest;
}

std::optional<Version> cursor_by_count(const Ledger& ledger, const Catalog& catalog) {
  std::optional<Version> only;
  for (const Release& release : catalog.releases()) {
    if (release.migrations != ledger.migrations) continue;
    if (only) return std::nullopt;
    only = release.minor;
  }
  return only;
}

std::optional<Version> cursor_by_steps(const Ledger& ledger) {
  std::optional<Version> newest = version_of_step(ledger.instance_cursor);
  for (const std::string& name : ledger.newest) {
    const auto version = version_of_step(name);
    if (version && (!newest || *version > *newest)) newest = version;
  }
  if (!newest) return std::nullopt;
  return minor_only(*newest);
}

}  // namespace

bool is_provisioned(const Ledger& ledger, const Workspace& workspace) {
  return workspace.activation == "ACTIVE" || workspace.activation == "SUSPENDED" ||
         (ledger.model == LedgerModel::Cursor && workspace.activation == "CREATED");
}

std::vector<GateFinding> migration_gate(const Ledger& ledger, const HopExpectation& expected,
                                        const Catalog& catalog) {
  if (auto wrong = wrong_model(ledger, expected.to)) return {std::move(*wrong)};
  std::vector<GateFinding> findings;
  if (is_cursor_release(expected.to)) {
    add_cursor_model(ledger, expected.to, catalog, findings);
    return findings;
  }
  add_workspace_versions(ledger, expected.to, findings);
  add_migration_count(ledger, expected, catalog, findings);
  add_sentinels(ledger, expected.to, catalog, findings);
  return findings;
}

std::vector<GateFinding> clean_gate(const Ledger& ledger, const Version& at,
                                    const Catalog& catalog) {
  if (auto wrong = wrong_model(ledger, at)) return {std::move(*wrong)};
  std::vector<GateFinding> findings;
  if (is_cursor_release(at)) {
    add_cursor_model(ledger, at, catalog, findings);
    return findings;
  }
  add_workspace_versions(ledger, at, findings);
  add_foreign_count(ledger, at, catalog, findings);
  add_sentinels(ledger, at, catalog, findings);
  return findings;
}

std::optional<Version> cursor_of(const Ledger& ledger, const Catalog& catalog) {
  switch (ledger.model) {
    case LedgerModel::None: return std::nullopt;
    case LedgerModel::Cursor: return cursor_by_steps(ledger);
    case LedgerModel::Workspace: break;
  }
  if (auto found = cursor_by_workspaces(ledger, catalog)) return found;
  return has_provisioned(ledger) ? std::nullopt : cursor_by_count(ledger, catalog);
}

int workspaces_behind(const Ledger& ledger, const Version& at) {
  std::set<std::string> failed;
  for (const FailedStep& step : ledger.failed) failed.insert(step.workspace);
  int behind = 0;
  for (const Workspace& workspace : ledger.workspaces) {
    if (!is_provisioned(ledger, workspace)) continue;
    if (ledger.model == LedgerModel::Cursor) {
      const bool lost = minor_only(at) >= kFirstWorkspaceCursor && !workspace.has_cursor;
      if (lost || failed.contains(workspace.id)) ++behind;
      continue;
    }
    const auto version = version_of_workspace(workspace);
    if (!version || minor_only(*version) < minor_only(at)) ++behind;
  }
  return behind;
}

std::string_view cursor_sql() {
  // query_to_xml() runs its text only in the branch taken, so absent tables do no harm; to_jsonb()
  // reads a column that may be absent. The rows of 2.x include the status: a failed attempt counts.
  return R"(select md5(concat_ws('|',
 case when to_regclass('core.workspace') is null then 'none' else query_to_xml('
  select w.id, to_jsonb(w)->>''version'' as version from core.workspace w order by w.id',
  true, false, '')::text end,
 case when to_regclass('core._typeorm_migrations') is null then 'none' else query_to_xml('
  select count(*) as n, md5(string_agg(m.name::text, '','' order by m.id, m.name)) as names
  from core._typeorm_migrations m', true, false, '')::text end,
 case when to_regclass('core."upgradeMigration"') is null then 'none' else query_to_xml('
  select count(*) as n, md5(string_agg(concat_ws('':'', u.name, u.status, u.attempt,
  coalesce(u."workspaceId"::text, ''-'')), '','' order by u.name, u.attempt, u."workspaceId"))
  as steps from core."upgradeMigration" u', true, false, '')::text end)))";
}

}  // namespace stackspec
