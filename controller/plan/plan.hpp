// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/stack.hpp"
#include "catalog/catalog.hpp"
#include "plan/seen.hpp"
#include "twenty/component.hpp"

// What the controller decides. Start reading here: Step is the ladder (docs/architecture.md),
// Action is everything the controller can do to the world, make_plan() is the decision.

namespace stackspec {

/// The rungs. The names appear in status.upgrade.step, events, metrics and the live view.
enum class Step {
  Plan,
  Preflight,
  Fence,
  Backup,
  Prove,
  Migrate,
  Verify,
  Open,
  Settle,    // the ladder
  Install,   ///< In place of Migrate when the database is empty.
  Unfence,   ///< Back to serving the old version; nothing was changed.
  RollBack,  ///< Database, files and image of the hop's start.
};
inline constexpr Step kAllSteps[] = {Step::Plan,   Step::Preflight, Step::Fence,   Step::Backup,
                                     Step::Prove,  Step::Migrate,   Step::Verify,  Step::Open,
                                     Step::Settle, Step::Install,   Step::Unfence, Step::RollBack};
std::string_view to_string(Step step);
std::optional<Step> parse_step(std::string_view name);

enum class TaskKind { Inspect, Install, Backup, Prove, Migrate, Restore, Flush, Flags };
inline constexpr TaskKind kAllTasks[] = {TaskKind::Inspect, TaskKind::Install, TaskKind::Backup,
                                         TaskKind::Prove,   TaskKind::Migrate, TaskKind::Restore,
                                         TaskKind::Flush,   TaskKind::Flags};
std::string_view to_string(TaskKind kind);  ///< Lower case: the script's name.

/// A task: a script of tasks/ with the image of `version`, under a name that is never used twice.
struct TaskSpec {
  std::string name;
  TaskKind kind = TaskKind::Inspect;
  std::string version;      ///< Release whose image (folder) it runs in; empty: PostgreSQL's.
  std::vector<EnvVar> env;  ///< Everything the script needs, STACKSPEC_* and Twenty's own.
  std::vector<EnvFrom> env_from;
  int deadline_seconds = 0;  ///< 0: none.
  /// Major of the server it works with, where that is not of our making; 0: the spec's.
  int postgres_major = 0;
  friend bool operator==(const TaskSpec&, const TaskSpec&) = default;
};

// ---- actions: each idempotent; a second time, after a crash or a lost reply, is a no-op ----

/// Makes the component run as said, or stops it (replicas 0). Never touches data.
struct ApplyComponent {
  ComponentSpec component;
  friend bool operator==(const ApplyComponent&, const ApplyComponent&) = default;
};
enum class GatewayMode { Open, Closed };
struct SwitchGateway {
  GatewayMode mode = GatewayMode::Closed;
  bool has_fundraising = false;
  friend bool operator==(const SwitchGateway&, const SwitchGateway&) = default;
};
struct StartTask {
  TaskSpec task;
  friend bool operator==(const StartTask&, const StartTask&) = default;
};
/// Ends a task that must not go on (suspend, retarget, time-out). Never sent to a migrate task.
struct StopTask {
  std::string name;
  friend bool operator==(const StopTask&, const StopTask&) = default;
};
/// Empties the stack's Redis. Only planned behind the fence, after a restore.
struct FlushRedis {
  friend bool operator==(const FlushRedis&, const FlushRedis&) = default;
};
struct DeleteBackup {
  std::string id;
  friend bool operator==(const DeleteBackup&, const DeleteBackup&) = default;
};
using Action =
    std::variant<ApplyComponent, SwitchGateway, StartTask, StopTask, FlushRedis, DeleteBackup>;
/// For logs, events and the test transcript: `apply server v1.16.6 x0`, `start task
/// crm-…-backup-1`.
std::string describe(const Action& action);

/// Something worth telling once. `reason` is one of kEventReasons (plan/report.hpp).
struct Event {
  enum class Type { Normal, Warning };
  Type type = Type::Normal;
  std::string reason;
  std::string message;
  friend bool operator==(const Event&, const Event&) = default;
};

/// One decision. The caller writes `status` if it differs from the stored one, and only when that
/// write succeeded carries out `action`: so the intent is always on disk before the deed. (Of an
/// edit, which plan_edit() decides, the intent is the spec.)
struct Plan {
  StackStatus status;
  std::optional<Action> action;
  std::chrono::milliseconds look_again_in{600000};
  std::vector<Event> events;
};

/// The decision, pure: the same arguments give the same plan. `stack.status` is the memory; `seen`
/// the world; `now` only ever compared with times in status.
Plan make_plan(const Stack& stack, const Seen& seen, const Catalog& catalog, WallTime now);

/// What an edit of a stack that is Ready asks for at once: a component that is not as the spec
/// says. Needs of `seen` only what the platform and the requests tell, so that nobody's database is
/// asked first; what it was like when the stack became Ready is good enough to restart a component.
/// Nothing: no such edit, or one that make_plan() must look at with all there is to see. Not worth
/// the look at the platform unless is_edited_at_rest().
bool is_edited_at_rest(const Stack& stack);
std::optional<Action> plan_edit(const Stack& stack, Seen seen, const Catalog& catalog,
                                WallTime now);

/// Why a restore that a person asked for cannot start, for the StackRestore's status; empty: it
/// can.
std::string why_not_restore(const Seen& seen, const RestoreRequest& request);
/// The part of task names that belongs to a StackBackup a person asked for.
std::string request_journey(const Stack& stack, const std::string& request);

/// Backups that may go under the policy: own, proven or not, never the newest proven, never one of
/// `protected_ids` (the path in flight). Oldest first.
std::vector<std::string> backups_to_delete(const std::vector<BackupSeen>& backups,
                                           const BackupPolicy& policy,
                                           const std::vector<std::string>& protected_ids,
                                           WallTime now);

}  // namespace stackspec
