// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/stack.hpp"
#include "plan/plan.hpp"
#include "platform/kubernetes/names.hpp"

// The stacks that the tests of this folder work on.

namespace stackspec::kubernetes {

inline Stack quickstart() {
  Stack stack;
  stack.key = {"crm-ns", "crm"};
  stack.uid = "0d4b6f5e-0000-4000-8000-000000000001";
  stack.spec.tag = "v1.16.6";
  stack.spec.server_url = "https://crm.example.org";
  return stack;
}

/// Every field that this platform reads.
inline Stack complete() {
  Stack stack = quickstart();
  StackSpec& spec = stack.spec;
  spec.env = {{"LOG_LEVEL", "warn"}};
  spec.env_from = {{"crm-smtp", ""}, {"", "crm-settings"}};
  spec.server = {2, {{{"cpu", "500m"}, {"memory", "1Gi"}}, {{"memory", "4Gi"}}}};
  spec.worker = {2, {{}, {{"memory", "2Gi"}}}, 300};
  spec.database.managed = {"50Gi", "fast", "", "15"};
  spec.redis.size = "2Gi";
  spec.storage = {"30Gi", "", "ReadWriteMany", {}};
  spec.fundraising = {"v0.1.0", "docker.io/example/fundraising:v0.1.0", {}, {{"crm-fund", ""}}};
  spec.gateway = {"crm.example.org", "nginx", {{"example.org/size", "100m"}}, "crm-tls", 8080};
  spec.images = {"registry.example.org/postgres:15", "registry.example.org/redis:7",
                 "registry.example.org/nginx:1"};
  spec.scheduling = {{{"disk", "ssd"}},
                     {{"dedicated", "Equal", "crm", "NoSchedule"}, {"", "Exists", "", ""}},
                     {"pull"}};
  spec.backup.pvc_size = "200Gi";
  return stack;
}

inline Stack adopted() {
  Stack stack = quickstart();
  stack.spec.database.managed.existing_claim = "old-db";
  stack.spec.storage.existing_claim = "old-files";
  stack.spec.secrets_ref = "old-secrets";
  return stack;
}

inline Stack with_s3() {
  Stack stack = quickstart();
  stack.spec.storage.s3 = S3Storage{"files", "eu-west-1", "", "crm-s3"};
  return stack;
}

/// Database and Redis of somebody else, the database shared and behind a pooler.
inline Stack with_external() {
  Stack stack = quickstart();
  stack.spec.database.external =
      ExternalDatabase{{"crm-db", "url"}, SecretKeyRef{"crm-db", "direct"}, true};
  stack.spec.redis.external_url = SecretKeyRef{"crm-redis", "url"};
  return stack;
}

inline std::vector<ComponentSpec> components_of(const Stack& stack) {
  return wanted_components(stack.key, stack.spec, stack.spec.target(), cluster_endpoints(stack),
                           "");
}

inline ComponentSpec component_of(const Stack& stack, Component which, int replicas = 1) {
  for (ComponentSpec& one : components_of(stack)) {
    if (one.component != which) continue;
    one.replicas = replicas;
    return std::move(one);
  }
  return {};
}

inline TaskSpec task_of(const Stack& stack, TaskKind kind, const std::string& name) {
  TaskSpec task;
  task.name = name;
  task.kind = kind;
  const bool twenty =
      kind != TaskKind::Backup && kind != TaskKind::Prove && kind != TaskKind::Restore;
  if (twenty) task.version = "v1.16.6";
  task.env = database_environment(stack.key, stack.spec, cluster_endpoints(stack), to_string(kind));
  task.env.push_back({"STACKSPEC_TASK", name, std::nullopt});
  task.env.push_back({"STACKSPEC_BACKUP_ID", twenty ? "" : "b1", std::nullopt});
  task.deadline_seconds = 600;
  if (stack.spec.database.external) task.postgres_major = 15;
  return task;
}

}  // namespace stackspec::kubernetes
