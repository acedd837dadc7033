// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/names.hpp"

namespace stackspec::kubernetes {

std::string name_of(const StackKey& key, std::string_view part) {
  return key.name + "-" + std::string(part);
}

std::map<std::string, std::string> labels_of(const StackKey& key, std::string_view component) {
  return {{kNameLabel, "twenty"},
          {kInstanceLabel, key.name},
          {kComponentLabel, std::string(component)},
          {kManagedByLabel, kManagedBy},
          {kStackLabel, key.name}};
}

Object kept(const Stack& stack, const std::string& kind, const std::string& name,
            std::string_view component) {
  Object object;
  object.key = {kind, stack.key.ns, name};
  object.labels = labels_of(stack.key, component);
  return object;
}

Object owned(const Stack& stack, const std::string& kind, const std::string& name,
             std::string_view component) {
  Object object = kept(stack, kind, name, component);
  object.owners = {{.api_version = kApiVersion,
                    .kind = "StackSpec",
                    .name = stack.key.name,
                    .uid = stack.uid,
                    .controller = true}};
  return object;
}

std::string postgres_claim(const Stack& stack) {
  const std::string& given = stack.spec.database.managed.existing_claim;
  return given.empty() ? name_of(stack.key, "postgres") : given;
}

std::string storage_claim(const Stack& stack) {
  const std::string& given = stack.spec.storage.existing_claim;
  return given.empty() ? name_of(stack.key, "storage") : given;
}

bool shares_node(const Stack& stack) {
  return !stack.spec.storage.s3 && stack.spec.storage.access_mode != "ReadWriteMany";
}

Endpoints cluster_endpoints(const Stack& stack) {
  const auto host = [&](std::string_view part) {
    return name_of(stack.key, part) + "." + stack.key.ns + ".svc";
  };
  Endpoints endpoints;
  endpoints.postgres_host = host("postgres");
  endpoints.redis_host = host("redis");
  endpoints.server_host = host("server");
  endpoints.fundraising_host = host("fundraising");
  endpoints.gateway_host = host("gateway");
  endpoints.gateway_private_host = host("gateway-private");
  endpoints.storage_path = kStoragePath;
  endpoints.backups_path = kBackupsPath;
  if (stack.spec.gateway.port != 0) endpoints.gateway_port = stack.spec.gateway.port;
  return endpoints;
}

}  // namespace stackspec::kubernetes
