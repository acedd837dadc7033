// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "platform/kubernetes/render.hpp"
#include "unit/platform_kubernetes/stacks.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

struct Talker {
  std::string ns;
  std::map<std::string, std::string> labels;
};

bool matches(const json& selector, const std::map<std::string, std::string>& labels) {
  const json wanted = selector.value("matchLabels", json::object());
  for (const auto& [name, value] : wanted.items()) {
    const auto found = labels.find(name);
    if (found == labels.end() || found->second != value) return false;
  }
  return true;
}

bool peer_matches(const json& peer, const std::string& home, const Talker& talker) {
  if (peer.contains("namespaceSelector")) {
    if (!matches(peer["namespaceSelector"], {{"kubernetes.io/metadata.name", talker.ns}})) {
      return false;
    }
  } else if (talker.ns != home) {
    return false;
  }
  return !peer.contains("podSelector") || matches(peer["podSelector"], talker.labels);
}

bool rule_admits(const json& rule, const std::string& home, const Talker& from, int port) {
  bool port_named = !rule.contains("ports");
  for (const json& one : rule.value("ports", json::array())) port_named |= one.at("port") == port;
  if (!port_named) return false;
  if (!rule.contains("from")) return true;
  for (const json& peer : rule["from"]) {
    if (peer_matches(peer, home, from)) return true;
  }
  return false;
}

/// As a network plugin decides: a pod that some policy selects gets only what a policy admits.
bool may_talk(const std::vector<Object>& policies, const Talker& from, const Talker& to, int port) {
  bool isolated = false;
  for (const Object& policy : policies) {
    const json& spec = policy.content.at("spec");
    if (policy.key.ns != to.ns || !matches(spec.at("podSelector"), to.labels)) continue;
    isolated = true;
    for (const json& rule : spec.value("ingress", json::array())) {
      if (rule_admits(rule, policy.key.ns, from, port)) return true;
    }
  }
  return !isolated;
}

TEST(NetworkPolicies, SayWhoMayTalkToWhom) {
  const Stack stack = complete();
  const auto policies = render_network_policies(stack, {"control"});
  const auto pod = [&](const char* component) {
    return Talker{stack.key.ns, labels_of(stack.key, component)};
  };
  const StackKey other{stack.key.ns, "other"};
  const std::map<std::string, Talker> talkers = {
      {"server", pod("server")},
      {"worker", pod("worker")},
      {"task", pod("task")},
      {"fundraising", pod("fundraising")},
      {"gateway", pod("gateway")},
      {"postgres", pod("postgres")},
      {"redis", pod("redis")},
      {"controller", {"control", {}}},
      {"ingress", {"ingress-nginx", {}}},
      {"neighbour", {stack.key.ns, {}}},
      {"other stack's server", {stack.key.ns, labels_of(other, "server")}},
  };
  struct Door {
    const char* component;
    int port;
    std::set<std::string> open_for;
  };
  std::set<std::string> everybody;
  for (const auto& [name, talker] : talkers) everybody.insert(name);
  const Door doors[] = {
      {"postgres", 5432, {"server", "worker", "task", "controller"}},
      {"redis", 6379, {"server", "worker", "task", "controller"}},
      {"server", 3000, {"gateway", "fundraising"}},
      {"fundraising", 4500, {"gateway"}},
      {"gateway", 4000, everybody},
      {"gateway", 4001, everybody},
      {"gateway", 4002, {"controller"}},
      {"worker", 3000, {}},
      {"task", 5432, {}},
      {"postgres", 22, {}},
      {"gateway", 80, {}},
  };
  for (const Door& door : doors) {
    for (const auto& [name, talker] : talkers) {
      EXPECT_EQ(may_talk(policies, talker, pod(door.component), door.port),
                door.open_for.contains(name))
          << name << " to " << door.component << ":" << door.port;
    }
  }
}

TEST(NetworkPolicies, LeaveTheWayOpenToADatabaseAndARedisOfSomebodyElse) {
  const Stack stack = with_external();
  const auto policies = render_network_policies(stack, {"control"});
  for (const Object& policy : policies) {
    // What no policy of the type Egress selects may reach everything.
    EXPECT_EQ(policy.content.at("spec").at("policyTypes"), json::array({"Ingress"}));
    EXPECT_NE(policy.key.name, "crm-postgres");
    EXPECT_NE(policy.key.name, "crm-redis");
  }
  const Talker server{stack.key.ns, labels_of(stack.key, "server")};
  EXPECT_TRUE(may_talk(policies, server, {"databases", {}}, 5432));
  EXPECT_FALSE(may_talk(policies, {"databases", {}}, server, 3000));
}

TEST(NetworkPolicies, OfOneStackDoNotIsolateAnother) {
  const auto policies = render_network_policies(quickstart(), {"control"});
  const StackKey other{quickstart().key.ns, "other"};
  EXPECT_TRUE(may_talk(policies, {"x", {}}, {other.ns, labels_of(other, "postgres")}, 5432));
}

TEST(Services, LeadToThePortsThatArePoliced) {
  const Stack stack = complete();
  const auto target = [](const Object& service) {
    return service.content.at("spec").at("ports").at(0).at("targetPort").get<int>();
  };
  EXPECT_EQ(target(render_service(stack, Component::Gateway, GatewayMode::Open)), 4000);
  EXPECT_EQ(target(render_service(stack, Component::Gateway, GatewayMode::Closed)), 4001);
  EXPECT_EQ(target(render_private_service(stack)), 4002);
  EXPECT_EQ(render_service(stack, Component::Gateway, GatewayMode::Open)
                .content.at("spec")
                .at("ports")
                .at(0)
                .at("port"),
            8080);
}

}  // namespace
}  // namespace stackspec::kubernetes
