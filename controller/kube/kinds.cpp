// SPDX-License-Identifier: Apache-2.0
#include "kube/kinds.hpp"

#include <algorithm>
#include <iterator>

namespace stackspec {
namespace {

constexpr KindInfo kKinds[] = {
    {"StackSpec", "stackspec.dev", "v1alpha1", "stackspecs", true, true},
    {"StackBackup", "stackspec.dev", "v1alpha1", "stackbackups", true, true},
    {"StackRestore", "stackspec.dev", "v1alpha1", "stackrestores", true, true},
    {"ConfigMap", "", "v1", "configmaps"},
    {"Namespace", "", "v1", "namespaces", false},
    {"PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"},
    {"Pod", "", "v1", "pods"},
    {"Secret", "", "v1", "secrets"},
    {"Service", "", "v1", "services"},
    {"ServiceAccount", "", "v1", "serviceaccounts"},
    {"Deployment", "apps", "v1", "deployments"},
    {"StatefulSet", "apps", "v1", "statefulsets"},
    {"SelfSubjectAccessReview", "authorization.k8s.io", "v1", "selfsubjectaccessreviews", false},
    {"Job", "batch", "v1", "jobs"},
    {"Lease", "coordination.k8s.io", "v1", "leases"},
    {"Event", "events.k8s.io", "v1", "events"},
    {"Ingress", "networking.k8s.io", "v1", "ingresses"},
    {"NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"},
    {"PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"},
    {"StorageClass", "storage.k8s.io", "v1", "storageclasses", false},
};

}  // namespace

std::string KindInfo::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

std::string KindInfo::resource() const {
  return group.empty() ? std::string(plural) : std::string(plural) + "." + std::string(group);
}

const KindInfo* find_kind(std::string_view kind) {
  const auto* const found = std::find_if(std::begin(kKinds), std::end(kKinds),
                                         [&](const KindInfo& one) { return one.kind == kind; });
  return found == std::end(kKinds) ? nullptr : found;
}

}  // namespace stackspec
