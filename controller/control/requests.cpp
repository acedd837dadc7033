// SPDX-License-Identifier: Apache-2.0
#include "control/requests.hpp"

#include <algorithm>
#include <set>

#include "api/codec.hpp"
#include "api/conditions.hpp"
#include "plan/plan.hpp"

namespace stackspec {

namespace {

std::string phase_of(const Object& object) {
  return object.status.is_object() ? object.status.value("phase", "") : "";
}

bool is_over(const std::string& phase) {
  return phase == "Proven" || phase == "Done" || phase == "Failed";
}

/// By the rules of kstatus, from the phase alone.
std::vector<Condition> conditions_of(const std::string& phase, const std::string& message,
                                     const std::vector<Condition>& before, std::int64_t generation,
                                     WallTime now) {
  std::vector<Condition> conditions;
  const auto set = [&](const char* type, const char* value) {
    add_condition(conditions,
                  {.type = type,
                   .status = value,
                   .reason = phase,
                   .message = message,
                   .observed_generation = generation,
                   .last_transition_time = to_rfc3339(now)},
                  before);
  };
  set("Ready", phase == "Proven" || phase == "Done" ? "True" : "False");
  if (phase == "Failed") set("Stalled", "True");
  if (!is_over(phase)) set("Reconciling", "True");
  return conditions;
}

template <class Status>
nlohmann::json told(Status status, const std::vector<Condition>& before, const Object& object,
                    WallTime now) {
  // An object that is only now made will have generation 1.
  status.observed_generation = std::max<std::int64_t>(object.generation, 1);
  status.conditions =
      conditions_of(status.phase, status.message, before, status.observed_generation, now);
  return to_json(status);
}

/// `before` is what the object says now; one that cannot be read counts as empty.
template <class Status>
Result<void> write(ObjectApi& objects, Object object, const Status& status,
                   const Result<Status>& before, WallTime now) {
  nlohmann::json news =
      told(status, before ? before->conditions : std::vector<Condition>(), object, now);
  if (object.status == news) return {};
  object.status = std::move(news);
  TRY(objects.update_status(object));
  return {};
}

StackBackupStatus status_of(const BackupSeen& backup) {
  StackBackupStatus status;
  status.phase = backup.proven ? "Proven" : "Running";
  status.proof = backup.proven ? "L4" : "L2";
  status.source_version = backup.source_version;
  status.cutoff_time = backup.cutoff_time;
  status.cutoff_lsn = backup.cutoff_lsn;
  status.system_identifier = backup.system_identifier;
  status.location = backup.location;
  status.sha256 = backup.sha256;
  status.size_bytes = backup.size_bytes;
  status.files = backup.files;
  status.key_fingerprints = backup.key_fingerprints;
  return status;
}

/// Of a backup somebody asked for, that is not proven yet. A task may have given a verdict, or been
/// interrupted thrice: then it never will be.
StackBackupStatus status_of_request(const Stack& stack, const Seen& seen,
                                    const std::string& request) {
  const std::string prefix = stack.key.name + "-" + request_journey(stack, request) + "-";
  StackBackupStatus status;
  status.phase = "Pending";
  status.message = "begins when the stack is at rest";
  int interrupted = 0;
  for (const TaskSeen& task : seen.tasks) {
    if (!task.name.starts_with(prefix)) continue;
    status.phase = "Running";
    status.message = "task " + task.name;
    if (task.outcome == Outcome::Interrupted) ++interrupted;
    const bool failed = task.outcome == Outcome::Failed;
    if (!failed && interrupted < 3) continue;
    status.phase = "Failed";
    status.message += failed ? ": " + task.log_tail : " was interrupted three times";
    break;
  }
  return status;
}

Result<void> report_backups(ObjectApi& objects, const std::vector<BackupObject>& backups,
                            const Pass& pass) {
  std::set<std::string> known;
  for (const auto& [object, spec] : backups) {
    const std::string& name = object.key.name;
    known.insert(name);
    const BackupSeen* backup = pass.seen.backup(name);
    const bool asked_for = !object.labels.contains(kRecordLabel);
    if (backup == nullptr && (!asked_for || is_over(phase_of(object)))) continue;
    StackBackupStatus status;
    if (asked_for) status = status_of_request(pass.stack, pass.seen, name);
    if (backup != nullptr && (backup->proven || status.phase != "Failed")) {
      status = status_of(*backup);
    }
    TRY(write(objects, object, status, backup_status_from_json(object.status), pass.now));
  }
  for (const BackupSeen& backup : pass.seen.backups) {
    if (known.contains(backup.id)) continue;
    Object object;
    object.key = {"StackBackup", pass.stack.key.ns, backup.id};
    object.labels[kStackLabel] = pass.stack.key.name;
    object.content["spec"] =
        to_json(StackBackupSpec{.stack = pass.stack.key.name, .reason = "before an upgrade"});
    object.status = told(status_of(backup), {}, object, pass.now);
    TRY(objects.create(object));
  }
  return {};
}

StackRestoreStatus status_of(const RestoreObject& restore, const Pass& pass) {
  const std::string& name = restore.object.key.name;
  const auto& journey = pass.status.upgrade;
  StackRestoreStatus now;
  if (journey && journey->requested_by == name) {
    now.phase = "Running";
    now.message = journey->step;
    return now;
  }
  for (const HistoryEntry& entry : pass.status.history) {
    if (entry.kind != "Restore" || entry.message != name) continue;
    now.phase = entry.result == "Restored" ? "Done" : "Failed";
    now.message = entry.result;
    return now;
  }
  now.phase = "Pending";
  now.message =
      why_not_restore(pass.seen, {name, restore.spec.backup, restore.spec.accept_loss_since});
  return now;
}

Result<void> report_restores(ObjectApi& objects, const std::vector<RestoreObject>& restores,
                             const Pass& pass) {
  for (const RestoreObject& restore : restores) {
    if (is_over(phase_of(restore.object))) continue;
    TRY(write(objects, restore.object, status_of(restore, pass),
              restore_status_from_json(restore.object.status), pass.now));
  }
  return {};
}

}  // namespace

Result<Requests> list_requests(ObjectApi& objects, const Stack& stack) {
  Requests requests;
  ObjectList backups = TRY(objects.list("StackBackup", stack.key.ns));
  for (Object& object : backups.items) {
    auto spec = backup_spec_from_json(object.content.value("spec", nlohmann::json::object()));
    if (!spec || spec->stack != stack.key.name) continue;
    requests.backups.push_back({std::move(object), std::move(spec).value()});
  }
  ObjectList restores = TRY(objects.list("StackRestore", stack.key.ns));
  for (Object& object : restores.items) {
    auto spec = restore_spec_from_json(object.content.value("spec", nlohmann::json::object()));
    if (!spec || spec->stack != stack.key.name) continue;
    requests.restores.push_back({std::move(object), std::move(spec).value()});
  }
  std::stable_sort(requests.restores.begin(), requests.restores.end(),
                   [](const RestoreObject& a, const RestoreObject& b) {
                     return a.object.creation_timestamp < b.object.creation_timestamp;
                   });
  return requests;
}

void add_requests(const Requests& requests, Seen& seen) {
  for (const auto& [object, spec] : requests.backups) {
    if (object.labels.contains(kRecordLabel) || is_over(phase_of(object))) continue;
    seen.backup_requests.push_back({object.key.name, spec.reason});
  }
  for (const auto& [object, spec] : requests.restores) {
    if (is_over(phase_of(object))) continue;
    // A location names a folder; what it holds is seen under the folder's last part.
    const std::string backup =
        spec.backup.empty() ? spec.location.substr(spec.location.rfind('/') + 1) : spec.backup;
    seen.restore_requests.push_back({object.key.name, backup, spec.accept_loss_since});
  }
}

Result<void> report_requests(ObjectApi& objects, const Requests& requests, const Pass& pass) {
  TRY(report_backups(objects, requests.backups, pass));
  return report_restores(objects, requests.restores, pass);
}

}  // namespace stackspec
