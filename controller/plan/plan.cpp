// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.hpp"

#include <algorithm>

#include "base/backoff.hpp"
#include "base/hash.hpp"
#include "plan/context.hpp"

// The decision, top down: what a person asked for, the journey in flight, a journey to start,
// then keeping what serves.

namespace stackspec {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kRetryAnnotation = "stackspec.dev/retry";
constexpr const char* kReconcileAnnotation = "stackspec.dev/reconcile-at";
constexpr std::size_t kMaxHistory = 5;
constexpr int kMaxFailures = 3;  ///< Unfenced journeys in a row before a person must look.

std::string annotation(const Stack& stack, const char* name) {
  const auto found = stack.annotations.find(name);
  return found == stack.annotations.end() ? "" : found->second;
}

/// A new retry token forgives: the latch goes, the back-off goes, a stuck rung gets new task names.
void handle_annotations(Context& context) {
  context.status.last_handled_reconcile_at = annotation(context.stack, kReconcileAnnotation);
  const std::string token = annotation(context.stack, kRetryAnnotation);
  if (token.empty() || token == context.status.last_handled_retry) return;
  context.status.last_handled_retry = token;
  context.status.latch.reset();
  context.status.failures = 0;
  context.status.retry_at.clear();
  if (context.status.upgrade && context.status.upgrade->reason == kStuck) {
    UpgradeStatus& journey = context.journey();
    journey.id = short_hash(journey.id + token);
    journey.reason = kRetried;
    journey.step_started_at = to_rfc3339(context.now);
  }
  context.event(Event::Type::Normal, "RetryRequested", "retry " + token);
}

void add_history(Context& context, const std::string& result, const std::string& message) {
  const UpgradeStatus& journey = context.journey();
  HistoryEntry entry{.id = journey.id,
                     .kind = journey.kind,
                     .from = journey.from,
                     .to = journey.hop_to.empty() ? journey.to : journey.hop_to,
                     .result = result,
                     .finished_at = to_rfc3339(context.now),
                     .message = journey.requested_by.empty() ? message : journey.requested_by};
  auto& history = context.status.history;
  history.insert(history.begin(), std::move(entry));
  if (history.size() > kMaxHistory) history.resize(kMaxHistory);
}

void latch(Context& context, const std::string& reason, const std::string& message) {
  const UpgradeStatus& journey = context.journey();
  context.status.latch =
      Latch{.target = to_string(context.catalog.resolve(context.spec().target())),
            .reason = reason,
            .message = message,
            .backup = journey.backup};
  context.event(Event::Type::Warning, "Stalled", reason + ": " + message);
}

/// Back at the old version with nothing changed: try again later, or ask a person.
void end_unfenced(Context& context) {
  UpgradeStatus& journey = context.journey();
  context.status.version = hop_from(journey);
  add_history(context, "Unfenced", journey.reason + ": " + journey.message);
  context.event(Event::Type::Warning, "Unfenced", journey.reason + ": " + journey.message);
  const bool wanted = journey.reason == kSuspended || journey.reason == kTargetChanged;
  if (!wanted && ++context.status.failures >= kMaxFailures) {
    latch(context, journey.reason, journey.message);
  } else if (!wanted) {
    const Backoff backoff{.initial = std::chrono::minutes(2), .maximum = std::chrono::hours(1)};
    const auto delay = std::chrono::ceil<seconds>(backoff.delay(context.status.failures, 0.5));
    context.status.retry_at = to_rfc3339(context.now + delay);
  }
}

void end_rolled_back(Context& context) {
  const UpgradeStatus& journey = context.journey();
  if (journey.kind == "Restore") {
    context.status.version = journey.to;
    add_history(context, "Restored", "");
    latch(context, "Restored", "the data is that of " + journey.backup);
    context.event(Event::Type::Normal, "Restored", journey.backup);
    return;
  }
  context.status.version = hop_from(journey);
  add_history(context, "RolledBack", journey.message);
  latch(context, "RolledBack",
        journey.hop_to + " refused: " + journey.message + "; " + context.status.version +
            " serves with the data of " + journey.fenced_at);
  context.event(Event::Type::Warning, "RolledBack",
                journey.hop_to + " -> " + context.status.version);
}

void end_settled(Context& context) {
  const UpgradeStatus& journey = context.journey();
  const bool installed = journey.kind == "Install";
  context.status.failures = 0;
  context.status.retry_at.clear();
  add_history(context, installed ? "Installed" : "Upgraded", "");
  context.event(Event::Type::Normal, installed ? "Installed" : "Upgraded", journey.hop_to);
}

void end_journey(Context& context) {
  const auto step = parse_step(context.journey().step);
  if (step == Step::Unfence) {
    end_unfenced(context);
  } else if (step == Step::RollBack) {
    end_rolled_back(context);
  } else {
    end_settled(context);
  }
  context.status.upgrade.reset();
}

/// A verdict that has no way back of its own: ends the journey where users were never sent away,
/// leaves it standing where a person must decide behind the fence.
void end_with_verdict(Context& context, const Bad& bad) {
  UpgradeStatus& journey = context.journey();
  const auto step = parse_step(journey.step);
  const bool nothing_fenced = step == Step::Preflight || step == Step::Install ||
                              step == Step::Settle || journey.kind == "Install";
  if (nothing_fenced) {
    add_history(context, step == Step::Settle ? "Unsettled" : "Failed", bad.message);
    latch(context, journey.kind == "Install" ? "InstallFailed" : bad.reason, bad.message);
    context.status.upgrade.reset();
    return;
  }
  if (journey.reason != kStuck) {
    context.event(Event::Type::Warning, "Stalled", bad.reason + ": " + bad.message);
  }
  journey.reason = kStuck;
  journey.message = bad.reason + ": " + bad.message;
}

/// The oldest restore a person asked for that can start; a refused one holds up nobody.
const RestoreRequest* wanted_restore(const Context& context) {
  const auto& requests = context.seen.restore_requests;
  const auto found = std::find_if(requests.begin(), requests.end(), [&](const auto& each) {
    return why_not_restore(context.seen, each).empty();  // guard(loss-accepted)
  });
  return found == requests.end() ? nullptr : &*found;
}

bool start_restore(Context& context) {
  const RestoreRequest* found = wanted_restore(context);
  if (found == nullptr) return false;
  const RestoreRequest request = *found;
  const BackupSeen* backup = context.seen.backup(request.backup);
  start_journey(context, "Restore", context.status.version, backup->source_version, {});
  context.journey().backup = backup->id;
  context.journey().requested_by = request.name;
  return true;
}

Turn fulfil_backup_requests(Context& context) {
  for (const BackupRequest& request : context.seen.backup_requests) {
    const BackupSeen* backup = context.seen.backup(request.name);
    if (backup != nullptr && backup->proven) continue;
    TaskInput input{.stack = context.stack,
                    .seen = context.seen,
                    .kind = backup == nullptr ? TaskKind::Backup : TaskKind::Prove,
                    .journey = request_journey(context.stack, request.name),
                    .from = context.status.version,
                    .to = context.status.version,
                    .backup = request.name};
    Turn turn = run_task(context, input);
    if (std::holds_alternative<Do>(turn) || std::holds_alternative<Wait>(turn)) return turn;
  }
  return Done{};
}

/// What the database alone tells about a stack this controller has no memory of.
std::string found_version(const Context& context) {
  const auto cursor = cursor_of(context.seen.database.ledger, context.catalog);
  if (!cursor) return "";
  return to_string(cursor->has_patch() ? *cursor : context.catalog.resolve(*cursor));
}

Turn start_install(Context& context, const std::string& target) {
  const Ledger& ledger = context.seen.database.ledger;
  if (context.seen.database.reachable && ledger.model != LedgerModel::None) {
    const std::string found = found_version(context);
    if (found.empty()) {
      return wait_for("VersionUnknown", "a database whose release cannot be told",
                      "a migration record of a known release",
                      "restore a backup of a known release, or ask for the release it is at");
    }
    // An older install is taken over at the release it is at, then upgraded like any other.
    start_journey(context, "Install", "", found, {found});
  } else {
    start_journey(context, "Install", "", target, {target});
  }
  return run_journey(context);
}

Turn blocked_by_catalog(Context& context, const Error& error) {
  const std::string gate = error.kind == ErrorKind::Forbidden  ? "ReleaseDenied"
                           : error.kind == ErrorKind::NotFound ? "ReleaseUnknown"
                                                               : "Downgrade";
  return wait_for(gate, context.status.target_version, "a release the catalog can place",
                  error.message);
}

/// Starts towards the spec's target where nothing forbids it. Done: there is nowhere to go.
Turn start_where_asked(Context& context) {
  if (context.status.latch) return Done{};  // guard(latch)
  const Version target = context.catalog.resolve(context.spec().target());
  if (context.status.version.empty()) {
    const auto placed = context.catalog.place(target);
    if (!placed) return blocked_by_catalog(context, placed.error());
    return start_install(context, to_string(target));
  }
  const auto path = context.catalog.path(version_of(context.status.version), target);
  if (!path) return blocked_by_catalog(context, path.error());
  if (path->empty()) return Done{};
  const auto retry_at = parse_rfc3339(context.status.retry_at);
  if (retry_at && context.now < *retry_at) {
    const auto& history = context.status.history;
    const std::string last = history.empty() ? "" : ", the last: " + history.front().message;
    return wait_for("BackOff", std::to_string(context.status.failures) + " failed tries" + last,
                    context.status.retry_at, "annotate stackspec.dev/retry to try now");
  }
  std::vector<std::string> tags;
  for (const Hop& hop : *path) tags.push_back(to_string(hop.to));
  start_journey(context, "Upgrade", context.status.version, to_string(target), std::move(tags));
  return run_journey(context);
}

Turn delete_old_backups(Context& context) {
  std::vector<std::string> keep;
  if (context.status.latch) keep.push_back(context.status.latch->backup);
  const auto doomed =
      backups_to_delete(context.seen.backups, context.spec().backup, keep, context.now);
  if (doomed.empty()) return Done{};
  return Do{DeleteBackup{doomed.front()}};
}

/// What serves, and not as the spec says: a volume that cannot grow. It holds up nothing.
std::vector<Blocked> unmet_gates(const Context& context) {
  std::vector<Blocked> gates;
  for (const auto& [which, seen] : context.seen.components) {
    const bool serves = seen.exists && seen.ready > 0 && seen.ready >= seen.wanted;
    if (!serves || seen.message.empty()) continue;
    gates.push_back({pascal_case(to_string(which)) + "Ready",
                     std::to_string(seen.ready) + " ready, but " + seen.message, "as spec says",
                     "make possible what was refused; it is tried again every minute"});
  }
  return gates;
}

/// No journey: keep what serves, then look for something to start.
Turn at_rest(Context& context) {
  if (context.spec().suspend) return wait_for("Suspended", "spec.suspend is true", "false");
  Turn turn = converge_foundation(context);
  if (!std::holds_alternative<Done>(turn)) return turn;
  if (!context.status.version.empty() && start_restore(context)) return run_journey(context);
  if (!context.status.version.empty()) {
    turn = converge_serving(context, version_of(context.status.version),
                            std::max(1, context.spec().server.replicas),
                            context.spec().worker.replicas);
    if (std::holds_alternative<Do>(turn)) return turn;
  }
  Turn journey = start_where_asked(context);
  if (!std::holds_alternative<Done>(journey)) return journey;
  if (!std::holds_alternative<Done>(turn) || context.status.version.empty()) return turn;
  turn = converge_flags(context, version_of(context.status.version));
  if (!std::holds_alternative<Done>(turn)) return turn;
  const auto gates = serving_gates(context);
  if (!gates.empty()) return Wait{gates};
  context.upkeep = true;
  turn = fulfil_backup_requests(context);
  if (std::holds_alternative<Done>(turn)) turn = delete_old_backups(context);
  if (!std::holds_alternative<Done>(turn)) return turn;
  const auto unmet = unmet_gates(context);
  if (unmet.empty()) return Done{};
  context.upkeep = false;
  return Wait{unmet};
}

Turn continue_journey(Context& context) {
  Turn turn = converge_foundation(context);
  if (!std::holds_alternative<Done>(turn)) return turn;
  const auto step = parse_step(context.journey().step);
  if (step == Step::Settle && context.spec().suspend) {
    return wait_for("Suspended", "spec.suspend is true", "false");
  }
  turn = run_journey(context);
  if (const Bad* bad = std::get_if<Bad>(&turn)) {
    end_with_verdict(context, *bad);
    return wait_for(bad->reason, bad->message, "a decision",
                    "annotate stackspec.dev/retry, or create a StackRestore");
  }
  if (std::holds_alternative<Done>(turn)) {
    end_journey(context);
    return Wait{};  // Look at the new rest at once.
  }
  return turn;
}

Turn decide(Context& context) {
  if (context.stack.deleting) return Done{};  // Let go: nothing is stopped, nothing is deleted.
  handle_annotations(context);
  const std::string target = to_string(context.catalog.resolve(context.spec().target()));
  context.status.target_version = target;
  if (context.status.latch && context.status.latch->target != target) {
    context.status.latch.reset();
    context.status.failures = 0;
    context.status.retry_at.clear();
  }
  if (context.status.upgrade) {
    const auto step = parse_step(context.journey().step);
    const bool not_begun = step == Step::Plan || step == Step::Preflight;
    const bool other_install = context.journey().kind == "Install" &&
                               context.seen.database.ledger.model == LedgerModel::None &&
                               context.journey().to != target;
    // What keeps an upgrade from beginning may be what the restore is to mend.
    const bool restore = context.journey().kind == "Upgrade" && wanted_restore(context) != nullptr;
    if (not_begun && (target_changed(context) || other_install || restore)) {
      context.status.upgrade.reset();
    }
  }
  return context.status.upgrade ? continue_journey(context) : at_rest(context);
}

milliseconds look_again(const Context& context, const Turn& turn) {
  if (const Do* act = std::get_if<Do>(&turn)) {
    const auto* apply = std::get_if<ApplyComponent>(&act->action);
    // A component that keeps dying is started again by the platform's own back-off.
    const bool dying = apply != nullptr && apply->component.replicas > 0 &&
                       context.seen.component(apply->component.component).restarts > 1;
    return dying ? milliseconds(2000) : milliseconds(20);
  }
  if (context.status.upgrade) return milliseconds(500);
  if (const Wait* wait = std::get_if<Wait>(&turn)) {
    if (wait->gates.empty()) return milliseconds(0);
    // What ends by itself is looked at often; what needs a person or another system less so.
    const std::string& gate = wait->gates.front().gate;
    const bool named = gate == "Task" || gate == "FlagsDrift" || gate.ends_with("Ready") ||
                       gate.ends_with("Stopping");
    const bool ours = named && wait->gates.front().next.empty();
    return ours ? milliseconds(500) : milliseconds(5000);
  }
  // Between 9 and 11 minutes, different from stack to stack, so that many do not probe at once.
  const int jitter = static_cast<int>(context.stack.uid.empty() ? 0 : context.stack.uid.back());
  return seconds(540 + jitter % 120);
}

}  // namespace

std::string request_journey(const Stack& stack, const std::string& request) {
  return short_hash(stack.uid + request);
}

std::string why_not_restore(const Seen& seen, const RestoreRequest& request) {
  const BackupSeen* backup = seen.backup(request.backup);
  if (backup == nullptr) return "there is no backup \"" + request.backup + "\" of this stack";
  if (!backup->proven) return "backup " + backup->id + " was never proven by a restore";
  if (request.accept_loss_since.empty() || request.accept_loss_since > backup->cutoff_time) {
    return "everything written since " + backup->cutoff_time +
           " would be lost; to accept that set spec.acceptLossSince to it";
  }
  return {};
}

Plan make_plan(const Stack& stack, const Seen& seen, const Catalog& catalog, WallTime now) {
  Context context{.stack = stack,
                  .seen = seen,
                  .catalog = catalog,
                  .now = now,
                  .status = stack.status,
                  .events = {}};
  const Turn turn = decide(context);
  report(context, turn);
  Plan plan;
  plan.look_again_in = look_again(context, turn);
  if (const Do* act = std::get_if<Do>(&turn)) {
    plan.action = act->action;
    ++context.status.action_count;
  }
  plan.status = std::move(context.status);
  plan.events = std::move(context.events);
  return plan;
}

bool is_edited_at_rest(const Stack& stack) {
  const StackStatus& status = stack.status;
  const bool is_edited = status.observed_generation != stack.generation;
  const bool is_external = stack.spec.database.external || stack.spec.redis.external_url;
  return is_edited && status.phase == Phase::Ready && !status.upgrade && !is_external;
}

std::optional<Action> plan_edit(const Stack& stack, Seen seen, const Catalog& catalog,
                                WallTime now) {
  if (!is_edited_at_rest(stack)) return {};
  seen.database.reachable = true;
  seen.redis.reachable = true;
  seen.probes.private_health.status = 200;
  seen.probes.private_query.status = 200;
  Plan plan = make_plan(stack, seen, catalog, now);
  const auto* apply = plan.action ? std::get_if<ApplyComponent>(&*plan.action) : nullptr;
  if (apply == nullptr || plan.status.upgrade) return {};
  // Its runs are counted before it is restarted.
  if (apply->component.component == Component::Fundraising) return {};
  return std::move(plan.action);
}

}  // namespace stackspec
