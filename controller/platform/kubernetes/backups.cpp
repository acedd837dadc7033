// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/backups.hpp"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "api/codec.hpp"
#include "base/log.hpp"
#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/task_keeper.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr int kRemovalAttempts = 3;

std::int64_t number_of(const std::string& text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

BackupSeen backup_from(const Stack& stack, const std::string& id,
                       const std::map<std::string, std::string>& result) {
  const auto value = [&](const char* name) {
    const auto found = result.find(name);
    return found == result.end() ? std::string() : found->second;
  };
  BackupSeen backup;
  backup.id = id;
  backup.source_version = value("sourceVersion");
  backup.system_identifier = value("systemIdentifier");
  backup.cursor_key = value("cursorKey");
  backup.cutoff_time = value("cutoffTime");
  backup.cutoff_lsn = value("cutoffLsn");
  backup.sha256 = value("sha256");
  backup.size_bytes = number_of(value("sizeBytes"));
  backup.tables = static_cast<int>(number_of(value("tables")));
  backup.files = static_cast<int>(number_of(value("files")));
  backup.location = "claim " + name_of(stack.key, "backups") + ", folder " + id;
  const json fingerprints = json::parse(value("keyFingerprints"), nullptr, false);
  if (fingerprints.is_object()) {
    for (const auto& [key, one] : fingerprints.items()) {
      if (one.is_string()) backup.key_fingerprints[key] = one.get<std::string>();
    }
  }
  return backup;
}

ObjectKey record_key(const Stack& stack, const std::string& id) {
  return {"StackBackup", stack.key.ns, id};
}

Object new_record(const Stack& stack, const BackupSeen& backup) {
  Object object = kept(stack, "StackBackup", backup.id, "backup");
  object.labels[kRecordLabel] = "true";
  object.annotations[kBackupAnnotation] = backup_json(backup);
  object.content["spec"] =
      to_json(StackBackupSpec{.stack = stack.key.name, .reason = "before an upgrade"});
  return object;
}

/// The newest removal Job of a backup: its attempt and outcome.
struct Removal {
  int attempt = 0;
  std::string outcome;
};

Removal newest_removal(const Stack& stack, const Children& children, const std::string& id) {
  Removal newest;
  for (int attempt = 1; attempt <= kRemovalAttempts; ++attempt) {
    const TaskObjects task = render_backup_removal(stack, id, attempt, false);
    const auto job = children.jobs.find(task.job.key.name);
    if (job != children.jobs.end()) {
      // One that a crash left before its start counts as none: it is started again.
      const bool begun = job->second.started || !job->second.outcome.empty();
      if (begun) newest = {attempt, job->second.outcome};
    } else if (children.task_names.contains(task.job.key.name)) {
      newest = {attempt, "Interrupted"};
    }
  }
  return newest;
}

bool other_task_at_work(const Children& children) {
  return std::any_of(children.jobs.begin(), children.jobs.end(), [](const auto& one) {
    return one.second.kind != kRemoveBackup && one.second.outcome.empty();
  });
}

Result<void> start_removal(TaskKeeper& tasks, const Stack& stack, const Children& children,
                           const std::string& id, int attempt) {
  // A backup being made counts on content that only its own list will name.
  const bool sweep = !other_task_at_work(children);
  return tasks.start(stack, children, render_backup_removal(stack, id, attempt, sweep));
}

/// The record goes; a person's request only ceases to tell of a backup.
Result<void> drop_record(Writer& writer, const Stack& stack, const Children& children,
                         const std::string& id, const BackupChild& backup) {
  if (backup.record) return writer.remove(children, record_key(stack, id));
  return writer.modify(record_key(stack, id), [](Object& object) {
    object.annotations.erase(kBackupAnnotation);
    object.annotations.erase(kRemovingAnnotation);
  });
}

}  // namespace

Result<void> record_backup(Writer& writer, const Stack& stack, const std::string& id,
                           const std::map<std::string, std::string>& result) {
  const BackupSeen backup = backup_from(stack, id, result);
  bool foreign = false;
  auto noted = writer.modify(record_key(stack, id), [&](Object& object) {
    foreign = stack_of(object) != stack.key;
    if (!foreign) object.annotations.try_emplace(kBackupAnnotation, backup_json(backup));
  });
  if (foreign) {
    return Error{ErrorKind::Conflict,
                 "StackBackup " + id + " is of another stack; delete or rename it"};
  }
  if (noted || noted.error().kind != ErrorKind::NotFound) return noted;
  TRY(writer.create(new_record(stack, backup)));
  return {};
}

Result<void> record_proof(Writer& writer, const Stack& stack, const std::string& id,
                          const std::string& sha256) {
  auto noted = writer.modify(record_key(stack, id), [&](Object& object) {
    const auto stored = object.annotations.find(kBackupAnnotation);
    if (stored == object.annotations.end()) return;
    json value = json::parse(stored->second, nullptr, false);
    if (!value.is_object() || value.value("sha256", "") != sha256) return;
    value["proven"] = true;
    stored->second = value.dump();
  });
  // Somebody deleted the record: then there is nothing that could be proven.
  if (!noted && noted.error().kind == ErrorKind::NotFound) return {};
  return noted;
}

Result<void> remove_backup(Writer& writer, TaskKeeper& tasks, const Stack& stack,
                           const Children& children, const std::string& id) {
  if (id.empty() || id[0] == '.' || id == "files" || id.find('/') != std::string::npos) {
    return Error{ErrorKind::Invalid, "backup id " + id + " is no folder name of a backup"};
  }
  if (!children.backups.contains(id)) return {};
  auto noted = writer.modify(record_key(stack, id), [](Object& object) {
    object.annotations[kRemovingAnnotation] = "true";
  });
  if (!noted && noted.error().kind == ErrorKind::NotFound) return {};
  if (!noted) return noted;
  if (newest_removal(stack, children, id).attempt > 0) return {};
  return start_removal(tasks, stack, children, id, 1);
}

Result<bool> settle_removals(Writer& writer, TaskKeeper& tasks, const Stack& stack,
                             const Children& children) {
  for (const auto& [id, backup] : children.backups) {
    if (!backup.removing) continue;
    const Removal removal = newest_removal(stack, children, id);
    if (removal.outcome == "Ok") {
      TRY(drop_record(writer, stack, children, id, backup));
      return true;
    }
    const bool at_work = removal.attempt > 0 && removal.outcome.empty();
    if (at_work || removal.attempt >= kRemovalAttempts) continue;
    TRY(start_removal(tasks, stack, children, id, removal.attempt + 1));
    return true;
  }
  return false;
}

bool is_removing(const Children& children) {
  return std::any_of(children.jobs.begin(), children.jobs.end(), [](const auto& one) {
    return one.second.kind == kRemoveBackup && one.second.outcome.empty();
  });
}

std::vector<BackupSeen> backups_of(const Children& children) {
  std::vector<BackupSeen> all;
  for (const auto& [id, backup] : children.backups) {
    if (!backup.removing) all.push_back(backup.seen);
  }
  std::sort(all.begin(), all.end(), [](const BackupSeen& a, const BackupSeen& b) {
    return std::tie(a.cutoff_time, a.id) < std::tie(b.cutoff_time, b.id);
  });
  return all;
}

}  // namespace stackspec::kubernetes
