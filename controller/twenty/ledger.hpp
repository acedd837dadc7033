// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/version.hpp"
#include "catalog/catalog.hpp"

namespace stackspec {

/// Which migration record the database has.
enum class LedgerModel {
  None,       ///< No core.workspace: never initialised (an empty `core` schema counts as None).
  Workspace,  ///< up to 1.20: core.workspace.version and core._typeorm_migrations
  Cursor,     ///< from 1.21: core."upgradeMigration"
};

struct Workspace {
  std::string id;
  std::string activation;              ///< activationStatus as text: ACTIVE, SUSPENDED, …
  std::optional<std::string> version;  ///< core.workspace.version, without v; NULL is absent.
  std::string schema;                  ///< workspace_<base36>, where the database tells.
  bool has_cursor = false;             ///< Has a row in upgradeMigration.
  bool old_creation = true;            ///< Not (ONGOING_CREATION and younger than an hour).
  friend bool operator==(const Workspace&, const Workspace&) = default;
};

/// A failed last attempt in upgradeMigration (query Q2).
struct FailedStep {
  std::string name, workspace, version, error;
  friend bool operator==(const FailedStep&, const FailedStep&) = default;
};

/// The database's own migration record, as read in one transaction (database/).
struct Ledger {
  LedgerModel model = LedgerModel::None;
  std::vector<Workspace> workspaces;
  int migrations = 0;               ///< count(core._typeorm_migrations)
  std::vector<std::string> newest;  ///< Newest 5 names of either record.
  std::vector<FailedStep> failed;
  std::string instance_cursor;  ///< Name of the newest instance row; Cursor model only.
  std::string cursor_key;       ///< Answer of cursor_sql(): changes with every migration step.
  std::map<std::string, bool> sentinels;  ///< By Sentinel::name; those of all catalog minors asked.
  std::map<std::string, std::map<std::string, bool>> flags;  ///< workspace id -> key -> value
  friend bool operator==(const Ledger&, const Ledger&) = default;
};

/// ACTIVE or SUSPENDED (Workspace model); plus CREATED (Cursor model).
bool is_provisioned(const Ledger& ledger, const Workspace& workspace);

/// What the migrate task found out about the hop's image, as part of the gate.
struct HopExpectation {
  Version to;
  std::optional<int> image_migrations;  ///< Number of core migrations the image ships; 1.x only.
};

struct GateFinding {
  /// `NotInitialised`, `LedgerTooNew`, `WorkspacesBehind`, `WorkspacesAhead`, `MigrationCount`,
  /// `Sentinel`, `FailedStep`, `NoCursor`, `CursorAhead`
  std::string gate;
  std::string seen;
  std::string wanted;
  friend bool operator==(const GateFinding&, const GateFinding&) = default;
};

/// Everything that says the database is NOT at `expected.to`; empty means migrated. Never by
/// equality with an inferred version (a minor without commands leaves no row).
std::vector<GateFinding> migration_gate(const Ledger& ledger, const HopExpectation& expected,
                                        const Catalog& catalog);

/// Findings that make a start from `at` dirty: workspaces behind, failed rows, sentinels missing.
std::vector<GateFinding> clean_gate(const Ledger& ledger, const Version& at,
                                    const Catalog& catalog);

/// What the database alone says it is at; empty when it cannot tell (no provisioned workspace in
/// the Workspace model and no count that only one minor has).
std::optional<Version> cursor_of(const Ledger& ledger, const Catalog& catalog);

/// One SELECT that returns one text on either model and on an empty database: it identifies the
/// state of the record. The controller reads it into Ledger::cursor_key; the migrate task runs it
/// again under the lock and ends as stale when the answer is no longer what the plan saw.
std::string_view cursor_sql();

int workspaces_behind(const Ledger& ledger, const Version& at);

}  // namespace stackspec
