// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "api/codec.hpp"

namespace stackspec {

/// Fields that are in the schema but do nothing yet: refused, so that nobody relies on them.
std::vector<Problem> not_supported_yet(const nlohmann::json& object);

}  // namespace stackspec
