// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/children.hpp"

#include <charconv>
#include <functional>

#include "base/log.hpp"
#include "platform/kubernetes/covers.hpp"
#include "platform/kubernetes/jobs.hpp"
#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/render.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

/// The value at a path, or null: what an API server leaves out is nothing.
const json& at(const json& value, std::initializer_list<const char*> path) {
  static const json nothing;
  const json* here = &value;
  for (const char* name : path) {
    if (!here->is_object()) return nothing;
    const auto found = here->find(name);
    if (found == here->end()) return nothing;
    here = &*found;
  }
  return *here;
}

std::string text(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

int number(const json& value, int otherwise = 0) {
  return value.is_number_integer() ? value.get<int>() : otherwise;
}

bool is_true(const json& value) {
  return value.is_boolean() && value.get<bool>();
}

std::string find(const std::map<std::string, std::string>& map, const char* name) {
  const auto found = map.find(name);
  return found == map.end() ? std::string() : found->second;
}

/// The condition of a type that is True.
const json& condition(const Object& object, std::string_view type) {
  static const json nothing;
  for (const json& one : at(object.status, {"conditions"})) {
    if (text(at(one, {"type"})) == type && text(at(one, {"status"})) == "True") return one;
  }
  return nothing;
}

PlainChild plain_of(const Object& object) {
  PlainChild child;
  child.leaving = !object.deletion_timestamp.empty();
  for (const Owner& owner : object.owners) {
    if (owner.controller) child.owner = owner_hash(owner.uid);
  }
  const std::string applied = find(object.annotations, kAppliedAnnotation);
  child.edited = applied.empty();
  if (child.edited) return child;
  child.applied = applied_hash(applied);
  const json wanted = json::parse(applied, nullptr, false);
  child.edited = !wanted.is_object() || !covers(object.content, at(wanted, {"content"})) ||
                 !covers(object.annotations, at(wanted, {"annotations"}));
  return child;
}

WorkloadChild workload_of(const Object& object) {
  WorkloadChild child;
  child.plain = plain_of(object);
  child.replicas = number(at(object.content, {"spec", "replicas"}), 1);
  child.status_replicas = number(at(object.status, {"replicas"}));
  child.observed = number(at(object.status, {"observedGeneration"})) >= object.generation;
  child.revision = find(object.annotations, kRevisionAnnotation);
  child.version = find(object.annotations, kVersionAnnotation);
  child.placement = find(object.annotations, kPlacementAnnotation);
  child.problem = text(at(condition(object, "ReplicaFailure"), {"message"}));
  return child;
}

// ---- pods ----

bool is_pull_problem(const std::string& reason) {
  return reason == "ImagePullBackOff" || reason == "ErrImagePull" || reason == "InvalidImageName" ||
         reason == "ErrImageNeverPull";
}

std::string exit_text(const json& terminated) {
  const std::string reason = text(at(terminated, {"reason"}));
  const bool telling = !reason.empty() && reason != "Error" && reason != "Completed";
  // A task's is JSON, and read by those who know what it means.
  std::string message = text(at(terminated, {"message"}));
  message = message.starts_with("{")
                ? ""
                : message.substr(0, std::min<std::size_t>(message.find('\n'), 200));
  return "exit code " + std::to_string(number(at(terminated, {"exitCode"}))) +
         (telling ? " (" + reason + ")" : "") +
         (message.empty() ? "" : ": " + log::masked(message));
}

/// Why a container does not run, in words that stay the same while the reason does.
std::string container_problem(const json& container) {
  const json& waiting = at(container, {"state", "waiting"});
  const std::string reason = text(at(waiting, {"reason"}));
  // The kubelet swaps two reasons and two texts for as long as an image cannot be had.
  if (is_pull_problem(reason)) return "ImagePullBackOff: image " + text(at(container, {"image"}));
  const json& last = at(container, {"lastState", "terminated"});
  if (reason == "CrashLoopBackOff") {
    return reason + (last.is_null() ? std::string() : ": " + exit_text(last));
  }
  if (!reason.empty() && reason != "ContainerCreating" && reason != "PodInitializing") {
    const std::string message = text(at(waiting, {"message"}));
    return reason + (message.empty() ? "" : ": " + message.substr(0, 200));
  }
  const json& terminated = at(container, {"state", "terminated"});
  return terminated.is_null() ? std::string() : exit_text(terminated);
}

void read_containers(const Object& object, PodChild& child) {
  for (const json& container : at(object.status, {"containerStatuses"})) {
    child.restarts += number(at(container, {"restartCount"}));
    if (child.problem.empty()) child.problem = container_problem(container);
    const std::string reason = text(at(container, {"state", "waiting", "reason"}));
    child.unpullable |= is_pull_problem(reason) && reason != "ErrImagePull";
    const json& terminated = at(container, {"state", "terminated"});
    if (terminated.is_null() || text(at(container, {"name"})) != kTaskContainer) continue;
    child.exit_code = number(at(terminated, {"exitCode"}), -1);
    child.result = text(at(terminated, {"message"}));
  }
}

PodChild pod_of(const Object& object) {
  PodChild child;
  child.component = find(object.labels, kComponentLabel);
  child.job = find(object.labels, "batch.kubernetes.io/job-name");
  child.revision = find(object.annotations, kRevisionAnnotation);
  child.deleting = !object.deletion_timestamp.empty();
  const std::string phase = text(at(object.status, {"phase"}));
  child.alive = phase != "Succeeded" && phase != "Failed";
  child.ready = child.alive && !child.deleting && !condition(object, "Ready").is_null();
  read_containers(object, child);
  const std::string reason = text(at(object.status, {"reason"}));
  if (child.problem.empty() && !reason.empty()) {
    child.problem = reason + ": " + text(at(object.status, {"message"})).substr(0, 200);
  }
  for (const json& one : at(object.status, {"conditions"})) {
    const bool unschedulable =
        text(at(one, {"type"})) == "PodScheduled" && text(at(one, {"reason"})) == "Unschedulable";
    if (!unschedulable || text(at(one, {"status"})) == "True") continue;
    child.problem = "Unschedulable: " + text(at(one, {"message"})).substr(0, 200);
  }
  return child;
}

JobChild job_of(const Object& object) {
  JobChild child;
  child.kind = find(object.labels, kTaskLabel);
  child.created = object.creation_timestamp;
  child.suspended = is_true(at(object.content, {"spec", "suspend"}));
  child.started = object.annotations.contains(kStartedAnnotation);
  // FailureTarget and SuccessCriteriaMet come earlier, while pods may still run.
  child.complete = !condition(object, "Complete").is_null();
  const json& failed = condition(object, "Failed");
  child.failed = !failed.is_null();
  child.failure = text(at(failed, {"message"}));
  child.backup_id = find(object.annotations, kBackupIdAnnotation);
  child.outcome = find(object.annotations, kOutcomeAnnotation);
  const std::string code = find(object.annotations, kExitCodeAnnotation);
  std::from_chars(code.data(), code.data() + code.size(), child.exit_code);
  child.result = find(object.annotations, kResultAnnotation);
  child.log = find(object.annotations, kLogAnnotation);
  child.progress = find(object.annotations, kProgressAnnotation);
  return child;
}

// ---- backups ----

std::optional<BackupChild> backup_of(const Object& object) {
  const std::string stored = find(object.annotations, kBackupAnnotation);
  const json value = json::parse(stored, nullptr, false);
  if (!value.is_object()) return {};
  BackupChild child;
  BackupSeen& seen = child.seen;
  seen.id = object.key.name;
  seen.source_version = text(at(value, {"sourceVersion"}));
  seen.system_identifier = text(at(value, {"systemIdentifier"}));
  seen.cursor_key = text(at(value, {"cursorKey"}));
  seen.cutoff_time = text(at(value, {"cutoffTime"}));
  seen.cutoff_lsn = text(at(value, {"cutoffLsn"}));
  seen.sha256 = text(at(value, {"sha256"}));
  if (at(value, {"sizeBytes"}).is_number_integer()) value["sizeBytes"].get_to(seen.size_bytes);
  seen.tables = number(at(value, {"tables"}));
  seen.files = number(at(value, {"files"}));
  seen.proven = is_true(at(value, {"proven"}));
  seen.location = text(at(value, {"location"}));
  for (const auto& [key, fingerprint] : at(value, {"keyFingerprints"}).items()) {
    seen.key_fingerprints[key] = text(fingerprint);
  }
  child.record = object.labels.contains(kRecordLabel);
  child.removing = object.annotations.contains(kRemovingAnnotation);
  return child;
}

// ---- what goes where ----

/// What the gateway passes requests on to.
constexpr Component kUpstreams[] = {Component::Server, Component::Fundraising};

std::optional<Component> component_of(const std::string& name) {
  for (const Component component : kAllComponents) {
    if (to_string(component) == name) return component;
  }
  return {};
}

template <class Map, class Key, class Child>
bool put(Map& map, const Key& key, Child child) {
  const auto [found, is_new] = map.try_emplace(key);
  if (!is_new && found->second == child) return false;
  found->second = std::move(child);
  return true;
}

bool is_registry(const Object& object) {
  return object.key.kind == "ConfigMap" && object.key.name == registry_name(stack_of(object));
}

std::map<std::string, std::string> texts_of(const json& data) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : data.items()) out[key] = text(value);
  return out;
}

std::optional<GatewayDoor> door_of(const Object& object) {
  if (object.key.kind != "Service" || object.key.name != name_of(stack_of(object), "gateway")) {
    return {};
  }
  const auto leads_to_open = [](const json& content) {
    const json& ports = at(content, {"spec", "ports"});
    return ports.is_array() && ports.size() == 1 &&
           number(at(ports.front(), {"targetPort"})) == kOpenPort;
  };
  const json applied = json::parse(find(object.annotations, kAppliedAnnotation), nullptr, false);
  return GatewayDoor{leads_to_open(at(applied, {"content"})), leads_to_open(object.content)};
}

bool put_plain(Children& children, const Object& object) {
  bool changed = put(children.plain, key_hash(object.key), plain_of(object));
  const StackKey stack = stack_of(object);
  if (object.key.kind == "ConfigMap" && is_script_name(stack, object.key.name)) {
    changed |= children.scripts.insert(object.key.name).second;
  }
  if (object.key.kind == "PodDisruptionBudget") children.disruption = true;
  if (is_registry(object)) {
    auto names = texts_of(at(object.content, {"data"}));
    changed |= names != children.task_names;
    children.task_names = std::move(names);
  }
  for (const Component upstream : kUpstreams) {
    const std::string service = name_of(stack, to_string(upstream));
    if (object.key.kind != "Service" || object.key.name != service) continue;
    changed |= put(children.addresses, upstream, text(at(object.content, {"spec", "clusterIP"})));
  }
  if (auto door = door_of(object)) {
    changed |= children.door != door;
    children.door = door;
  }
  return changed;
}

}  // namespace

std::size_t key_hash(const ObjectKey& key) {
  return std::hash<std::string>{}(key.kind + "/" + key.ns + "/" + key.name);
}

std::string applied_text(const Object& wanted) {
  std::string text = R"({"annotations":)" + json(wanted.annotations).dump() + R"(,"content":)" +
                     wanted.content.dump();
  // A stack made anew under an old name is another one.
  if (!wanted.owners.empty()) text += R"(,"owner":)" + json(wanted.owners.front().uid).dump();
  return text + "}";
}

std::size_t applied_hash(std::string_view text) {
  const std::size_t hash = std::hash<std::string_view>{}(text);
  return hash == 0 ? 1 : hash;
}

int owner_hash(const std::string& uid) {
  const auto hash = static_cast<int>(std::hash<std::string>{}(uid));
  return hash == 0 ? 1 : hash;
}

StackKey stack_of(const Object& object) {
  if (object.key.kind == "StackBackup") {
    return {object.key.ns, text(at(object.content, {"spec", "stackRef", "name"}))};
  }
  return {object.key.ns, find(object.labels, kStackLabel)};
}

bool put_child(Children& children, const Object& object) {
  const std::string& kind = object.key.kind;
  const std::string& name = object.key.name;
  if (kind == "Deployment" || kind == "StatefulSet") {
    const auto component = component_of(find(object.labels, kComponentLabel));
    return component && put(children.workloads, *component, workload_of(object));
  }
  if (kind == "Pod") return put(children.pods, name, pod_of(object));
  if (kind == "Job") return put(children.jobs, name, job_of(object));
  if (kind == "PersistentVolumeClaim") {
    const std::string size = text(at(object.content, {"spec", "resources", "requests", "storage"}));
    return put(children.claims, name, ClaimChild{size});
  }
  if (kind == "StackBackup") {
    auto backup = backup_of(object);
    if (!backup) return children.backups.erase(name) > 0;
    return put(children.backups, name, std::move(*backup));
  }
  return put_plain(children, object);
}

bool remove_child(Children& children, const StackKey& stack, const std::string& kind,
                  std::size_t hash) {
  const auto is_it = [&](const std::string& name) {
    return key_hash({kind, stack.ns, name}) == hash;
  };
  const auto erase_named = [&](auto& map) {
    return std::erase_if(map, [&](const auto& one) { return is_it(one.first); }) > 0;
  };
  if (kind == "Deployment" || kind == "StatefulSet") {
    return std::erase_if(children.workloads, [&](const auto& one) {
             return key_hash(workload_key(stack, one.first)) == hash;
           }) > 0;
  }
  if (kind == "Pod") return erase_named(children.pods);
  if (kind == "Job") return erase_named(children.jobs);
  if (kind == "PersistentVolumeClaim") return erase_named(children.claims);
  if (kind == "StackBackup") return erase_named(children.backups);
  if (kind == "ConfigMap") {
    std::erase_if(children.scripts, is_it);
    if (is_it(registry_name(stack))) children.task_names.clear();
  }
  if (kind == "PodDisruptionBudget") children.disruption = false;
  if (kind == "Service") {
    if (is_it(name_of(stack, "gateway"))) children.door.reset();
    std::erase_if(children.addresses,
                  [&](const auto& one) { return is_it(name_of(stack, to_string(one.first))); });
  }
  return children.plain.erase(hash) > 0;
}

std::string backup_json(const BackupSeen& backup) {
  json value = json::object();
  value["sourceVersion"] = backup.source_version;
  value["systemIdentifier"] = backup.system_identifier;
  value["cursorKey"] = backup.cursor_key;
  value["cutoffTime"] = backup.cutoff_time;
  value["cutoffLsn"] = backup.cutoff_lsn;
  value["sha256"] = backup.sha256;
  value["sizeBytes"] = backup.size_bytes;
  value["tables"] = backup.tables;
  value["files"] = backup.files;
  value["proven"] = backup.proven;
  value["location"] = backup.location;
  value["keyFingerprints"] = backup.key_fingerprints;
  return value.dump();
}

}  // namespace stackspec::kubernetes
