// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace stackspec {

/// Every reason an event of ours can have. Renaming one is an API change.
std::span<const std::string_view> event_reasons();

/// Gates the planner can name, for metrics (each exists from the start with 0).
std::span<const std::string_view> gate_names();

}  // namespace stackspec
