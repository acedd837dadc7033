// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "api/stack.hpp"
#include "objects/object_api.hpp"
#include "plan/plan.hpp"
#include "twenty/component.hpp"

// A stack as Kubernetes objects. Pure: the same arguments give the same objects; what they are is
// told by the golden files of tests/unit/platform_kubernetes/.

namespace stackspec::kubernetes {

struct RenderOptions {
  std::string controller_namespace = "stackspec-system";  ///< May reach databases and gates.
};

/// What there is once, whatever runs: ServiceAccount, NetworkPolicies.
std::vector<Object> render_shared(const Stack& stack, const RenderOptions& options);

/// What a component needs beside its workload, in the order of writing: claims, ConfigMaps,
/// Services, the Ingress. `mode` is what the gateway's Service is switched to.
std::vector<Object> render_surroundings(const Stack& stack, Component component, GatewayMode mode);

/// The claims among them.
std::vector<Object> render_claims(const Stack& stack, Component component);

/// The Deployment or StatefulSet, with its revision. `upstreams` is what the gateway's upstreams
/// resolve to: nginx asks once, at its start, so another address is a reason for a new pod.
Object render_workload(const Stack& stack, const ComponentSpec& component,
                       const std::string& upstreams = {});
ObjectKey workload_key(const StackKey& key, Component component);

/// Of all that a workload has from the StackSpec beyond its ComponentSpec: scheduling, names of
/// claims, configuration. Another hash is drift.
std::string placement_of(const Stack& stack, Component component,
                         const std::string& upstreams = {});

/// The claim that backups are written to.
Object render_backups_claim(const Stack& stack);
/// The claim of stored files; only for local storage in a claim of ours.
Object render_storage_claim(const Stack& stack);

// ---- network.cpp ----

Object render_service(const Stack& stack, Component component, GatewayMode mode);
Object render_private_service(const Stack& stack);
Object render_ingress(const Stack& stack);
std::vector<Object> render_network_policies(const Stack& stack, const RenderOptions& options);

/// The ports of the gateway's container; the Service's own port is spec.gateway.port.
inline constexpr int kOpenPort = 4000, kClosedPort = 4001, kPrivatePort = 4002;

}  // namespace stackspec::kubernetes
