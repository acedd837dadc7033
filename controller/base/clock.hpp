// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace stackspec {

using WallTime = std::chrono::sys_seconds;  ///< For people: status, backup names, schedules.
using SteadyTime =
    std::chrono::steady_clock::time_point;  ///< For intervals: timeouts, backoff, leases.

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall_now() const = 0;
  virtual SteadyTime steady_now() const = 0;
};

/// The clocks of this machine. Lives as long as the program.
const Clock& system_clock();

/// RFC 3339 in UTC, whole seconds: `2026-11-21T09:00:00Z`, as Kubernetes writes metav1.Time.
std::string to_rfc3339(WallTime time);
/// Empty for anything but the form above.
std::optional<WallTime> parse_rfc3339(std::string_view text);

}  // namespace stackspec
