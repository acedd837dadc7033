// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/stack.hpp"
#include "http/http.hpp"
#include "plan/plan.hpp"

// Every metric of the program on one page. Names of controller-runtime where it has them, so that
// existing dashboards work, `stackspec_*` otherwise. docs/metrics.md is generated from here.

namespace stackspec {

enum class ReconcileResult { Success, Error, Requeue, RequeueAfter };
enum class GateResult { Passed, Blocked };
enum class ActionResult { Done, Failed };
/// How a journey (install, upgrade, restore) ended.
enum class JourneyResult { Succeeded, Unfenced, RolledBack, Stalled };
enum class BackupResult { Proven, Failed };

/// The queue at one moment, for gauges.
struct QueueNumbers {
  int depth = 0;                  ///< Due and waiting.
  double unfinished_seconds = 0;  ///< Sum over what is being worked on.
  double longest_running_seconds = 0;
};

/// Counts what happened and shows what is. Any thread. Everything with a stack in its labels is
/// rebuilt from the stack's status, so a restart forgets nothing and a deleted stack leaves
/// nothing.
class Telemetry {
 public:
  Telemetry(std::string version, std::string commit);
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;

  // ---- the control loop ----
  void set_workers(int most);
  void reconcile_started();
  void reconcile_finished(ReconcileResult result, double seconds);
  void reconcile_panicked();  ///< An exception reached the last catch of a worker.
  void queue_added();
  void queue_retried();
  void queue_handed_out(double waited_seconds);
  void queue_done(double worked_seconds);
  void queue_seen(const QueueNumbers& numbers);

  // ---- what it did ----
  void gate_evaluated(std::string_view gate, GateResult result);
  void action_finished(const Action& action, ActionResult result);
  void status_written();
  void journey_finished(std::string_view kind, JourneyResult result, double seconds);
  void step_finished(Step step, double seconds);
  /// The fence to the opening: how long users saw the maintenance page.
  void outage_finished(double seconds);
  void backup_finished(BackupResult result, double seconds);

  // ---- what is ----
  void observe(const Stack& stack);
  void forget(const StackKey& key);

  const std::string& version() const;
  const std::string& commit() const;
  /// The exposition (text format 0.0.4), process metrics read now.
  std::string page() const;
  /// One table row per family, from the HELP texts: the body of docs/metrics.md.
  std::string documentation() const;

 private:
  struct Metrics;
  std::unique_ptr<Metrics> metrics_;
};

/// /metrics, /healthz and /readyz (200 `ok` or 503 `not ok`), /version. `telemetry` must outlive
/// the server that gets them.
Routes telemetry_routes(const Telemetry& telemetry, std::function<bool()> healthy,
                        std::function<bool()> ready);

}  // namespace stackspec
