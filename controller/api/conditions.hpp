// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "api/stack.hpp"

namespace stackspec {

/// Appends `condition`, whose lastTransitionTime is now; where its type had that status `before`,
/// the time of then is kept: a new reason or message is no transition.
void add_condition(std::vector<Condition>& conditions, Condition condition,
                   const std::vector<Condition>& before);

}  // namespace stackspec
