// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.hpp"
#include "objects/object_api.hpp"
#include "platform/platform.hpp"
#include "redis/redis.hpp"

namespace stackspec {

struct KubernetesOptions {
  std::string controller_namespace = "stackspec-system";  ///< Admitted by the NetworkPolicies.
  /// The last `bytes` of a container's log. Absent: tasks show no log and no progress.
  std::function<Result<std::string>(const std::string& ns, const std::string& pod,
                                    const std::string& container, int bytes)>
      pod_log;
  std::function<Result<void>(const RedisTarget& target, std::stop_token stop)> flush_redis;
};

/// Kinds the platform watches, for the ObjectApi's label selectors: all carry the label
/// `stackspec.dev/stack`, but StackBackup, which people make too.
std::span<const char* const> kubernetes_watched_kinds();

/// Stacks as Deployments, StatefulSets, Jobs and claims of a cluster, on `objects`, whose writes
/// may be refused by a leader's gate; reads and watches go on in a standby. A pass over a settled
/// stack reads nothing but memory. `objects` and `clock` must outlive the platform.
///
/// Besides looking, observe() does what is the platform's own business and decides nothing: it
/// writes down how tasks ended, keeps the records of backups, and prunes Jobs of the past.
std::unique_ptr<Platform> make_kubernetes_platform(ObjectApi& objects, KubernetesOptions options,
                                                   const Clock& clock);

}  // namespace stackspec
