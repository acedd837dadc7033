// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <stop_token>

#include "control/reconciler.hpp"

namespace stackspec {

struct ControllerOptions {
  int workers = 2;
  /// Workers begin when it has returned true; what they read from is filled before. Empty: at once.
  std::function<bool(const std::stop_token&)> wait_for_turn = {};
  /// Called when nobody has worked for ten seconds, and each half minute of rest after that. May be
  /// empty.
  std::function<void()> at_rest = {};
};

/// Watches StackSpecs (and what lies beside them), queues each changed stack once, and lets workers
/// reconcile them with back-off.
class Controller {
 public:
  Controller(ReconcilerParts parts, ControllerOptions options)
      : parts_(std::move(parts)), options_(std::move(options)) {}

  /// Blocks until `stop`; every thread it started has ended when it returns. Call once.
  void run(std::stop_token stop);

 private:
  ReconcilerParts parts_;
  ControllerOptions options_;
};

}  // namespace stackspec
