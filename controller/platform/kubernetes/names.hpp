// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "api/stack.hpp"
#include "objects/object_api.hpp"
#include "twenty/component.hpp"

// The names, labels and annotations of everything that this platform makes. Labels are ours alone:
// those of a StackSpec are never copied, because a GitOps tool would take the copies for its own.

namespace stackspec::kubernetes {

inline constexpr const char* kNameLabel = "app.kubernetes.io/name";
inline constexpr const char* kInstanceLabel = "app.kubernetes.io/instance";
inline constexpr const char* kComponentLabel = "app.kubernetes.io/component";
inline constexpr const char* kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr const char* kManagedBy = "stackspec";
/// Pods with one value share volumes that only one node can mount.
inline constexpr const char* kVolumeGroupLabel = "stackspec.dev/volume-group";
inline constexpr const char* kTaskLabel = "stackspec.dev/task";  ///< Its kind, on Jobs and pods.
inline constexpr const char* kTaskComponent = "task";            ///< Value of the component label.

/// The content that was last written, as JSON: what is not covered by it was edited by hand.
inline constexpr const char* kAppliedAnnotation = "stackspec.dev/applied";
inline constexpr const char* kRevisionAnnotation = "stackspec.dev/revision";
inline constexpr const char* kVersionAnnotation = "stackspec.dev/version";
/// What a workload has from the StackSpec beyond its ComponentSpec.
inline constexpr const char* kPlacementAnnotation = "stackspec.dev/placement";
inline constexpr const char* kConfigurationAnnotation = "stackspec.dev/configuration";

inline constexpr const char* kStoragePath = "/app/packages/twenty-server/.local-storage";
inline constexpr const char* kBackupsPath = "/backups";

/// `<stack>-<part>`
std::string name_of(const StackKey& key, std::string_view part);

/// The labels of a child; `component` may also be `task` or `stack`.
std::map<std::string, std::string> labels_of(const StackKey& key, std::string_view component);

/// An object of the stack, owned by it: it goes with the StackSpec.
Object owned(const Stack& stack, const std::string& kind, const std::string& name,
             std::string_view component);
/// An object that outlives the StackSpec: data.
Object kept(const Stack& stack, const std::string& kind, const std::string& name,
            std::string_view component);

/// Names of the claims: those the spec names, else ours.
std::string postgres_claim(const Stack& stack);
std::string storage_claim(const Stack& stack);

/// Server, worker and tasks mount one volume that only one node can have.
bool shares_node(const Stack& stack);

/// Where the parts reach each other: Services, by names that work in every namespace.
Endpoints cluster_endpoints(const Stack& stack);

}  // namespace stackspec::kubernetes
