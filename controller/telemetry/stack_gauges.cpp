// SPDX-License-Identifier: Apache-2.0
#include "telemetry/stack_gauges.hpp"

#include <algorithm>

namespace stackspec {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr std::string_view kConditionTypes[] = {"Ready", "Reconciling", "Stalled", "KeysEscrowed"};
constexpr std::string_view kConditionStatuses[] = {"True", "False", "Unknown"};
static_assert(std::size(kConditionTypes) == std::tuple_size_v<decltype(StackFacts::conditions)>);
constexpr Phase kAllPhases[] = {Phase::Pending,   Phase::Installing,       Phase::Ready,
                                Phase::Upgrading, Phase::AwaitingApproval, Phase::RollingBack,
                                Phase::Degraded,  Phase::Suspended};
constexpr std::string_view kWorkspaceStates[] = {"up_to_date", "behind", "failed"};

/// A gauge with one value a stack.
struct Plain {
  const char* name;
  const char* help;
  double (*value)(const StackFacts& facts);
};
constexpr Plain kPlain[] = {
    {"stackspec_suspended", "1 while spec.suspend holds the stack.",
     [](const StackFacts& facts) { return facts.suspended ? 1.0 : 0.0; }},
    {"stackspec_pending_approval", "1 while an upgrade waits for a person to approve its plan.",
     [](const StackFacts& facts) { return facts.phase == Phase::AwaitingApproval ? 1.0 : 0.0; }},
    {"stackspec_latched",
     "1 after a bad verdict: the same target is not tried again until it changes or retry is "
     "asked.",
     [](const StackFacts& facts) { return facts.latched ? 1.0 : 0.0; }},
    {"stackspec_fenced", "1 while users see the maintenance page.",
     [](const StackFacts& facts) { return facts.fenced ? 1.0 : 0.0; }},
    {"stackspec_blocked_gates", "Gates that hold the stack up now; their names are in its status.",
     [](const StackFacts& facts) { return facts.blocked; }},
    {"stackspec_consecutive_failures",
     "Journeys in a row that ended with the old version serving again; drives the back-off.",
     [](const StackFacts& facts) { return facts.failures; }},
    {"stackspec_upgrade_active", "1 while an install, an upgrade or a restore is in flight.",
     [](const StackFacts& facts) { return facts.active ? 1.0 : 0.0; }},
    {"stackspec_upgrade_hops_left", "Releases still to go in the journey in flight.",
     [](const StackFacts& facts) { return facts.hops_left; }},
    {"stackspec_upgrade_started_timestamp_seconds", "Start of the journey in flight; 0: none.",
     [](const StackFacts& facts) { return facts.started; }},
    {"stackspec_upgrade_finished_timestamp_seconds",
     "End of the newest journey, whatever its result; 0: none yet.",
     [](const StackFacts& facts) { return facts.finished; }},
    {"stackspec_upgrade_step_started_timestamp_seconds", "Start of the present step; 0: none.",
     [](const StackFacts& facts) { return facts.step_started; }},
    {"stackspec_backup_last_success_timestamp_seconds",
     "When the newest complete backup was finished; 0: there is none.",
     [](const StackFacts& facts) { return facts.backup_success; }},
    {"stackspec_backup_last_restore_test_timestamp_seconds",
     "When the newest backup that was restored and compared was finished; 0: the newest is not "
     "proven.",
     [](const StackFacts& facts) { return facts.backup_proven; }},
    {"stackspec_backup_last_size_bytes", "Size of the newest complete backup's dump.",
     [](const StackFacts& facts) { return facts.backup_bytes; }},
};

/// -1: it is not there.
template <std::size_t N>
std::int8_t place_in(const std::string_view (&texts)[N], std::string_view text) {
  const auto found = std::find(std::begin(texts), std::end(texts), text);
  return static_cast<std::int8_t>(found == std::end(texts) ? -1 : found - std::begin(texts));
}

double timestamp(const std::string& rfc3339) {
  const auto time = parse_rfc3339(rfc3339);
  return time ? static_cast<double>(time->time_since_epoch().count()) : 0.0;
}

StackFacts facts_of(const Stack& stack) {
  const StackStatus& status = stack.status;
  StackFacts facts;
  facts.version = status.version;
  facts.target = status.target_version;
  facts.phase = status.phase;
  for (const auto& condition : status.conditions) {
    const auto type = place_in(kConditionTypes, condition.type);
    const auto value = place_in(kConditionStatuses, condition.status);
    if (type >= 0) facts.conditions[static_cast<std::size_t>(type)] = value;
  }
  facts.workspaces = {static_cast<double>(status.workspaces_up_to_date),
                      static_cast<double>(status.workspaces_behind),
                      static_cast<double>(status.workspaces_failed)};
  facts.suspended = stack.spec.suspend;
  facts.latched = status.latch.has_value();
  facts.failures = status.failures;
  facts.blocked = static_cast<double>(status.blocked_by.size());
  if (!status.history.empty()) facts.finished = timestamp(status.history.front().finished_at);
  if (const auto& backup = status.last_backup) {
    facts.backup_success = timestamp(backup->finished_at);
    facts.backup_bytes = static_cast<double>(backup->size_bytes);
    if (backup->proof == "L4") facts.backup_proven = facts.backup_success;
  }
  if (const auto& journey = status.upgrade) {
    facts.active = true;
    facts.step = parse_step(journey->step);
    facts.fenced = !journey->fenced_at.empty() && journey->opened_at.empty();
    facts.started = timestamp(journey->started_at);
    facts.step_started = timestamp(journey->step_started_at);
    facts.hops_left = static_cast<double>(journey->path.size()) - journey->hop;
  }
  return facts;
}

/// A family being filled, one stack after the other.
class Filling {
 public:
  Filling(const char* name, const char* help) {
    family_.name = name;
    family_.help = help;
    family_.type = MetricType::Gauge;
  }

  void add(const StackKey& key, double value,
           const std::vector<std::pair<std::string_view, std::string_view>>& more = {}) {
    ClientMetric metric;
    metric.label = {{"namespace", key.ns}, {"name", key.name}};
    for (const auto& [label, text] : more) {
      metric.label.push_back({std::string(label), std::string(text)});
    }
    metric.gauge.value = value;
    family_.metric.push_back(std::move(metric));
  }

  MetricFamily take() { return std::move(family_); }

 private:
  MetricFamily family_;
};

using Stacks = std::map<StackKey, StackFacts>;

MetricFamily info(const Stacks& stacks) {
  Filling filling("stackspec_info", "Always 1; the labels tell the proven and the wanted release.");
  for (const auto& [key, facts] : stacks) {
    filling.add(key, 1, {{"version", facts.version}, {"target_version", facts.target}});
  }
  return filling.take();
}

MetricFamily phases(const Stacks& stacks) {
  Filling filling("stackspec_phase", "1 for the phase the stack is in, 0 for every other.");
  for (const auto& [key, facts] : stacks) {
    for (const Phase phase : kAllPhases) {
      filling.add(key, facts.phase == phase ? 1 : 0, {{"phase", to_string(phase)}});
    }
  }
  return filling.take();
}

MetricFamily conditions(const Stacks& stacks) {
  Filling filling("stackspec_condition",
                  "1 for the status each condition has, 0 for every other; alert on Ready.");
  for (const auto& [key, facts] : stacks) {
    for (std::size_t type = 0; type < facts.conditions.size(); ++type) {
      for (const auto status : kConditionStatuses) {
        const bool is = facts.conditions[type] == place_in(kConditionStatuses, status);
        filling.add(key, is ? 1 : 0, {{"type", kConditionTypes[type]}, {"status", status}});
      }
    }
  }
  return filling.take();
}

MetricFamily steps(const Stacks& stacks) {
  Filling filling("stackspec_upgrade_step", "1 for the step the journey in flight is at.");
  for (const auto& [key, facts] : stacks) {
    for (const Step step : kAllSteps) {
      filling.add(key, facts.step == step ? 1 : 0, {{"step", to_string(step)}});
    }
  }
  return filling.take();
}

MetricFamily workspaces(const Stacks& stacks) {
  Filling filling(
      "stackspec_workspaces",
      "Workspaces by what the migration record says of them; behind and failed should be 0.");
  for (const auto& [key, facts] : stacks) {
    for (std::size_t i = 0; i < facts.workspaces.size(); ++i) {
      filling.add(key, facts.workspaces[i], {{"state", kWorkspaceStates[i]}});
    }
  }
  return filling.take();
}

}  // namespace

void StackGauges::observe(const Stack& stack) {
  StackFacts facts = facts_of(stack);
  const std::lock_guard lock(mutex_);
  stacks_[stack.key] = std::move(facts);
}

void StackGauges::forget(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  stacks_.erase(key);
}

std::vector<MetricFamily> StackGauges::collect() const {
  const std::lock_guard lock(mutex_);
  std::vector<MetricFamily> families = {info(stacks_), phases(stacks_), conditions(stacks_),
                                        steps(stacks_), workspaces(stacks_)};
  for (const auto& plain : kPlain) {
    Filling filling(plain.name, plain.help);
    for (const auto& [key, facts] : stacks_) filling.add(key, plain.value(facts));
    families.push_back(filling.take());
  }
  return families;
}

}  // namespace stackspec
