// SPDX-License-Identifier: Apache-2.0
#include "telemetry/telemetry.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "plan/report.hpp"
#include "telemetry/stack_gauges.hpp"

namespace stackspec {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using prometheus::Registry;
using Labels = std::map<std::string, std::string>;
using Buckets = Histogram::BucketBoundaries;

const Labels kController = {{"controller", "stackspec"}};
const Labels kQueue = {{"controller", "stackspec"}, {"name", "stackspec"}};

constexpr std::string_view kResults[] = {"success", "error", "requeue", "requeue_after"};
constexpr std::string_view kGateResults[] = {"Passed", "Blocked"};
constexpr std::string_view kActionResults[] = {"Done", "Failed"};
constexpr std::string_view kJourneyKinds[] = {"Install", "Upgrade", "Restore"};
constexpr std::string_view kJourneyResults[] = {"Succeeded", "Unfenced", "RolledBack", "Stalled"};
constexpr std::string_view kBackupResults[] = {"Proven", "Failed"};
/// In the order of the variant Action.
constexpr std::string_view kActions[] = {"ApplyComponent", "SwitchGateway", "StartTask",
                                         "StopTask",       "FlushRedis",    "DeleteBackup"};
static_assert(std::size(kActions) == std::variant_size_v<Action>);

template <class Enum, std::size_t N>
std::string label(const std::string_view (&names)[N], Enum value) {
  return std::string(names[static_cast<std::size_t>(value)]);
}

/// Those of controller-runtime, so that its dashboards fit.
Buckets reconcile_buckets() {
  return {0.005, 0.01, 0.025, 0.05, 0.1,  0.15, 0.2,  0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6,
          0.7,   0.8,  0.9,   1,    1.25, 1.5,  1.75, 2,    2.5, 3,    3.5, 4,    4.5, 5,
          6,     7,    8,     9,    10,   15,   20,   25,   30,  40,   50,  60};
}
Buckets queue_buckets() {
  return {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 1000};
}
/// From a second to four hours: a step on a laptop, a dump of a big database.
Buckets long_buckets() {
  return {1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400};
}

Family<Counter>& counter(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& gauge(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
Family<Histogram>& histogram(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

std::string_view type_name(MetricType type) {
  switch (type) {
    case MetricType::Counter: return "counter";
    case MetricType::Gauge: return "gauge";
    case MetricType::Histogram: return "histogram";
    case MetricType::Summary: return "summary";
    case MetricType::Untyped: return "untyped";
  }
  return "untyped";
}

}  // namespace

/// Every family and, where the labels are known beforehand, every series: a counter that appears
/// only with its first event cannot be alerted on.
struct Telemetry::Metrics {
  Metrics(std::string version_text, std::string commit_text)
      : version(std::move(version_text)), commit(std::move(commit_text)) {
    gauge(registry, "stackspec_build_info", "Always 1; the labels tell which build this is.")
        .Add({{"version", version}, {"commit", commit}})
        .Set(1);
    for (const auto result : kResults)
      reconciles.Add({{"controller", "stackspec"}, {"result", std::string(result)}});
    for (const auto gate : gate_names()) {
      for (const auto result : kGateResults) {
        gates.Add({{"gate", std::string(gate)}, {"result", std::string(result)}});
      }
    }
    for (const auto action : kActions) {
      for (const auto result : kActionResults) {
        actions.Add({{"action", std::string(action)}, {"result", std::string(result)}});
      }
    }
    for (const auto kind : kJourneyKinds) {
      for (const auto result : kJourneyResults) {
        journeys.Add({{"kind", std::string(kind)}, {"result", std::string(result)}});
      }
    }
    for (const auto result : kBackupResults) backups.Add({{"result", std::string(result)}});
    for (const Step step : kAllSteps) {
      step_seconds.Add({{"step", std::string(to_string(step))}}, long_buckets());
    }
  }

  std::vector<MetricFamily> collect() const {
    auto families = registry.Collect();
    for (auto& family : stacks.collect()) families.push_back(std::move(family));
    for (auto& family : process_metrics()) families.push_back(std::move(family));
    std::sort(families.begin(), families.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return families;
  }

  const std::string version, commit;
  Registry registry;
  StackGauges stacks;

  // The control loop, by the names of controller-runtime.
  Family<Counter>& reconciles =
      counter(registry, "controller_runtime_reconcile_total", "Passes over a stack, by result.");
  Counter& reconcile_errors = counter(registry, "controller_runtime_reconcile_errors_total",
                                      "Passes that ended in an error and are tried again.")
                                  .Add(kController);
  Counter& panics = counter(registry, "controller_runtime_reconcile_panics_total",
                            "Passes that ended in an exception nobody expected: a bug.")
                        .Add(kController);
  Histogram& reconcile_seconds =
      histogram(registry, "controller_runtime_reconcile_time_seconds", "Length of one pass.")
          .Add(kController, reconcile_buckets());
  Gauge& most_workers = gauge(registry, "controller_runtime_max_concurrent_reconciles",
                              "Most passes at the same time.")
                            .Add(kController);
  Gauge& active_workers =
      gauge(registry, "controller_runtime_active_workers", "Passes under way now.")
          .Add(kController);
  Gauge& depth = gauge(registry, "workqueue_depth", "Stacks that wait for a worker.")
                     .Add({{"controller", "stackspec"}, {"name", "stackspec"}, {"priority", "0"}});
  Counter& adds =
      counter(registry, "workqueue_adds_total", "Stacks put into the queue.").Add(kQueue);
  Counter& retries = counter(registry, "workqueue_retries_total",
                             "Stacks put into the queue again after a failure or a conflict.")
                         .Add(kQueue);
  Histogram& queue_seconds = histogram(registry, "workqueue_queue_duration_seconds",
                                       "How long a due stack waited for a worker.")
                                 .Add(kQueue, queue_buckets());
  Histogram& work_seconds = histogram(registry, "workqueue_work_duration_seconds",
                                      "How long a worker was busy with a stack.")
                                .Add(kQueue, queue_buckets());
  Gauge& unfinished = gauge(registry, "workqueue_unfinished_work_seconds",
                            "Seconds of work under way and not yet counted; growing: a stuck pass.")
                          .Add(kQueue);
  Gauge& longest = gauge(registry, "workqueue_longest_running_processor_seconds",
                         "Age of the oldest pass under way.")
                       .Add(kQueue);

  // What it did.
  Family<Counter>& gates = counter(registry, "stackspec_gate_evaluations_total",
                                   "Passes that found a gate closed, and gates that opened.");
  Family<Counter>& actions = counter(registry, "stackspec_actions_total",
                                     "Changes made to the world, attempts that failed included.");
  Counter& status_writes =
      counter(registry, "stackspec_status_writes_total",
              "Writes of a stack's status; stands still while stacks are settled.")
          .Add({});
  Family<Counter>& journeys = counter(registry, "stackspec_upgrades_total",
                                      "Installs, upgrades and restores that ended, by result.");
  Counter& rollbacks = counter(registry, "stackspec_rollbacks_total",
                               "Journeys that ended with the proven backup restored.")
                           .Add({});
  Family<Counter>& backups = counter(registry, "stackspec_backups_total",
                                     "Backups of a journey, by whether their restore was proven.");
  Histogram& journey_seconds =
      histogram(registry, "stackspec_upgrade_duration_seconds", "First step to last of a journey.")
          .Add({}, long_buckets());
  Histogram& backup_seconds = histogram(registry, "stackspec_backup_duration_seconds",
                                        "Start of a backup to the end of its proof.")
                                  .Add({}, long_buckets());
  Histogram& outage_seconds =
      histogram(registry, "stackspec_outage_duration_seconds",
                "Fence to opening: how long users saw the maintenance page.")
          .Add({}, long_buckets());
  Family<Histogram>& step_seconds = histogram(registry, "stackspec_upgrade_step_duration_seconds",
                                              "Length of one step of a journey.");
};

Telemetry::Telemetry(std::string version, std::string commit)
    : metrics_(std::make_unique<Metrics>(std::move(version), std::move(commit))) {}
Telemetry::~Telemetry() = default;

void Telemetry::set_workers(int most) {
  metrics_->most_workers.Set(most);
}

void Telemetry::reconcile_started() {
  metrics_->active_workers.Increment();
}

void Telemetry::reconcile_finished(ReconcileResult result, double seconds) {
  metrics_->active_workers.Decrement();
  metrics_->reconcile_seconds.Observe(seconds);
  metrics_->reconciles.Add({{"controller", "stackspec"}, {"result", label(kResults, result)}})
      .Increment();
  if (result == ReconcileResult::Error) metrics_->reconcile_errors.Increment();
}

void Telemetry::reconcile_panicked() {
  metrics_->panics.Increment();
}
void Telemetry::queue_added() {
  metrics_->adds.Increment();
}
void Telemetry::queue_retried() {
  metrics_->retries.Increment();
}
void Telemetry::queue_handed_out(double waited_seconds) {
  metrics_->queue_seconds.Observe(waited_seconds);
}
void Telemetry::queue_done(double worked_seconds) {
  metrics_->work_seconds.Observe(worked_seconds);
}

void Telemetry::queue_seen(const QueueNumbers& numbers) {
  metrics_->depth.Set(numbers.depth);
  metrics_->unfinished.Set(numbers.unfinished_seconds);
  metrics_->longest.Set(numbers.longest_running_seconds);
}

void Telemetry::gate_evaluated(std::string_view gate, GateResult result) {
  metrics_->gates.Add({{"gate", std::string(gate)}, {"result", label(kGateResults, result)}})
      .Increment();
}

void Telemetry::action_finished(const Action& action, ActionResult result) {
  metrics_->actions
      .Add({{"action", label(kActions, action.index())}, {"result", label(kActionResults, result)}})
      .Increment();
}

void Telemetry::status_written() {
  metrics_->status_writes.Increment();
}

void Telemetry::journey_finished(std::string_view kind, JourneyResult result, double seconds) {
  metrics_->journeys.Add({{"kind", std::string(kind)}, {"result", label(kJourneyResults, result)}})
      .Increment();
  metrics_->journey_seconds.Observe(seconds);
  if (result == JourneyResult::RolledBack) metrics_->rollbacks.Increment();
}

void Telemetry::step_finished(Step step, double seconds) {
  metrics_->step_seconds.Add({{"step", std::string(to_string(step))}}, long_buckets())
      .Observe(seconds);
}

void Telemetry::outage_finished(double seconds) {
  metrics_->outage_seconds.Observe(seconds);
}

void Telemetry::backup_finished(BackupResult result, double seconds) {
  metrics_->backups.Add({{"result", label(kBackupResults, result)}}).Increment();
  metrics_->backup_seconds.Observe(seconds);
}

void Telemetry::observe(const Stack& stack) {
  metrics_->stacks.observe(stack);
}
void Telemetry::forget(const StackKey& key) {
  metrics_->stacks.forget(key);
}

const std::string& Telemetry::version() const {
  return metrics_->version;
}
const std::string& Telemetry::commit() const {
  return metrics_->commit;
}

std::string Telemetry::page() const {
  return prometheus::TextSerializer().Serialize(metrics_->collect());
}

std::string Telemetry::documentation() const {
  Stack example;
  example.key.name = "example";
  Metrics copy(version(), commit());
  copy.stacks.observe(example);
  std::string text = "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n";
  for (const auto& family : copy.collect()) {
    std::string labels;
    if (!family.metric.empty()) {
      auto sorted = family.metric.front().label;
      std::sort(sorted.begin(), sorted.end());
      for (const auto& one : sorted) labels += (labels.empty() ? "" : ", ") + one.name;
    }
    text += "| `" + family.name + "` | " + std::string(type_name(family.type)) + " | " + labels +
            " | " + family.help + " |\n";
  }
  return text;
}

Routes telemetry_routes(const Telemetry& telemetry, std::function<bool()> healthy,
                        std::function<bool()> ready) {
  const auto check = [](std::function<bool()> good) {
    return [good = std::move(good)](const HttpRequest&) {
      const bool is = good();
      return HttpResponse{is ? 200 : 503,
                          {{"content-type", "text/plain; charset=utf-8"}},
                          is ? "ok\n" : "not ok\n"};
    };
  };
  return {
      {"GET", "/metrics",
       [&telemetry](const HttpRequest&) {
         return HttpResponse{
             200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}}, telemetry.page()};
       }},
      {"GET", "/healthz", check(std::move(healthy))},
      {"GET", "/readyz", check(std::move(ready))},
      {"GET", "/version",
       [&telemetry](const HttpRequest&) {
         const nlohmann::json body = {{"version", telemetry.version()},
                                      {"commit", telemetry.commit()}};
         return HttpResponse{200, {{"content-type", "application/json"}}, body.dump() + "\n"};
       }},
  };
}

}  // namespace stackspec
