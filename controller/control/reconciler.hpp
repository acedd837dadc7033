// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>

#include "catalog/catalog.hpp"
#include "control/event_budget.hpp"
#include "control/observe.hpp"
#include "objects/object_api.hpp"
#include "platform/platform.hpp"
#include "telemetry/telemetry.hpp"

namespace stackspec {

/// `bytes` random bytes as hexadecimal text, for generated secrets.
using RandomHex = std::function<std::string(int bytes)>;
RandomHex system_random();

struct ReconcilerParts {
  ObjectApi& objects;
  Platform& platform;
  Observer& observer;
  const Catalog& catalog;  ///< For stacks without catalogRef.
  Telemetry& telemetry;
  const Clock& clock;
  RandomHex random;
};

/// One pass over one stack: observe → plan → write the intent → act → report. The only place that
/// knows this order. Keeps nothing between passes but how much was told; different stacks from
/// different threads at once.
class Reconciler {
 public:
  explicit Reconciler(ReconcilerParts parts) : parts_(std::move(parts)) {}

  /// How long until the stack wants to be looked at again; max() when it is gone. Errors: Conflict
  /// (somebody wrote first: again at once), Unavailable and Internal (back off), Cancelled.
  Result<std::chrono::milliseconds> reconcile(const StackKey& key, std::stop_token stop);

 private:
  Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                   const std::stop_token& stop);

  ReconcilerParts parts_;
  EventBudget budget_;
};

}  // namespace stackspec
