// SPDX-License-Identifier: Apache-2.0
#include "control/event_budget.hpp"

namespace stackspec {

std::vector<Event> EventBudget::admit(const StackKey& stack, const std::vector<Event>& events,
                                      SteadyTime now) {
  std::vector<Event> admitted;
  if (events.empty()) return admitted;
  const std::lock_guard lock(mutex_);
  Told& told = stacks_[stack];
  for (Event event : events) {
    Reason& reason = told.reasons[event.reason];
    if (!reason.bucket.take(now) || !told.bucket.take(now)) {
      ++reason.left_out;
      continue;
    }
    if (reason.left_out > 0) {
      event.message +=
          " (and " + std::to_string(reason.left_out) + " more since the last one told)";
      reason.left_out = 0;
    }
    admitted.push_back(std::move(event));
  }
  // What has nothing left out and is full again says no more than a new one.
  std::erase_if(told.reasons, [now](const auto& one) {
    return one.second.left_out == 0 && one.second.bucket.is_full(now);
  });
  return admitted;
}

void EventBudget::forget(const StackKey& stack) {
  const std::lock_guard lock(mutex_);
  stacks_.erase(stack);
}

}  // namespace stackspec
