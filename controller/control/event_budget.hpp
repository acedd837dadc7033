// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "api/stack.hpp"
#include "base/token_bucket.hpp"
#include "plan/plan.hpp"

namespace stackspec {

/// How much is told about one stack: of each reason ten at once and then one a minute, of all
/// reasons together fifty at once and then two a minute. Any thread.
class EventBudget {
 public:
  /// Those of `events` that may be told now. The next one of a reason of which some were left out
  /// says how many.
  std::vector<Event> admit(const StackKey& stack, const std::vector<Event>& events, SteadyTime now);

  /// The stack is gone.
  void forget(const StackKey& stack);

  /// Stacks of which something is remembered: those of the last minutes.
  std::size_t size() const;

 private:
  struct Reason {
    std::size_t name = 0;  ///< Hash of it.
    TokenBucket bucket{10, std::chrono::minutes(1)};
    int left_out = 0;
  };
  struct Told {
    TokenBucket bucket{50, std::chrono::seconds(30)};
    std::vector<Reason> reasons;
  };
  static Reason& reason_of(std::vector<Reason>& reasons, std::size_t name);
  void forget_old_locked(SteadyTime now);

  mutable std::mutex mutex_;
  std::map<StackKey, Told> stacks_;  // guarded by mutex_
  SteadyTime forget_at_{};           // guarded by mutex_
};

}  // namespace stackspec
