// SPDX-License-Identifier: Apache-2.0
#include "api/conditions.hpp"

#include <utility>

namespace stackspec {

void add_condition(std::vector<Condition>& conditions, Condition condition,
                   const std::vector<Condition>& before) {
  for (const Condition& old : before) {
    if (old.type != condition.type || old.status != condition.status) continue;
    condition.last_transition_time = old.last_transition_time;
  }
  conditions.push_back(std::move(condition));
}

}  // namespace stackspec
