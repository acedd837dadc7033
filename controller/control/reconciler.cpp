// SPDX-License-Identifier: Apache-2.0
#include "control/reconciler.hpp"

#include "base/log.hpp"
#include "control/requests.hpp"
#include "control/stack_objects.hpp"
#include "plan/plan.hpp"

namespace stackspec {

namespace {

/// When the newest `step` of the journey began.
std::string started_of(const UpgradeStatus& journey, Step step) {
  for (auto record = journey.steps.rbegin(); record != journey.steps.rend(); ++record) {
    if (record->name == to_string(step)) return record->started_at;
  }
  return {};
}

/// Counts what one pass changed: steps that ended, journeys that ended, gates.
void count_pass(Telemetry& telemetry, const Stack& before, const StackStatus& after, WallTime now) {
  for (const Blocked& gate : after.blocked_by) {
    telemetry.gate_evaluated(gate.gate, GateResult::Blocked);
  }
  for (const Blocked& gate : before.status.blocked_by) {
    const bool still = std::any_of(after.blocked_by.begin(), after.blocked_by.end(),
                                   [&](const Blocked& other) { return other.gate == gate.gate; });
    if (!still) telemetry.gate_evaluated(gate.gate, GateResult::Passed);
  }
  const auto& journey = before.status.upgrade;
  if (!journey) return;
  const auto seconds_since = [now](const std::string& time) {
    const auto then = parse_rfc3339(time);
    return then ? static_cast<double>((now - *then).count()) : 0.0;
  };
  const bool ended = !after.upgrade || after.upgrade->id != journey->id;
  if (const auto step = parse_step(journey->step);
      step && (ended || after.upgrade->step != journey->step)) {
    telemetry.step_finished(*step, seconds_since(journey->step_started_at));
    if (*step == Step::Prove && !ended) {
      const bool proven = after.upgrade->step == to_string(Step::Migrate);
      telemetry.backup_finished(proven ? BackupResult::Proven : BackupResult::Failed,
                                seconds_since(started_of(*journey, Step::Backup)));
    }
    if (*step == Step::Open) telemetry.outage_finished(seconds_since(journey->fenced_at));
  }
  if (!ended || after.history.empty()) return;
  const std::string& result = after.history.front().result;
  telemetry.journey_finished(journey->kind,
                             result == "RolledBack" ? JourneyResult::RolledBack
                             : result == "Unfenced" ? JourneyResult::Unfenced
                             : result == "Failed" || result == "Unsettled"
                                 ? JourneyResult::Stalled
                                 : JourneyResult::Succeeded,
                             seconds_since(journey->started_at));
}

void log_plan(const Stack& stack, const Plan& plan) {
  nlohmann::json fields = {{"stack", stack.key.ns + "/" + stack.key.name}};
  if (plan.status.upgrade) fields["step"] = plan.status.upgrade->step;
  for (const Event& event : plan.events) {
    fields["event"] = event.reason;
    fields["detail"] = event.message;
    if (event.type == Event::Type::Warning) {
      log::warn("stack event", fields);
    } else {
      log::info("stack event", fields);
    }
  }
}

}  // namespace

Result<std::chrono::milliseconds> Reconciler::reconcile(const StackKey& key, std::stop_token stop) {
  auto loaded = load_stack(parts_.objects, key);
  if (!loaded && loaded.error().kind == ErrorKind::NotFound) {
    parts_.telemetry.forget(key);
    budget_.forget(key);
    return std::chrono::milliseconds::max();
  }
  if (!loaded) return std::move(loaded).error();
  const Stack stack = std::move(loaded).value();

  // observe
  const bool is_new = stack.status.observed_generation < 0 && !stack.deleting;
  if (is_new) TRY(parts_.platform.prepare(stack, stop));
  const Secrets secrets = TRY(load_secrets(parts_.objects, stack, parts_.random));
  Catalog own;
  std::vector<Event> events;
  if (secrets.generated) {
    events.push_back({Event::Type::Normal, "SecretGenerated", secrets_name(stack.key, stack.spec)});
  }
  if (stack.spec.catalog) {
    auto catalog = load_catalog(parts_.objects, stack);
    if (catalog) {
      own = std::move(catalog).value();
    } else {
      // Without a catalog nothing can be placed: the stack serves on, gate ReleaseUnknown.
      events.push_back({Event::Type::Warning, "InvalidSpec", catalog.error().message});
    }
  }
  const Catalog& catalog = stack.spec.catalog ? own : parts_.catalog;
  const WallTime now = parts_.clock.wall_now();
  const Requests requests = TRY(list_requests(parts_.objects, stack));
  if (is_edited_at_rest(stack)) {
    Seen first = seen_of(TRY(parts_.platform.glance(stack, stop)));
    add_requests(requests, first);
    const auto edit = plan_edit(stack, std::move(first), catalog, now);
    // Where it fails, the plan below asks for it again, and tells.
    if (edit) static_cast<void>(act(stack, *edit, secrets.values, stop));
  }
  Seen seen = TRY(parts_.observer.observe(stack, secrets.values, catalog, stop));
  seen.missing_secrets = secrets.missing;
  seen.key_fingerprints = fingerprints(stack, secrets.values);
  add_requests(requests, seen);

  // plan
  const Plan plan = make_plan(stack, seen, catalog, now);
  events.insert(events.end(), plan.events.begin(), plan.events.end());

  // The intent is on disk before the deed: a pass after a crash finds what this one was about to
  // do.
  const Written written = TRY(save_status(parts_.objects, stack, plan.status));
  if (written == Written::Yes) parts_.telemetry.status_written();

  // act
  Result<void> done;
  if (plan.action) {
    done = act(stack, *plan.action, secrets.values, stop);
    // Whoever wrote first or leads now is no failure of the action: it is decided again.
    const bool failed = !done && done.error().kind != ErrorKind::Conflict &&
                        done.error().kind != ErrorKind::Cancelled;
    if (failed) events.push_back({Event::Type::Warning, "ActionFailed", done.error().message});
  }

  // report
  log_plan(stack, plan);
  record_events(parts_.objects, stack, budget_.admit(key, events, parts_.clock.steady_now()), now);
  count_pass(parts_.telemetry, stack, plan.status, now);
  Stack after = stack;
  after.status = plan.status;
  parts_.telemetry.observe(after);
  TRY(report_requests(parts_.objects, requests, {stack, seen, plan.status, now}));
  if (!done) return std::move(done).error().in(describe(*plan.action));
  return plan.look_again_in;
}

Result<void> Reconciler::act(const Stack& stack, const Action& action, const SecretValues& secrets,
                             const std::stop_token& stop) {
  log::info("action",
            {{"stack", stack.key.ns + "/" + stack.key.name}, {"action", describe(action)}});
  auto done = parts_.platform.act(stack, action, secrets, stop);
  parts_.telemetry.action_finished(action, done ? ActionResult::Done : ActionResult::Failed);
  return done;
}

}  // namespace stackspec
