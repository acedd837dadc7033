// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"
#include "base/embedded.hpp"

namespace stackspec {

/// crds/*.yaml, as they are applied to a cluster.
std::span<const EmbeddedFile> embedded_crds();

/// `openAPIV3Schema` of a kind's CRD; null when there is no such kind.
const nlohmann::json* crd_schema(std::string_view kind);

/// Kinds with a CRD.
const std::vector<std::string>& crd_kinds();

/// What the schema of the kind, its rules included, says against the object. `old` may be null.
std::vector<Problem> check_schema(std::string_view kind, const nlohmann::json& object,
                                  const nlohmann::json* old);

/// `did you mean "flags"?`, or nothing when no name is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& known);

}  // namespace stackspec
