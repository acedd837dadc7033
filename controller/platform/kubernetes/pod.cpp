// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/pod.hpp"

#include <algorithm>

#include "platform/kubernetes/names.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

json tolerations_json(const std::vector<Toleration>& tolerations) {
  json list = json::array();
  for (const Toleration& one : tolerations) {
    json entry = json::object();
    if (!one.key.empty()) entry["key"] = one.key;
    if (!one.op.empty()) entry["operator"] = one.op;
    if (!one.value.empty()) entry["value"] = one.value;
    if (!one.effect.empty()) entry["effect"] = one.effect;
    list.push_back(std::move(entry));
  }
  return list;
}

/// A volume that one node mounts is no reason to wait for ever on another: all pods of the group
/// go to one node. The first of them may go anywhere, because it matches its own term.
json group_affinity(const StackKey& key) {
  json labels = json::object();
  labels[kVolumeGroupLabel] = key.name;
  json term = json::object();
  term["labelSelector"] = json::object({{"matchLabels", labels}});
  term["topologyKey"] = "kubernetes.io/hostname";
  json required = json::object();
  required["requiredDuringSchedulingIgnoredDuringExecution"] = json::array({term});
  return json::object({{"podAffinity", required}});
}

json pod_security(const PodUser& user) {
  json security = json::object();
  security["runAsNonRoot"] = true;
  security["runAsUser"] = user.uid;
  security["runAsGroup"] = user.gid;
  security["fsGroup"] = user.gid;
  // A volume with many files is not gone through at every start.
  security["fsGroupChangePolicy"] = "OnRootMismatch";
  security["seccompProfile"] = json::object({{"type", "RuntimeDefault"}});
  return security;
}

}  // namespace

json pod_spec(const Stack& stack, const PodParts& parts) {
  const Scheduling& scheduling = stack.spec.scheduling;
  json pod = json::object();
  pod["serviceAccountName"] = parts.service_account;
  pod["automountServiceAccountToken"] = false;
  // One environment variable for each Service of the namespace could override one of Twenty's.
  pod["enableServiceLinks"] = false;
  pod["securityContext"] = pod_security(parts.user);
  pod["restartPolicy"] = parts.restart_policy;
  pod["terminationGracePeriodSeconds"] = parts.termination_grace_seconds;
  pod["containers"] = parts.containers;
  if (!parts.volumes.empty()) pod["volumes"] = parts.volumes;
  if (!scheduling.node_selector.empty()) pod["nodeSelector"] = scheduling.node_selector;
  if (!scheduling.tolerations.empty()) {
    pod["tolerations"] = tolerations_json(scheduling.tolerations);
  }
  if (!scheduling.image_pull_secrets.empty()) {
    json secrets = json::array();
    for (const std::string& name : scheduling.image_pull_secrets) {
      secrets.push_back(json::object({{"name", name}}));
    }
    pod["imagePullSecrets"] = std::move(secrets);
  }
  if (parts.shares_volumes) pod["affinity"] = group_affinity(stack.key);
  return pod;
}

json env_json(const std::vector<EnvVar>& env) {
  json list = json::array();
  for (auto variable = env.begin(); variable != env.end(); ++variable) {
    const bool again = std::any_of(
        variable + 1, env.end(), [&](const EnvVar& later) { return later.name == variable->name; });
    if (again) continue;
    json entry = json::object({{"name", variable->name}});
    if (variable->secret) {
      json ref = json::object({{"name", variable->secret->name}, {"key", variable->secret->key}});
      entry["valueFrom"] = json::object({{"secretKeyRef", ref}});
    } else {
      entry["value"] = variable->value;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

json env_from_json(const std::vector<EnvFrom>& sources) {
  json list = json::array();
  for (const EnvFrom& source : sources) {
    const bool secret = !source.secret.empty();
    const json ref = json::object({{"name", secret ? source.secret : source.config_map}});
    json entry = json::object();
    entry[secret ? "secretRef" : "configMapRef"] = ref;
    list.push_back(std::move(entry));
  }
  return list;
}

json resources_json(const Resources& resources) {
  json out = json::object();
  if (!resources.requests.empty()) out["requests"] = resources.requests;
  if (!resources.limits.empty()) out["limits"] = resources.limits;
  return out;
}

json container_security(bool read_only_root) {
  json security = json::object();
  security["allowPrivilegeEscalation"] = false;
  security["readOnlyRootFilesystem"] = read_only_root;
  security["capabilities"] = json::object({{"drop", json::array({"ALL"})}});
  return security;
}

json claim_volume(const std::string& volume, const std::string& claim) {
  const json source = json::object({{"claimName", claim}});
  return json::object({{"name", volume}, {"persistentVolumeClaim", source}});
}

json empty_volume(const std::string& volume) {
  return json::object({{"name", volume}, {"emptyDir", json::object()}});
}

json config_volume(const std::string& volume, const std::string& config_map) {
  const json source = json::object({{"name", config_map}});
  return json::object({{"name", volume}, {"configMap", source}});
}

json mount(const std::string& volume, const std::string& path) {
  return json::object({{"name", volume}, {"mountPath", path}});
}

json mount_file(const std::string& volume, const std::string& path, const std::string& key) {
  return json::object(
      {{"name", volume}, {"mountPath", path}, {"subPath", key}, {"readOnly", true}});
}

}  // namespace stackspec::kubernetes
