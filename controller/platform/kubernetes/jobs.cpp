// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/jobs.hpp"

#include <algorithm>

#include "base/hash.hpp"
#include "platform/kubernetes/children.hpp"
#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/pod.hpp"
#include "platform/kubernetes/render.hpp"
#include "tasks/task.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr const char* kScriptPath = "/stackspec";
constexpr const char* kScratchPath = "/scratch";
constexpr const char* kResultPath = "/dev/termination-log";
constexpr const char* kEntrypoint = "/app/entrypoint.sh";
constexpr int kGraceSeconds = 30;
constexpr int kTaskUser = 1000;  ///< Twenty's: what a task writes belongs to those who read it.

// initdb asks who it runs as, and the image of PostgreSQL does not know Twenty's user.
constexpr const char* kPasswd =
    "root:x:0:0:root:/:/bin/sh\nstackspec:x:1000:1000:stackspec:/tmp:/bin/sh\n";

// Debian's images keep the server's programs out of PATH.
constexpr const char* kPathLine = "PATH=$PATH$(printf ':%s' /usr/lib/postgresql/*/bin)\n";

// A backup vanishes by a rename, so that half of one is never seen. Content goes when nothing lists
// it; one backup without a readable list keeps everything.
constexpr const char* kRemoveScript = R"(set -eu
case $STACKSPEC_BACKUP_ID in
  '' | .* | */* | files) echo "$STACKSPEC_BACKUP_ID is no name of a backup" >&2; exit 14 ;;
esac
cd "$STACKSPEC_BACKUPS"
gone=.deleted-$STACKSPEC_BACKUP_ID
if [ -d "$STACKSPEC_BACKUP_ID" ]; then
  rm -rf "$gone"
  mv "$STACKSPEC_BACKUP_ID" "$gone"
fi
rm -rf "$gone"
[ "$STACKSPEC_SWEEP" = yes ] && [ -d files ] || exit 0
: >"$STACKSPEC_SCRATCH/listed"
for folder in */ .tmp-*/; do
  case $folder in files/ | '*/' | '.tmp-*/') continue ;; esac
  [ -r "$folder/files.tsv" ] || exit 0
  cut -f 1 "$folder/files.tsv" >>"$STACKSPEC_SCRATCH/listed"
done
sort -u "$STACKSPEC_SCRATCH/listed" >"$STACKSPEC_SCRATCH/kept"
for file in files/*; do
  [ -f "$file" ] || continue
  grep -qxF "${file#files/}" "$STACKSPEC_SCRATCH/kept" || rm -f "$file"
done
)";

/// What one kind of task runs in and touches.
struct TaskShape {
  std::string image;
  Resources resources;
  bool twenty = false;
  bool storage = false, backups = false;
};

const ComponentSpec* find(const std::vector<ComponentSpec>& all, Component which) {
  const auto found = std::find_if(
      all.begin(), all.end(), [which](const ComponentSpec& one) { return one.component == which; });
  return found == all.end() ? nullptr : &*found;
}

/// `major` 0: the one that the spec asks for.
std::string postgres_image(const Stack& stack, int major) {
  StackSpec managed = stack.spec;
  managed.database.external.reset();
  if (major != 0) managed.database.managed.version = std::to_string(major);
  const auto all = wanted_components(stack.key, managed, Version{}, cluster_endpoints(stack),
                                     std::string_view());
  return find(all, Component::Postgres)->image;
}

/// Removing files needs no PostgreSQL; where none is ours, Twenty's image is on the nodes anyway.
std::string removal_image(const Stack& stack) {
  const auto proven = parse_version(stack.status.version);
  if (!stack.spec.database.external || !proven) return postgres_image(stack, 0);
  const auto all = wanted_components(stack.key, stack.spec, *proven, cluster_endpoints(stack),
                                     std::string_view());
  return find(all, Component::Server)->image;
}

Result<TaskShape> shape_of(const Stack& stack, const TaskSpec& task) {
  TaskShape shape;
  const bool local_files = !stack.spec.storage.s3;
  switch (task.kind) {
    case TaskKind::Inspect: shape.twenty = true; break;
    case TaskKind::Install:
    case TaskKind::Migrate:
    case TaskKind::Flush:
    case TaskKind::Flags:
      shape.twenty = true;
      shape.storage = local_files;
      break;
    case TaskKind::Backup:
    case TaskKind::Restore:
      shape.backups = true;
      shape.storage = local_files;
      break;
    case TaskKind::Prove: shape.backups = true; break;
  }
  if (shape.backups && !stack.spec.backup.path.empty()) {
    return Error{ErrorKind::Invalid,
                 "spec.backup.destination.path is for one host; use spec.backup.destination.pvc"};
  }
  if (!shape.twenty) {
    shape.image = postgres_image(stack, task.postgres_major);
    return shape;
  }
  const auto version = parse_version(task.version);
  if (!version) {
    return Error{ErrorKind::Invalid, "task " + task.name + ": \"" + task.version +
                                         "\" is no release; this is a bug, report it"};
  }
  const auto all = wanted_components(stack.key, stack.spec, *version, cluster_endpoints(stack),
                                     std::string_view());
  shape.image = find(all, Component::Server)->image;
  shape.resources = find(all, Component::Server)->resources;
  return shape;
}

std::map<std::string, std::string> task_labels(const Stack& stack, const std::string& kind) {
  auto labels = labels_of(stack.key, kTaskComponent);
  labels[kTaskLabel] = kind;
  return labels;
}

Object script_map(const Stack& stack, const std::string& script) {
  json data = json::object();
  data["task.sh"] = kPathLine + script;
  data["passwd"] = kPasswd;
  const std::string hash = short_hash(data.dump());
  Object map = owned(stack, "ConfigMap", name_of(stack.key, "tasks-" + hash), kTaskComponent);
  map.content["data"] = std::move(data);
  map.content["immutable"] = true;
  return map;
}

/// By number, because a percentage or a maximum needs an owner with a scale, which a Job has not.
Object disruption_budget(const Stack& stack) {
  Object budget = owned(stack, "PodDisruptionBudget", disruption_name(stack.key), kTaskComponent);
  json labels = json::object();
  labels[kStackLabel] = stack.key.name;
  labels[kComponentLabel] = kTaskComponent;
  json spec = json::object();
  spec["minAvailable"] = 1;
  spec["selector"] = json::object({{"matchLabels", labels}});
  budget.content["spec"] = std::move(spec);
  return budget;
}

json failure_policy() {
  json codes = json::object();
  codes["containerName"] = kTaskContainer;
  codes["operator"] = "In";
  codes["values"] = json::array({10, 11, 12, 13, 14, 15, 16, 17, 18, 19});
  const json rule = json::object({{"action", "FailJob"}, {"onExitCodes", codes}});
  return json::object({{"rules", json::array({rule})}});
}

struct TaskParts {
  std::string name, kind, script_map;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> env_from;
  int deadline_seconds = 0;
};

json task_container(const TaskParts& task, const TaskShape& shape) {
  json container = json::object();
  container["name"] = kTaskContainer;
  container["image"] = shape.image;
  // The script itself calls Twenty's entrypoint where that is wanted.
  container["command"] = json::array({"sh", std::string(kScriptPath) + "/task.sh"});
  std::vector<EnvVar> env = task.env;
  env.push_back({"STACKSPEC_SCRATCH", kScratchPath, std::nullopt});
  env.push_back({"STACKSPEC_RESULT", kResultPath, std::nullopt});
  env.push_back({"STACKSPEC_ENTRYPOINT", kEntrypoint, std::nullopt});
  container["env"] = env_json(env);
  if (!task.env_from.empty()) container["envFrom"] = env_from_json(task.env_from);
  if (const json resources = resources_json(shape.resources); !resources.empty()) {
    container["resources"] = resources;
  }
  container["securityContext"] = container_security(!shape.twenty);
  container["terminationMessagePath"] = kResultPath;
  json mounts = json::array(
      {mount("script", kScriptPath), mount("scratch", kScratchPath), mount("tmp", "/tmp")});
  if (!shape.twenty) mounts.push_back(mount_file("script", "/etc/passwd", "passwd"));
  if (shape.storage) mounts.push_back(mount("storage", kStoragePath));
  if (shape.backups) mounts.push_back(mount("backups", kBackupsPath));
  container["volumeMounts"] = std::move(mounts);
  return container;
}

PodParts task_pod(const Stack& stack, const TaskParts& task, const TaskShape& shape) {
  PodParts parts;
  parts.service_account = stack.key.name;
  parts.user = {kTaskUser, kTaskUser};
  parts.restart_policy = "Never";
  parts.termination_grace_seconds = kGraceSeconds;
  parts.shares_volumes = shape.storage && shares_node(stack);
  parts.containers = {task_container(task, shape)};
  parts.volumes = {config_volume("script", task.script_map), empty_volume("scratch"),
                   empty_volume("tmp")};
  if (shape.storage) parts.volumes.push_back(claim_volume("storage", storage_claim(stack)));
  if (shape.backups) {
    parts.volumes.push_back(claim_volume("backups", name_of(stack.key, "backups")));
  }
  return parts;
}

Object render_job(const Stack& stack, const TaskParts& task, const TaskShape& shape) {
  Object job = owned(stack, "Job", task.name, kTaskComponent);
  job.labels = task_labels(stack, task.kind);
  job.annotations[kOutcomeAnnotation] = "";  // and so there are annotations to patch
  for (const EnvVar& variable : task.env) {
    const bool named = variable.name == "STACKSPEC_BACKUP_ID" && !variable.value.empty();
    if (named) job.annotations[kBackupIdAnnotation] = variable.value;
  }
  const PodParts parts = task_pod(stack, task, shape);
  json labels = job.labels;
  if (parts.shares_volumes) labels[kVolumeGroupLabel] = stack.key.name;
  json spec = json::object();
  spec["suspend"] = true;
  spec["backoffLimit"] = 0;
  spec["completions"] = 1;
  spec["parallelism"] = 1;
  spec["podReplacementPolicy"] = "Failed";
  spec["podFailurePolicy"] = failure_policy();
  if (task.deadline_seconds > 0) spec["activeDeadlineSeconds"] = task.deadline_seconds;
  json pod = json::object();
  pod["metadata"] = json::object({{"labels", labels}});
  pod["spec"] = pod_spec(stack, parts);
  spec["template"] = std::move(pod);
  job.content["spec"] = std::move(spec);
  return job;
}

TaskObjects render(const Stack& stack, TaskParts task, const TaskShape& shape,
                   const std::string& script) {
  TaskObjects objects;
  objects.script = script_map(stack, script);
  task.script_map = objects.script.key.name;
  objects.disruption = disruption_budget(stack);
  objects.job = render_job(stack, task, shape);
  return objects;
}

}  // namespace

std::string registry_name(const StackKey& key) {
  return name_of(key, "task-names");
}

std::string disruption_name(const StackKey& key) {
  return name_of(key, "tasks");
}

bool is_script_name(const StackKey& key, const std::string& config_map) {
  return config_map.starts_with(name_of(key, "tasks-"));
}

Result<TaskObjects> render_task(const Stack& stack, const TaskSpec& task) {
  const TaskShape shape = TRY(shape_of(stack, task));
  TaskParts parts;
  parts.name = task.name;
  parts.kind = std::string(to_string(task.kind));
  parts.env = task.env;
  parts.env_from = task.env_from;
  parts.deadline_seconds = task.deadline_seconds;
  return render(stack, std::move(parts), shape, task_script(task.kind));
}

TaskObjects render_backup_removal(const Stack& stack, const std::string& id, int attempt,
                                  bool sweep) {
  TaskShape shape;
  shape.image = removal_image(stack);
  shape.backups = true;
  TaskParts parts;
  parts.name =
      name_of(stack.key, "remove-" + short_hash(stack.uid + id) + "-") + std::to_string(attempt);
  parts.kind = kRemoveBackup;
  parts.env = {{"STACKSPEC_BACKUPS", kBackupsPath, std::nullopt},
               {"STACKSPEC_BACKUP_ID", id, std::nullopt},
               {"STACKSPEC_SWEEP", sweep ? "yes" : "no", std::nullopt}};
  parts.deadline_seconds = 3600;
  return render(stack, std::move(parts), shape, kRemoveScript);
}

}  // namespace stackspec::kubernetes
