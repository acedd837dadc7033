// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "control/reconciler.hpp"

namespace stackspec {

struct ControllerOptions {
  int workers = 2;
};

/// Watches StackSpecs (and what lies beside them), queues each changed stack once, and lets workers
/// reconcile them with back-off.
class Controller {
 public:
  Controller(ReconcilerParts parts, ControllerOptions options)
      : parts_(std::move(parts)), options_(options) {}

  /// Blocks until `stop`; every thread it started has ended when it returns. Call once.
  void run(std::stop_token stop);

 private:
  ReconcilerParts parts_;
  ControllerOptions options_;
};

}  // namespace stackspec
