// SPDX-License-Identifier: Apache-2.0
#include "plan/report.hpp"

#include <algorithm>

#include "api/conditions.hpp"
#include "plan/context.hpp"

// Status for people: everything here is a function of the memory (version, journey, latch) and of
// what was seen; nothing here is ever read back by the planner.

namespace stackspec {

namespace {

constexpr std::string_view kEventReasons[] = {
    "StepStarted",  "StepFailed",   "Installed",       "Upgraded",
    "RolledBack",   "Restored",     "Unfenced",        "FenceBroken",
    "Stalled",      "Blocked",      "RetryRequested",  "QueuedJobsDropped",
    "ActionFailed", "BackupProven", "SecretGenerated", "InvalidSpec"};

constexpr std::string_view kGateNames[] = {"Task",
                                           "Soak",
                                           "Suspended",
                                           "BackOff",
                                           "DatabaseReachable",
                                           "RedisReachable",
                                           "PostgresVersion",
                                           "Extension",
                                           "SameDatabase",
                                           "ReleaseMissing",
                                           "SecretMissing",
                                           "StorageReal",
                                           "DiskFree",
                                           "MemoryFree",
                                           "NotSupported",
                                           "DatabaseUrl",
                                           "RedisUrl",
                                           "DatabaseOwner",
                                           "DatabaseOccupied",
                                           "DatabaseRights",
                                           "DirectConnection",
                                           "ForeignDependents",
                                           "RedisEviction",
                                           "ForeignSessions",
                                           "Sessions",
                                           "FundraisingRuns",
                                           "WorkspaceBeingCreated",
                                           "QueuedJobs",
                                           "ServerHealth",
                                           "ServerQuery",
                                           "FrontDoor",
                                           "WorkerAttached",
                                           "FundraisingHealth",
                                           "Smoke",
                                           "FlagsDrift",
                                           "ReleaseUnknown",
                                           "ReleaseDenied",
                                           "Downgrade",
                                           "VersionUnknown",
                                           "WorkspacesBehind",
                                           "MigrationCount",
                                           "Sentinel",
                                           "FailedStep",
                                           "NoCursor",
                                           "NotInitialised",
                                           "LedgerTooNew",
                                           "WorkspacesAhead",
                                           "CursorAhead",
                                           "PostgresReady",
                                           "RedisReady",
                                           "ServerReady",
                                           "WorkerReady",
                                           "FundraisingReady",
                                           "GatewayReady",
                                           "PostgresStopping",
                                           "RedisStopping",
                                           "ServerStopping",
                                           "WorkerStopping",
                                           "FundraisingStopping",
                                           "GatewayStopping"};

/// Gates that are everyday waiting: no event, no alarm.
bool is_quick(const Blocked& gate) {
  return gate.next.empty();
}

struct Verdict {
  std::string reason;
  std::string message;
};

/// What a person must decide; empty while the controller still gets on by itself.
std::optional<Verdict> stalled(const Context& context) {
  if (context.status.latch) {
    return Verdict{context.status.latch->reason, context.status.latch->message};
  }
  if (context.status.upgrade && context.status.upgrade->reason == kStuck) {
    const std::string& message = context.status.upgrade->message;
    return Verdict{message.substr(0, message.find(':')), message};
  }
  for (const Blocked& gate : context.status.blocked_by) {
    if (gate.gate.starts_with("Release") && gate.gate != "ReleaseMissing") {
      return Verdict{gate.gate, gate.next};
    }
    if (gate.gate == "NotSupported" || gate.gate == "Downgrade" || gate.gate == "VersionUnknown") {
      return Verdict{gate.gate, gate.next};
    }
  }
  const UpgradeStatus* journey = context.status.upgrade ? &*context.status.upgrade : nullptr;
  const bool going_back = journey != nullptr && (journey->step == to_string(Step::RollBack) ||
                                                 journey->step == to_string(Step::Unfence));
  const auto started = going_back ? parse_rfc3339(journey->step_started_at) : std::nullopt;
  const std::chrono::seconds limit(context.spec().upgrade.health_timeout_seconds);
  if (started && context.now - *started > limit && !context.status.blocked_by.empty()) {
    const Blocked& gate = context.status.blocked_by.front();
    return Verdict{journey->step + "Stuck", gate.gate + ": " + gate.seen};
  }
  return std::nullopt;
}

Phase phase_of(const Context& context) {
  const StackStatus& status = context.status;
  if (status.upgrade) {
    if (status.upgrade->kind == "Install") return Phase::Installing;
    const bool back =
        status.upgrade->kind == "Restore" || status.upgrade->step == to_string(Step::RollBack);
    return back ? Phase::RollingBack : Phase::Upgrading;
  }
  if (context.spec().suspend) return Phase::Suspended;
  if (status.latch) return Phase::Degraded;
  if (status.version.empty()) return Phase::Pending;
  return status.blocked_by.empty() && status.version == status.target_version ? Phase::Ready
                                                                              : Phase::Degraded;
}

std::string gate_text(const Blocked& gate) {
  return gate.gate + ": " + gate.seen + " (wanted " + gate.wanted + ")";
}

std::string message_of(const Context& context) {
  const StackStatus& status = context.status;
  if (const auto verdict = stalled(context)) return verdict->message;
  if (status.upgrade) {
    std::string text =
        "step " + std::to_string(status.upgrade->step_index) + "/" +
        std::to_string(std::max(status.upgrade->step_total, status.upgrade->step_index)) + " " +
        status.upgrade->step;
    if (!status.upgrade->hop_to.empty()) text += " " + status.upgrade->hop_to;
    if (!status.blocked_by.empty()) text += ", " + gate_text(status.blocked_by.front());
    return text;
  }
  if (!status.blocked_by.empty()) return gate_text(status.blocked_by.front());
  if (status.version.empty()) return "waiting to be installed";
  return status.version + " serves";
}

std::string capped(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

void set_condition(Context& context, std::vector<Condition>& conditions, const std::string& type,
                   const std::string& status, const std::string& reason,
                   const std::string& message) {
  add_condition(conditions,
                {.type = type,
                 .status = status,
                 .reason = reason,
                 .message = capped(message, 1000),
                 .observed_generation = context.stack.generation,
                 .last_transition_time = to_rfc3339(context.now)},
                context.stack.status.conditions);
}

void set_conditions(Context& context) {
  const StackStatus& status = context.status;
  std::vector<Condition> conditions;
  const auto verdict = stalled(context);
  const std::string phase(to_string(status.phase));
  if (verdict) {
    set_condition(context, conditions, "Ready", "False", verdict->reason, verdict->message);
    set_condition(context, conditions, "Stalled", "True", verdict->reason, verdict->message);
  } else if (status.phase == Phase::Ready) {
    set_condition(context, conditions, "Ready", "True", "Settled", status.message);
  } else if (status.phase == Phase::Suspended) {
    const bool serves = !status.version.empty() && status.version == status.target_version &&
                        serving_gates(context).empty();
    set_condition(context, conditions, "Ready", serves ? "True" : "Unknown", "Suspended",
                  status.message);
    if (!serves) {
      set_condition(context, conditions, "Reconciling", "True", "Suspended", status.message);
    }
  } else {
    const bool trying = status.phase == Phase::Degraded;
    const std::string reason =
        trying && !status.blocked_by.empty() ? status.blocked_by.front().gate : phase;
    set_condition(context, conditions, "Ready", trying ? "False" : "Unknown", reason,
                  status.message);
    set_condition(context, conditions, "Reconciling", "True",
                  trying ? "ProgressingWithRetry" : phase, status.message);
  }
  set_condition(context, conditions, "KeysEscrowed", "False", "NoRecipient",
                "backups hold fingerprints of the keys only; keep a copy of the Secret elsewhere");
  context.status.conditions = std::move(conditions);
}

std::string component_state(const ComponentSeen& seen) {
  if (!seen.exists) return "Absent";
  if (seen.wanted == 0) return seen.running == 0 ? "Stopped" : "Stopping";
  if (seen.ready >= seen.wanted) return "Ready";
  return seen.running == 0 ? "Down" : "Starting";
}

void set_components(Context& context) {
  context.status.components.clear();
  for (const auto& [which, seen] : context.seen.components) {
    if (!seen.exists) continue;
    context.status.components.push_back({.name = std::string(to_string(which)),
                                         .version = seen.version,
                                         .state = component_state(seen),
                                         .message = capped(seen.message, 200),
                                         .ready = seen.ready,
                                         .wanted = seen.wanted});
  }
}

void set_data(Context& context) {
  StackStatus& status = context.status;
  const Seen& seen = context.seen;
  if (seen.database.reachable) {
    const Ledger& ledger = seen.database.ledger;
    int provisioned = 0;
    for (const Workspace& workspace : ledger.workspaces) {
      if (is_provisioned(ledger, workspace)) ++provisioned;
    }
    const Version at = version_of(status.upgrade ? status.upgrade->hop_to : status.version);
    status.workspaces_behind =
        status.version.empty() && !status.upgrade ? 0 : workspaces_behind(ledger, at);
    status.workspaces_failed = static_cast<int>(ledger.failed.size());
    status.workspaces_up_to_date = provisioned - status.workspaces_behind;
    status.migrations = ledger.newest;
  }
  status.last_backup.reset();
  for (const BackupSeen& backup : seen.backups) {
    const bool newer = !status.last_backup || status.last_backup->finished_at < backup.cutoff_time;
    if (!backup.proven || !newer) continue;
    status.last_backup = LastBackup{.name = backup.id,
                                    .finished_at = backup.cutoff_time,
                                    .source_version = backup.source_version,
                                    .proof = "L4",
                                    .size_bytes = backup.size_bytes};
  }
  if (!seen.endpoints.gateway_host.empty()) {
    status.url =
        "http://" + seen.endpoints.gateway_host + ":" + std::to_string(seen.endpoints.gateway_port);
  }
  const ComponentSeen& fundraising = seen.component(Component::Fundraising);
  if (fundraising.ready > 0) status.fundraising_version = fundraising.version;
}

/// One event when a gate that needs a person appears, none while it stays.
void announce_gates(Context& context) {
  for (const Blocked& gate : context.status.blocked_by) {
    if (is_quick(gate)) continue;
    const auto& before = context.stack.status.blocked_by;
    const bool known = std::any_of(before.begin(), before.end(),
                                   [&](const Blocked& old) { return old.gate == gate.gate; });
    if (!known) {
      context.event(Event::Type::Warning, "Blocked", gate_text(gate) + "; " + gate.next);
    }
  }
}

}  // namespace

std::span<const std::string_view> event_reasons() {
  return kEventReasons;
}
std::span<const std::string_view> gate_names() {
  return kGateNames;
}

void report(Context& context, const Turn& turn) {
  StackStatus& status = context.status;
  status.blocked_by.clear();
  const Wait* wait = std::get_if<Wait>(&turn);
  if (wait != nullptr && !context.upkeep) status.blocked_by = wait->gates;
  for (Blocked& gate : status.blocked_by) gate.seen = capped(gate.seen, 500);
  set_components(context);
  set_data(context);
  status.observed_generation = context.stack.generation;
  status.phase = phase_of(context);
  // An action under way at rest is work, not health.
  const bool acting = std::holds_alternative<Do>(turn) || wait != nullptr;
  if (status.phase == Phase::Ready && acting && !context.upkeep) status.phase = Phase::Degraded;
  status.message = capped(message_of(context), 1000);
  set_conditions(context);
  announce_gates(context);
}

}  // namespace stackspec
