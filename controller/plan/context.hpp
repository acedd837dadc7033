// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "plan/plan.hpp"
#include "plan/tasks.hpp"

// What the parts of the planner share. Internal to plan/.

namespace stackspec {

/// One pass in the making: the arguments of make_plan() and the status being written.
struct Context {
  const Stack& stack;
  const Seen& seen;
  const Catalog& catalog;
  WallTime now;
  StackStatus status;
  std::vector<Event> events;
  /// The action or wait of this pass is upkeep beside a stack that is ready: a backup somebody
  /// asked for, an old backup that goes.
  bool upkeep = false;
  /// The components as last rendered, and for what: one pass asks for them many times.
  mutable std::string rendered_for = {};
  mutable std::vector<ComponentSpec> rendered = {};

  const StackSpec& spec() const { return stack.spec; }
  /// The journey in flight; only called where there is one.
  UpgradeStatus& journey() { return *status.upgrade; }
  void event(Event::Type type, std::string reason, std::string message) {
    events.push_back({type, std::move(reason), std::move(message)});
  }
};

// What one rung says. Exactly one of these ends a pass, except Next, which goes on at once.

/// Nothing to do but look again; every gate says what it waits for.
struct Wait {
  std::vector<Blocked> gates;
};
struct Do {
  Action action;
};
struct Next {
  Step step;
};
/// The journey has ended well, or its present rung has nothing left to do.
struct Done {};
/// A verdict against the present rung; what follows depends on the rung.
struct Bad {
  std::string reason;
  std::string message;
};
using Turn = std::variant<Done, Wait, Do, Next, Bad>;

inline Wait wait_for(std::string gate, std::string seen, std::string wanted,
                     std::string next = {}) {
  return {{{std::move(gate), std::move(seen), std::move(wanted), std::move(next)}}};
}

// ---- components (plan/converge.cpp) ----

/// The component as it should be at `version`; nullptr-like (exists false) when the stack has none.
std::optional<ComponentSpec> wanted_component(const Context& context, Component which,
                                              const Version& version);
/// PostgreSQL, Redis and the gateway process: needed in every phase, even behind the fence.
Turn converge_foundation(Context& context);
/// The external database is the one that was proven, and nobody else's.
Turn check_external_database(const Context& context);
/// Everything that serves, at `version`, gateway open. Done when all of it is ready.
Turn converge_serving(Context& context, const Version& version, int server_replicas,
                      int worker_replicas);
/// What users reach from now on: the stack, or the maintenance page.
Do switch_gateway(const Context& context, GatewayMode mode);
/// One component: Do(apply) on drift, Wait while not ready, Done.
Turn converge_component(const Context& context, const ComponentSpec& wanted);
/// Server at `version` with `replicas`, answering a real query through the private listener.
Turn verify_server(Context& context, const Version& version, int replicas);
/// Flags as declared in every provisioned workspace; repairs by a task. Done when there is no
/// drift.
Turn converge_flags(Context& context, const Version& version);
/// Front door, worker, fundraising and smoke tests as users meet them.
std::vector<Blocked> serving_gates(const Context& context);

// ---- tasks (plan/ladder.cpp) ----

/// Starts the task if it never was, waits while it runs, starts the next attempt when it was
/// interrupted (at most three). Done when it ended ok; Bad with its verdict.
Turn run_task(const Context& context, TaskInput input);
/// The last attempt of the task that ended, for its result; nullptr when none did.
const TaskSeen* finished_task(const Context& context, TaskInput input);

// ---- journeys (plan/ladder.cpp) ----

void start_journey(Context& context, const std::string& kind, const std::string& from,
                   const std::string& to, std::vector<std::string> path);
/// Goes on with the journey in flight until an action, a wait, or its end.
Turn run_journey(Context& context);

// ---- status for people (plan/report.cpp) ----

/// Phase, message, conditions, components, … from the memory and what was seen.
void report(Context& context, const Turn& turn);

/// The release whose data and image the stack falls back to while hop `hop` is being made.
std::string hop_from(const UpgradeStatus& journey);
/// The spec no longer asks for what the journey goes to.
bool target_changed(const Context& context);

// UpgradeStatus::reason where the planner itself looks at it again.
inline constexpr const char* kSuspended = "Suspended";
inline constexpr const char* kTargetChanged = "TargetChanged";
inline constexpr const char* kRetried = "Retried";
inline constexpr const char* kStuck = "Stuck";  ///< A verdict without a way back: a person decides.

/// `server` -> `Server`: gates and reasons are PascalCase like conditions.
std::string pascal_case(std::string_view word);

/// `1.16.6` or `v1.16.6` -> Version; a version our own status wrote always parses.
Version version_of(const std::string& tag);

}  // namespace stackspec
