// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "objects/object_api.hpp"

namespace stackspec {

/// As Kubernetes writes metadata.ownerReferences.
nlohmann::json to_json(const std::vector<Owner>& owners);

/// The reverse. Throws nlohmann::json::exception when it is something else.
std::vector<Owner> owners_from_json(const nlohmann::json& json);

/// Every field of an object, for the watch history and for the write log of the tests. Not the
/// form kubectl sees.
nlohmann::json to_json(const Object& object);

/// The reverse. Error: Internal when it is not what to_json() wrote.
Result<Object> object_from_json(const nlohmann::json& json);

}  // namespace stackspec
