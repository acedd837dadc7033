// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "api/stack.hpp"
#include "twenty/component.hpp"

// What every pod of a stack has in common: it fulfils the `restricted` Pod Security Standard, goes
// where the StackSpec wants it, and gets its secrets by reference. Pure.

namespace stackspec::kubernetes {

struct PodUser {
  int uid = 1000, gid = 1000;
};

/// The parts of a pod that differ.
struct PodParts {
  std::string service_account;
  PodUser user;
  std::vector<nlohmann::json> containers;
  std::vector<nlohmann::json> volumes;
  bool shares_volumes = false;  ///< Must run on the node of the stack's volume group.
  std::string restart_policy = "Always";
  int termination_grace_seconds = 30;
};

nlohmann::json pod_spec(const Stack& stack, const PodParts& parts);

/// `env` and `envFrom` of a container. A name given twice counts as given last: the API accepts
/// both, and tools do not agree on which one is in force.
nlohmann::json env_json(const std::vector<EnvVar>& env);
nlohmann::json env_from_json(const std::vector<EnvFrom>& sources);
nlohmann::json resources_json(const Resources& resources);

nlohmann::json container_security(bool read_only_root);

nlohmann::json claim_volume(const std::string& volume, const std::string& claim);
nlohmann::json empty_volume(const std::string& volume);
nlohmann::json config_volume(const std::string& volume, const std::string& config_map);
nlohmann::json mount(const std::string& volume, const std::string& path);
/// One key of a ConfigMap as a file in a folder that holds other files.
nlohmann::json mount_file(const std::string& volume, const std::string& path,
                          const std::string& key);

}  // namespace stackspec::kubernetes
