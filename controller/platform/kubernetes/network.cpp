// SPDX-License-Identifier: Apache-2.0
#include <initializer_list>

#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/render.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

json port_json(const char* name, int port, int target) {
  return json::object(
      {{"name", name}, {"port", port}, {"targetPort", target}, {"protocol", "TCP"}});
}

json selector_json(const StackKey& key, std::string_view component) {
  json labels = json::object();
  labels[kStackLabel] = key.name;
  labels[kComponentLabel] = std::string(component);
  return labels;
}

Object service(const Stack& stack, const std::string& name, Component component, json ports) {
  Object object = owned(stack, "Service", name, to_string(component));
  json spec = json::object();
  spec["type"] = "ClusterIP";
  spec["selector"] = selector_json(stack.key, to_string(component));
  spec["ports"] = std::move(ports);
  object.content["spec"] = std::move(spec);
  return object;
}

// ---- who may talk to whom ----

json pods_of(const StackKey& key, std::string_view component) {
  const json selector = json::object({{"matchLabels", selector_json(key, component)}});
  return json::object({{"podSelector", selector}});
}

json namespace_of(const std::string& name) {
  json labels = json::object();
  labels["kubernetes.io/metadata.name"] = name;
  return json::object({{"namespaceSelector", json::object({{"matchLabels", labels}})}});
}

/// `from` empty: everybody.
json rule(std::vector<json> from, std::initializer_list<int> ports) {
  json rule = json::object();
  if (!from.empty()) rule["from"] = std::move(from);
  json list = json::array();
  for (const int port : ports) list.push_back(json::object({{"port", port}, {"protocol", "TCP"}}));
  rule["ports"] = std::move(list);
  return rule;
}

Object policy(const Stack& stack, std::string_view component, std::vector<json> rules) {
  const std::string part(component);
  Object object = owned(stack, "NetworkPolicy", name_of(stack.key, part), part);
  json spec = json::object();
  spec["podSelector"] = json::object({{"matchLabels", selector_json(stack.key, part)}});
  spec["policyTypes"] = json::array({"Ingress"});
  spec["ingress"] = std::move(rules);
  object.content["spec"] = std::move(spec);
  return object;
}

Object default_deny(const Stack& stack) {
  Object object = owned(stack, "NetworkPolicy", name_of(stack.key, "default-deny"), "stack");
  json labels = json::object();
  labels[kStackLabel] = stack.key.name;
  json spec = json::object();
  spec["podSelector"] = json::object({{"matchLabels", labels}});
  spec["policyTypes"] = json::array({"Ingress"});
  object.content["spec"] = std::move(spec);
  return object;
}

}  // namespace

Object render_service(const Stack& stack, Component component, GatewayMode mode) {
  const Endpoints at = cluster_endpoints(stack);
  json port;
  switch (component) {
    case Component::Postgres: port = port_json("postgres", at.postgres_port, 5432); break;
    case Component::Redis: port = port_json("redis", at.redis_port, 6379); break;
    case Component::Server: port = port_json("http", at.server_port, at.server_port); break;
    case Component::Fundraising:
      port = port_json("http", at.fundraising_port, at.fundraising_port);
      break;
    case Component::Gateway:
      port =
          port_json("http", at.gateway_port, mode == GatewayMode::Open ? kOpenPort : kClosedPort);
      break;
    case Component::Worker: break;
  }
  return service(stack, name_of(stack.key, to_string(component)), component, json::array({port}));
}

Object render_private_service(const Stack& stack) {
  return service(stack, name_of(stack.key, "gateway-private"), Component::Gateway,
                 json::array({port_json("private", kPrivatePort, kPrivatePort)}));
}

Object render_ingress(const Stack& stack) {
  const GatewaySpec& gateway = stack.spec.gateway;
  Object object = owned(stack, "Ingress", name_of(stack.key, "gateway"), "gateway");
  object.annotations = gateway.annotations;
  json service = json::object();
  service["name"] = name_of(stack.key, "gateway");
  service["port"] = json::object({{"number", cluster_endpoints(stack).gateway_port}});
  json path = json::object();
  path["path"] = "/";
  path["pathType"] = "Prefix";
  path["backend"] = json::object({{"service", service}});
  json rule = json::object();
  rule["host"] = gateway.host;
  rule["http"] = json::object({{"paths", json::array({path})}});
  json spec = json::object();
  if (!gateway.class_name.empty()) spec["ingressClassName"] = gateway.class_name;
  spec["rules"] = json::array({rule});
  if (!gateway.tls_secret.empty()) {
    json tls = json::object();
    tls["hosts"] = json::array({gateway.host});
    tls["secretName"] = gateway.tls_secret;
    spec["tls"] = json::array({tls});
  }
  object.content["spec"] = std::move(spec);
  return object;
}

std::vector<Object> render_network_policies(const Stack& stack, const RenderOptions& options) {
  const StackKey& key = stack.key;
  const json controller = namespace_of(options.controller_namespace);
  const std::vector<json> users_of_data = {pods_of(key, "server"), pods_of(key, "worker"),
                                           pods_of(key, kTaskComponent), controller};
  std::vector<Object> all = {default_deny(stack)};
  if (!stack.spec.database.external) {
    all.push_back(policy(stack, "postgres", {rule(users_of_data, {5432})}));
  }
  if (!stack.spec.redis.external_url) {
    all.push_back(policy(stack, "redis", {rule(users_of_data, {6379})}));
  }
  std::vector<json> users_of_server = {pods_of(key, "gateway")};
  if (!stack.spec.fundraising.version.empty()) {
    users_of_server.push_back(pods_of(key, "fundraising"));
    all.push_back(policy(stack, "fundraising", {rule({pods_of(key, "gateway")}, {4500})}));
  }
  all.push_back(policy(stack, "server", {rule(users_of_server, {3000})}));
  // Users come from wherever the ingress controller runs; the private listener passes the fence.
  all.push_back(policy(stack, "gateway",
                       {rule({}, {kOpenPort, kClosedPort}), rule({controller}, {kPrivatePort})}));
  return all;
}

}  // namespace stackspec::kubernetes
