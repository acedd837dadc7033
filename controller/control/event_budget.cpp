// SPDX-License-Identifier: Apache-2.0
#include "control/event_budget.hpp"

#include <algorithm>
#include <functional>

namespace stackspec {

namespace {

constexpr std::chrono::minutes kForgetEvery{1};

}  // namespace

std::vector<Event> EventBudget::admit(const StackKey& stack, const std::vector<Event>& events,
                                      SteadyTime now) {
  std::vector<Event> admitted;
  const std::lock_guard lock(mutex_);
  if (now >= forget_at_) forget_old_locked(now);
  if (events.empty()) return admitted;
  Told& told = stacks_[stack];
  for (Event event : events) {
    Reason& reason = reason_of(told.reasons, std::hash<std::string>{}(event.reason));
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
  return admitted;
}

EventBudget::Reason& EventBudget::reason_of(std::vector<Reason>& reasons, std::size_t name) {
  const auto found = std::find_if(reasons.begin(), reasons.end(),
                                  [name](const Reason& one) { return one.name == name; });
  if (found != reasons.end()) return *found;
  reasons.push_back({.name = name});
  return reasons.back();
}

/// What has nothing left out and is full again says no more than a new one.
void EventBudget::forget_old_locked(SteadyTime now) {
  forget_at_ = now + kForgetEvery;
  for (auto& [key, told] : stacks_) {
    std::erase_if(told.reasons, [now](const Reason& reason) {
      return reason.left_out == 0 && reason.bucket.is_full(now);
    });
  }
  std::erase_if(stacks_, [now](const auto& one) {
    return one.second.reasons.empty() && one.second.bucket.is_full(now);
  });
}

std::size_t EventBudget::size() const {
  const std::lock_guard lock(mutex_);
  return stacks_.size();
}

void EventBudget::forget(const StackKey& stack) {
  const std::lock_guard lock(mutex_);
  stacks_.erase(stack);
}

}  // namespace stackspec
