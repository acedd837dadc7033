// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "twenty/component.hpp"

// Internal to twenty/: the environments behind wanted_components() and task_environment().

namespace stackspec {

/// What the user gave, but for the names that are ours; then ours; the two switches that keep
/// migrations and cron registration off last. `role` is server, worker or task.
std::vector<EnvVar> twenty_environment(const StackKey& key, const StackSpec& spec,
                                       const Endpoints& endpoints, std::string_view role);

/// The user's, with the pacing knobs inside what Twenty's API allows; then where things are.
std::vector<EnvVar> fundraising_environment(const StackSpec& spec, const Endpoints& endpoints);

}  // namespace stackspec
