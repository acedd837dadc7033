// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

#include "base/clock.hpp"

namespace stackspec {

/// So many at once, and then one each `every`. Pure: the caller owns the clock. One thread.
class TokenBucket {
 public:
  constexpr TokenBucket(int burst, std::chrono::milliseconds every)
      : burst_(burst), every_(every) {}

  /// Takes one if there is one.
  bool take(SteadyTime now) {
    if (wait(now) > std::chrono::milliseconds(0)) return false;
    reserve(now);
    return true;
  }

  /// Takes one, now or in advance: how long until it is there.
  std::chrono::milliseconds reserve(SteadyTime now) {
    const auto left = wait(now);
    full_at_ = std::max(full_at_, now) + every_;
    return left;
  }

  /// Nothing of it is used up.
  bool is_full(SteadyTime now) const { return full_at_ <= now; }

 private:
  std::chrono::milliseconds wait(SteadyTime now) const {
    const auto early = full_at_ + every_ - burst_ * every_ - now;
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::ceil<std::chrono::milliseconds>(early));
  }

  int burst_ = 1;
  std::chrono::milliseconds every_{0};
  SteadyTime full_at_{};
};

}  // namespace stackspec
