// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "api/codec.hpp"
#include "fakes/world.hpp"
#include "plan/plan.hpp"

// Walks the planner through every state it can reach from a start, with up to `budget` mishaps at
// any moment: a crash between intent and deed, a stale look, a killed task, a dead process, another
// writer, time. In every state the world must have nothing to complain about (I1-I5), and from
// every state the stack must come to rest (I7) serving or stalled with a reason (I13), Ready
// telling the truth (I10).

namespace stackspec {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kStart{std::chrono::seconds(1795251600)};

struct State {
  World world;
  Stack stack;
  WallTime now = kStart;
  Seen before;  ///< The look before this one, for a stale pass.
  int budget = 0;
};

std::string key_of(const State& state) {
  return state.world.key() + "#" + to_json(state.stack.status).dump() + state.stack.spec.tag +
         (state.stack.spec.suspend ? "S" : "") + std::to_string(state.budget) + "@" +
         std::to_string(state.now.time_since_epoch().count());
}

enum class Mishap {
  None,
  CrashBeforeDeed,
  LostIntent,
  StaleLook,
  TaskKilled,
  ServerDies,
  PostgresDies,
  WorkerByHand,
  GatewayByHand,
  HourPasses,
  Suspend,
  Resume,
  OtherTarget,
  ForeignSession,
};
constexpr Mishap kMishaps[] = {Mishap::CrashBeforeDeed, Mishap::LostIntent,    Mishap::StaleLook,
                               Mishap::TaskKilled,      Mishap::ServerDies,    Mishap::PostgresDies,
                               Mishap::WorkerByHand,    Mishap::GatewayByHand, Mishap::HourPasses,
                               Mishap::Suspend,         Mishap::Resume,        Mishap::OtherTarget,
                               Mishap::ForeignSession};

struct Start {
  const char* name;
  const char* from;  ///< Empty: nothing installed yet.
  const char* to;
  const char* other;  ///< What Mishap::OtherTarget asks for.
  FakeFaults faults;
  int budget;
};

Stack make_stack(const Start& start) {
  Stack stack;
  stack.key = {"default", "crm"};
  stack.uid = "uid-1";
  stack.spec.tag = start.to;
  stack.spec.flags = {{"IS_AI_ENABLED", true}};
  stack.spec.upgrade.soak_seconds = 0;
  return stack;
}

/// One pass: the intent is stored, then the deed is done.
bool pass(State& state, Mishap mishap) {
  const Seen now_seen = state.world.see();
  const Seen& seen = mishap == Mishap::StaleLook ? state.before : now_seen;
  const Plan plan = make_plan(state.stack, seen, Catalog::builtin(), state.now);
  bool changed = plan.action.has_value() || !(plan.status == state.stack.status);
  if (mishap != Mishap::LostIntent) state.stack.status = plan.status;
  const bool dies = mishap == Mishap::LostIntent || mishap == Mishap::CrashBeforeDeed;
  if (plan.action && !dies) state.world.act(*plan.action);
  state.before = now_seen;
  const std::string before = state.world.key();
  state.world.tick();
  return changed || before != state.world.key();
}

void suffer(State& state, Mishap mishap, const Start& start) {
  switch (mishap) {
    case Mishap::None:
    case Mishap::CrashBeforeDeed:
    case Mishap::LostIntent:
    case Mishap::StaleLook: return;
    case Mishap::TaskKilled: state.world.interrupt(); return;
    case Mishap::ServerDies: state.world.kill(Component::Server); return;
    case Mishap::PostgresDies: state.world.kill(Component::Postgres); return;
    case Mishap::WorkerByHand: {
      FakeComponent& worker = state.world.components[Component::Worker];
      if (worker.exists) worker.wanted = worker.running = 1;
      return;
    }
    case Mishap::GatewayByHand: state.world.gateway_open = true; return;
    case Mishap::HourPasses: state.now += 1h; return;
    case Mishap::Suspend: state.stack.spec.suspend = true; return;
    case Mishap::Resume: state.stack.spec.suspend = false; return;
    case Mishap::OtherTarget: state.stack.spec.tag = start.other; return;
    case Mishap::ForeignSession:
      state.world.faults.foreign_session = !state.world.faults.foreign_session;
      return;
  }
}

std::string condition(const StackStatus& status, const std::string& type) {
  for (const Condition& each : status.conditions) {
    if (each.type == type) return each.status;
  }
  return "absent";
}

bool serves(const State& state) {
  const Seen seen = state.world.see();
  return seen.probes.public_front.status == 200 && seen.probes.private_query.status == 200;
}

/// Ready=True only when the target is proven and serves (I10), in this very state.
void expect_truth(const State& state) {
  const StackStatus& status = state.stack.status;
  if (condition(status, "Ready") != "True" || state.stack.spec.suspend) return;
  EXPECT_EQ(status.version, status.target_version);
  EXPECT_FALSE(status.upgrade.has_value());
  EXPECT_EQ(condition(status, "Stalled"), "absent");
  EXPECT_EQ(condition(status, "Reconciling"), "absent");
}

/// Lets the state run without mishaps until nothing changes any more.
void expect_rest(State state) {
  state.world.faults.foreign_session = false;
  int jumps = 0;
  for (int steps = 0; steps < 400; ++steps) {
    if (pass(state, Mishap::None)) continue;
    const StackStatus& status = state.stack.status;
    const bool waits = status.upgrade.has_value() || !status.retry_at.empty();
    const bool stalled = condition(status, "Stalled") == "True";
    if (waits && !stalled && !state.stack.spec.suspend && ++jumps < 8) {
      state.now += 2h;
      continue;
    }
    const int actions = state.world.actions;
    pass(state, Mishap::None);
    EXPECT_EQ(state.world.actions, actions) << "I8 a write at rest";
    EXPECT_TRUE(serves(state) || stalled || state.stack.spec.suspend)
        << "I13 neither serving nor stalled: " << to_json(status).dump(1);
    EXPECT_TRUE(state.world.violations.empty()) << state.world.violations.front();
    return;
  }
  ADD_FAILURE() << "I7 never comes to rest: " << to_json(state.stack.status).dump(1);
}

void report(const State& state) {
  std::string log;
  for (const std::string& line : state.world.log) log += "\n  " + line;
  ADD_FAILURE() << state.world.violations.front() << log << "\n"
                << to_json(state.stack.status).dump(1);
}

/// Depth first over all states; every state is looked at once.
std::size_t walk(State first, const Start& start) {
  std::unordered_set<std::size_t> visited;
  std::vector<State> open{std::move(first)};
  const std::hash<std::string> hash;
  while (!open.empty() && !::testing::Test::HasFailure()) {
    State state = std::move(open.back());
    open.pop_back();
    if (!visited.insert(hash(key_of(state))).second) continue;
    if (!state.world.violations.empty()) {
      report(state);
      break;
    }
    expect_truth(state);
    if (state.budget == 0) {
      State next = state;
      // Without mishaps left the future is one line: followed to its end the first time it is met.
      if (pass(next, Mishap::None)) {
        open.push_back(std::move(next));
      } else {
        expect_rest(std::move(state));
      }
      continue;
    }
    for (const Mishap mishap : kMishaps) {
      State next = state;
      --next.budget;
      suffer(next, mishap, start);
      pass(next, mishap);
      open.push_back(std::move(next));
    }
    State next = state;
    if (pass(next, Mishap::None)) open.push_back(std::move(next));
  }
  return visited.size();
}

/// A stack that serves `from` and was told to go to `to`.
State installed(const Start& start) {
  State state{.world = World(Catalog::builtin()), .stack = make_stack(start), .before = {}};
  if (*start.from != '\0') {
    state.stack.spec.tag = start.from;
    for (int i = 0; i < 200 && pass(state, Mishap::None); ++i) {
    }
    EXPECT_EQ(state.stack.status.version, start.from);
    EXPECT_EQ(condition(state.stack.status, "Ready"), "True")
        << to_json(state.stack.status).dump(1);
    state.stack.spec.tag = start.to;
  }
  state.before = state.world.see();
  state.world.faults = start.faults;
  state.budget = start.budget;
  return state;
}

TEST(Model, InvariantsHoldInEveryStateAndEveryStateComesToRest) {
  const Start starts[] = {
      {"install", "", "v1.15.4", "v1.16.6", {}, 2},
      {"one hop", "v1.15.4", "v1.16.6", "v1.15.4", {}, 2},
      {"one hop, raised meanwhile", "v1.15.4", "v1.16.6", "v1.17.4", {}, 2},
      {"two hops", "v1.15.4", "v1.17.4", "v1.16.6", {}, 1},
      {"bad release", "v1.15.4", "v1.16.6", "v1.17.4", {.bad_release = "v1.16.6"}, 2},
      {"bad second hop", "v1.15.4", "v1.17.4", "v1.16.6", {.bad_release = "v1.17.4"}, 1},
      {"failing release", "v1.15.4", "v1.16.6", "v1.15.4", {.failing_release = "v1.16.6"}, 2},
      {"mute release", "v1.15.4", "v1.16.6", "v1.15.4", {.mute_release = "v1.16.6"}, 1},
      {"backup fails", "v1.15.4", "v1.16.6", "v1.15.4", {.backup_fails = true}, 1},
      {"proof fails", "v1.15.4", "v1.16.6", "v1.15.4", {.prove_fails = true}, 1},
      {"foreign session", "v1.15.4", "v1.16.6", "v1.15.4", {.foreign_session = true}, 1},
  };
  std::size_t states = 0;
  for (const Start& start : starts) {
    SCOPED_TRACE(start.name);
    const std::size_t seen = walk(installed(start), start);
    RecordProperty(start.name, static_cast<int>(seen));
    std::printf("%-28s %zu states\n", start.name, seen);
    states += seen;
    if (HasFailure()) return;
  }
  EXPECT_GT(states, 5000U) << "the walk no longer reaches what it is for";
}

}  // namespace
}  // namespace stackspec
