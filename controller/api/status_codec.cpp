// SPDX-License-Identifier: Apache-2.0
#include "api/codec.hpp"
#include "api/fields.hpp"

namespace stackspec {

constexpr EnumName<Phase> kPhaseNames[] = {
    {Phase::Pending, "Pending"},
    {Phase::Installing, "Installing"},
    {Phase::Ready, "Ready"},
    {Phase::Upgrading, "Upgrading"},
    {Phase::Suspended, "Suspended"},
    {Phase::AwaitingApproval, "AwaitingApproval"},
    {Phase::RollingBack, "RollingBack"},
    {Phase::Degraded, "Degraded"},
};
constexpr const auto& enum_names(Of<Phase>) {
  return kPhaseNames;
}

template <class V>
void describe(V& v, Of<Blocked>) {
  v("gate", &Blocked::gate);
  v("seen", &Blocked::seen);
  v("wanted", &Blocked::wanted);
  v("next", &Blocked::next);
}

template <class V>
void describe(V& v, Of<Condition>) {
  v("type", &Condition::type);
  v("status", &Condition::status);
  v("reason", &Condition::reason);
  v("message", &Condition::message);
  v("observedGeneration", &Condition::observed_generation);
  v("lastTransitionTime", &Condition::last_transition_time);
}

template <class V>
void describe(V& v, Of<StepRecord>) {
  v("name", &StepRecord::name);
  v("hop", &StepRecord::hop);
  v("state", &StepRecord::state);
  v("startedAt", &StepRecord::started_at);
  v("finishedAt", &StepRecord::finished_at);
  v("message", &StepRecord::message);
}

template <class V>
void describe(V& v, Of<UpgradeStatus>) {
  v("id", &UpgradeStatus::id);
  v("kind", &UpgradeStatus::kind);
  v("from", &UpgradeStatus::from);
  v("to", &UpgradeStatus::to);
  v("path", &UpgradeStatus::path);
  v.always("hop", &UpgradeStatus::hop);
  v("hopTo", &UpgradeStatus::hop_to);
  v.always("pointOfNoReturn", &UpgradeStatus::point_of_no_return);
  v("step", &UpgradeStatus::step);
  v("stepIndex", &UpgradeStatus::step_index);
  v("stepTotal", &UpgradeStatus::step_total);
  v("steps", &UpgradeStatus::steps);
  v("planHash", &UpgradeStatus::plan_hash);
  v("backup", &UpgradeStatus::backup);
  v.always("attempt", &UpgradeStatus::attempt);
  v("startedAt", &UpgradeStatus::started_at);
  v("stepStartedAt", &UpgradeStatus::step_started_at);
  v("fencedAt", &UpgradeStatus::fenced_at);
  v("openedAt", &UpgradeStatus::opened_at);
  v.always("serverReplicas", &UpgradeStatus::server_replicas);
  v.always("workerReplicas", &UpgradeStatus::worker_replicas);
  v("reason", &UpgradeStatus::reason);
  v("message", &UpgradeStatus::message);
  v("requestedBy", &UpgradeStatus::requested_by);
}

template <class V>
void describe(V& v, Of<Latch>) {
  v("target", &Latch::target);
  v("reason", &Latch::reason);
  v("message", &Latch::message);
  v("backup", &Latch::backup);
}

template <class V>
void describe(V& v, Of<HistoryEntry>) {
  v("id", &HistoryEntry::id);
  v("kind", &HistoryEntry::kind);
  v("from", &HistoryEntry::from);
  v("to", &HistoryEntry::to);
  v("result", &HistoryEntry::result);
  v("finishedAt", &HistoryEntry::finished_at);
  v("message", &HistoryEntry::message);
}

template <class V>
void describe(V& v, Of<ComponentStatus>) {
  v("name", &ComponentStatus::name);
  v("version", &ComponentStatus::version);
  v("state", &ComponentStatus::state);
  v("message", &ComponentStatus::message);
  v.always("ready", &ComponentStatus::ready);
  v.always("wanted", &ComponentStatus::wanted);
}

template <class V>
void describe(V& v, Of<LastBackup>) {
  v("name", &LastBackup::name);
  v("finishedAt", &LastBackup::finished_at);
  v("sourceVersion", &LastBackup::source_version);
  v("proof", &LastBackup::proof);
  v("sizeBytes", &LastBackup::size_bytes);
}

template <class V>
void describe(V& v, Of<StackStatus>) {
  v.always("observedGeneration", &StackStatus::observed_generation);
  v.always("phase", &StackStatus::phase);
  v("message", &StackStatus::message);
  v("version", &StackStatus::version);
  v("targetVersion", &StackStatus::target_version);
  v("fundraisingVersion", &StackStatus::fundraising_version);
  v("url", &StackStatus::url);
  v("upgrade", &StackStatus::upgrade);
  v("latch", &StackStatus::latch);
  v("components", &StackStatus::components);
  v("workspaces.upToDate", &StackStatus::workspaces_up_to_date);
  v("workspaces.behind", &StackStatus::workspaces_behind);
  v("workspaces.failed", &StackStatus::workspaces_failed);
  v("migrations", &StackStatus::migrations);
  v("lastBackup", &StackStatus::last_backup);
  v("blockedBy", &StackStatus::blocked_by);
  v("history", &StackStatus::history);
  v("conditions", &StackStatus::conditions);
  v("systemIdentifier", &StackStatus::system_identifier);
  v("failures", &StackStatus::failures);
  v("retryAt", &StackStatus::retry_at);
  v("flagsAttempt", &StackStatus::flags_attempt);
  v("flagsApplied", &StackStatus::flags_applied);
  v("actionCount", &StackStatus::action_count);
  v("lastHandledRetry", &StackStatus::last_handled_retry);
  v("lastHandledReconcileAt", &StackStatus::last_handled_reconcile_at);
}

template <class V>
void describe(V& v, Of<StackBackupStatus>) {
  v.always("observedGeneration", &StackBackupStatus::observed_generation);
  v("conditions", &StackBackupStatus::conditions);
  v("phase", &StackBackupStatus::phase);
  v("proof", &StackBackupStatus::proof);
  v("sourceVersion", &StackBackupStatus::source_version);
  v("images", &StackBackupStatus::images);
  v("cutoff.time", &StackBackupStatus::cutoff_time);
  v("cutoff.lsn", &StackBackupStatus::cutoff_lsn);
  v("systemIdentifier", &StackBackupStatus::system_identifier);
  v("location", &StackBackupStatus::location);
  v("sha256", &StackBackupStatus::sha256);
  v("sizeBytes", &StackBackupStatus::size_bytes);
  v("files", &StackBackupStatus::files);
  v("keyFingerprints", &StackBackupStatus::key_fingerprints);
  v("message", &StackBackupStatus::message);
}

template <class V>
void describe(V& v, Of<StackRestoreStatus>) {
  v.always("observedGeneration", &StackRestoreStatus::observed_generation);
  v("conditions", &StackRestoreStatus::conditions);
  v("phase", &StackRestoreStatus::phase);
  v("message", &StackRestoreStatus::message);
}

std::string_view to_string(Phase phase) {
  for (const auto& entry : kPhaseNames) {
    if (entry.value == phase) return entry.name;
  }
  return "Unknown";
}

Result<StackStatus> stack_status_from_json(const nlohmann::json& status) {
  return fields::from_json<StackStatus>(status, "status");
}

Result<StackBackupStatus> backup_status_from_json(const nlohmann::json& status) {
  return fields::from_json<StackBackupStatus>(status, "status");
}

Result<StackRestoreStatus> restore_status_from_json(const nlohmann::json& status) {
  return fields::from_json<StackRestoreStatus>(status, "status");
}

nlohmann::json to_json(const StackStatus& status) {
  nlohmann::json json = fields::write(status);
  if (status.upgrade && status.upgrade->step_total > 0) {
    // A printer column shows one field; this one is for it and never read back.
    const UpgradeStatus& upgrade = *status.upgrade;
    json["upgrade"]["progress"] = std::to_string(upgrade.step_index) + "/" +
                                  std::to_string(upgrade.step_total) + " " + upgrade.step;
  }
  return json;
}

nlohmann::json to_json(const StackBackupStatus& status) {
  return fields::write(status);
}

nlohmann::json to_json(const StackRestoreStatus& status) {
  return fields::write(status);
}

}  // namespace stackspec
