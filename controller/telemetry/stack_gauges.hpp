// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/metric_family.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/stack.hpp"
#include "plan/plan.hpp"

// Internal to telemetry/.

namespace stackspec {

/// What the page says of one stack; everything comes from its status.
struct StackFacts {
  std::string version, target;
  Phase phase = Phase::Pending;
  std::optional<Step> step;
  /// Of each type in kConditionTypes the place in kConditionStatuses; -1: not told.
  std::array<std::int8_t, 4> conditions = {-1, -1, -1, -1};
  std::array<double, 3> workspaces{};  ///< up to date, behind, failed
  bool suspended = false, active = false, fenced = false, latched = false;
  double started = 0, finished = 0, step_started = 0;
  double hops_left = 0, failures = 0, blocked = 0;
  double backup_success = 0, backup_proven = 0, backup_bytes = 0;
};

/// Gauges with a stack in their labels, made at each scrape from the newest status: nothing to
/// remember when a value goes away, nothing to remove when a stack does. Any thread.
class StackGauges {
 public:
  void observe(const Stack& stack);
  void forget(const StackKey& key);
  std::vector<prometheus::MetricFamily> collect() const;

 private:
  mutable std::mutex mutex_;
  std::map<StackKey, StackFacts> stacks_;
};

/// Gauges and counters of this very process, as every Prometheus client library names them.
std::vector<prometheus::MetricFamily> process_metrics();

}  // namespace stackspec
