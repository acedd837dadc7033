// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.hpp"

namespace stackspec {

/// The JSON value of one YAML scalar, with the types that kubectl gives it: `yes` is true, `010` is
/// 8, `1.0` is 1, a date is a string. `tag` is the parser's: "?" plain, "!" quoted.
/// Error Invalid: a number that JSON cannot hold.
Result<nlohmann::json> yaml_scalar(const std::string& tag, const std::string& text);

/// The name that a scalar gives as a key: also typed, so `y: 2` is the field "true".
std::string yaml_key(const nlohmann::json& value, const std::string& text);

}  // namespace stackspec
