// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.hpp"

namespace stackspec {

/// What becomes of the `items` of a page.
struct Items {
  bool kept = true;
  /// Gets each instead when there is one; its error ends the reading.
  std::function<Result<void>(nlohmann::json&&)> take = {};
};

/// The JSON object in `text` without the `managedFields` of any `metadata`, which are not even
/// looked into. Errors: Unavailable, when it is none or is nested too deep to be copied; that of
/// `take`.
Result<nlohmann::json> read_answer(std::string_view text, const Items& items = {});

}  // namespace stackspec
