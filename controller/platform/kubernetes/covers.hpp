// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

namespace stackspec::kubernetes {

/// Does `live` say everything that `wanted` says? What the API server adds by default is ignored;
/// lists must have equal lengths; quantities are compared by value (`0.5` is `500m`); an empty text
/// or container is the same as none. A few fields that change what runs (`command`, `envFrom`,
/// `initContainers`, …) may not be there unless wanted.
bool covers(const nlohmann::json& live, const nlohmann::json& wanted);

/// A Kubernetes quantity as a number: `1Gi` is 1073741824. Empty for anything else.
std::optional<long double> quantity(std::string_view text);

}  // namespace stackspec::kubernetes
