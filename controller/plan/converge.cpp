// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "base/hash.hpp"
#include "plan/context.hpp"

// Keeping what serves as the spec wants it: drift, dead processes, flags.

namespace stackspec {

namespace {

constexpr std::chrono::minutes kFlagRepairEvery{10};

std::string shown(const HttpSeen& http) {
  return http.status == 0 ? "no answer" : std::to_string(http.status);
}

bool has_fundraising(const Context& context) {
  return !context.spec().fundraising.version.empty();
}

/// Workspaces whose flags are not the declared ones.
int flag_drift(const Context& context) {
  const Ledger& ledger = context.seen.database.ledger;
  int drifted = 0;
  for (const Workspace& workspace : ledger.workspaces) {
    if (!is_provisioned(ledger, workspace)) continue;
    const auto rows = ledger.flags.find(workspace.id);
    for (const auto& [key, value] : context.spec().flags) {
      const bool same =
          rows != ledger.flags.end() && rows->second.contains(key) && rows->second.at(key) == value;
      if (!same) {
        ++drifted;
        break;
      }
    }
  }
  return drifted;
}

/// The task will not be tried again under its present name: a verdict, or killed too often.
bool is_spent(const Context& context, const TaskInput& input) {
  return std::holds_alternative<Bad>(run_task(context, input));
}

std::string flags_revision(const Context& context) {
  return short_hash(nlohmann::json(context.spec().flags).dump()) + "-" +
         std::to_string(context.status.flags_attempt);
}

/// What is wrong with the database and Redis that somebody else runs; Done when they can be used.
Turn check_external(const Context& context) {
  const Seen& seen = context.seen;
  if (!seen.unusable_urls.empty()) return Wait{seen.unusable_urls};
  const auto& wanted = context.spec().database.external;
  if (wanted && !seen.database.reachable) {
    return wait_for("DatabaseReachable", seen.database.error, "accepts connections",
                    "check Secret " + wanted->url.name + " and what lies between the pods and it");
  }
  if (context.spec().redis.external_url && !seen.redis.reachable) {
    return wait_for("RedisReachable", seen.redis.error, "answers PING",
                    "check Secret " + context.spec().redis.external_url->name +
                        " and what lies between the pods and it");
  }
  return wanted ? check_external_database(context) : Turn(Done{});
}

}  // namespace

Turn check_external_database(const Context& context) {
  const DatabaseSeen& database = context.seen.database;
  const std::string& known = context.status.system_identifier;
  if (!known.empty() && known != database.system_identifier) {
    return wait_for("SameDatabase", database.system_identifier, known,
                    "let the Secret name the database that the stack was proven on");
  }
  const std::string self = context.stack.key.ns + "/" + context.stack.key.name;
  const std::string& owner = database.external.owner;
  if (!owner.empty() && owner != self) {
    return wait_for("DatabaseOwner", owner, "a database that no other stack has",
                    "name another one; only when " + owner +
                        " is gone for good: DELETE FROM stackspec_meta.owner");
  }
  if (owner.empty() && database.external.occupied) {
    return wait_for("DatabaseOccupied", "a schema core that is not Twenty's", "no such schema",
                    "name another database");
  }
  return Done{};
}

std::optional<ComponentSpec> wanted_component(const Context& context, Component which,
                                              const Version& version) {
  const std::string wanted_for = to_string(version) + " " + context.status.flags_applied;
  if (context.rendered_for != wanted_for) {
    context.rendered = wanted_components(context.stack.key, context.spec(), version,
                                         context.seen.endpoints, context.status.flags_applied);
    context.rendered_for = wanted_for;
  }
  for (const ComponentSpec& component : context.rendered) {
    if (component.component == which) return component;
  }
  return std::nullopt;
}

Do switch_gateway(const Context& context, GatewayMode mode) {
  return {SwitchGateway{mode, has_fundraising(context)}};
}

Turn converge_component(const Context& context, const ComponentSpec& wanted) {
  const ComponentSeen& seen = context.seen.component(wanted.component);
  const bool drift = !seen.exists || seen.wanted != wanted.replicas ||
                     (wanted.replicas > 0 && seen.revision != wanted.revision) ||
                     seen.running < wanted.replicas;
  if (drift) return Do{ApplyComponent{wanted}};
  const std::string name = pascal_case(to_string(wanted.component));
  if (seen.running > wanted.replicas) {
    return wait_for(name + "Stopping", std::to_string(seen.running) + " running",
                    std::to_string(wanted.replicas));
  }
  if (seen.ready < wanted.replicas) {
    return wait_for(name + "Ready",
                    std::to_string(seen.ready) + "/" + std::to_string(wanted.replicas) + " ready" +
                        (seen.message.empty() ? "" : ", " + seen.message),
                    std::to_string(wanted.replicas) + " ready");
  }
  return Done{};
}

Turn converge_foundation(Context& context) {
  const bool external = context.spec().database.external || context.spec().redis.external_url;
  if (external && !context.seen.platform.external_services) {
    return wait_for("NotSupported", "spec.database.external or spec.redis.external", "managed",
                    "not supported yet on this platform; use managed");
  }
  for (const Component which : {Component::Postgres, Component::Redis, Component::Gateway}) {
    const auto wanted = wanted_component(context, which, Version{});
    if (!wanted) continue;  // external
    // During a journey only what is down is touched: no restart of a database under a migration.
    if (context.status.upgrade && context.seen.component(which).running > 0) continue;
    Turn turn = converge_component(context, *wanted);
    if (!std::holds_alternative<Done>(turn)) return turn;
  }
  if (external) {
    Turn turn = check_external(context);
    if (!std::holds_alternative<Done>(turn)) return turn;
  }
  if (!context.seen.database.reachable) {
    return wait_for("DatabaseReachable", context.seen.database.error, "accepts connections");
  }
  if (!context.seen.redis.reachable) {
    return wait_for("RedisReachable", "no answer", "answers PING");
  }
  return Done{};
}

Turn verify_server(Context& context, const Version& version, int replicas) {
  auto wanted = wanted_component(context, Component::Server, version);
  wanted->replicas = replicas;
  Turn turn = converge_component(context, *wanted);
  if (!std::holds_alternative<Done>(turn) || replicas == 0) return turn;
  const ProbesSeen& probes = context.seen.probes;
  if (probes.private_health.status != 200) {
    return wait_for("ServerHealth", shown(probes.private_health), "200 through the gateway");
  }
  if (probes.private_query.status != 200) {
    return wait_for("ServerQuery",
                    probes.query_error.empty() ? shown(probes.private_query) : probes.query_error,
                    "a real query answers");
  }
  return Done{};
}

std::vector<Blocked> serving_gates(const Context& context) {
  std::vector<Blocked> gates;
  const ProbesSeen& probes = context.seen.probes;
  if (probes.public_front.status == 0 || probes.public_front.status >= 500) {
    gates.push_back({"FrontDoor", shown(probes.public_front), "an answer below 500", ""});
  }
  if (probes.private_query.status != 200) {
    gates.push_back({"ServerQuery",
                     probes.query_error.empty() ? shown(probes.private_query) : probes.query_error,
                     "a real query answers", ""});
  }
  if (context.spec().worker.replicas > 0 && !context.seen.redis.worker_attached) {
    gates.push_back({"WorkerAttached", "no worker in Redis", "one or more", ""});
  }
  if (has_fundraising(context) && probes.fundraising.status != 200) {
    gates.push_back(
        {"FundraisingHealth", shown(probes.fundraising), "200 through the gateway", ""});
  }
  for (const SmokeCheck& check : context.spec().smoke) {
    const auto found = probes.smoke.find(check.name);
    const HttpSeen seen = found == probes.smoke.end() ? HttpSeen{} : found->second;
    if (seen.status != check.expect_status) {
      gates.push_back(
          {"Smoke", check.name + ": " + shown(seen), std::to_string(check.expect_status), ""});
    }
  }
  return gates;
}

Turn converge_serving(Context& context, const Version& version, int server_replicas,
                      int worker_replicas) {
  Turn turn = verify_server(context, version, server_replicas);
  if (!std::holds_alternative<Done>(turn)) return turn;
  if (auto fundraising = wanted_component(context, Component::Fundraising, version)) {
    const ComponentSeen& seen = context.seen.component(Component::Fundraising);
    const bool restart = seen.running > 0 && seen.revision != fundraising->revision;
    if (restart && context.seen.probes.fundraising_runs > 0) {
      return wait_for("FundraisingRuns",
                      std::to_string(context.seen.probes.fundraising_runs) + " active", "0 active");
    }
    turn = converge_component(context, *fundraising);
    if (std::holds_alternative<Do>(turn)) return turn;  // Its readiness is judged with the rest.
  }
  auto worker = wanted_component(context, Component::Worker, version);
  worker->replicas = worker_replicas;
  turn = converge_component(context, *worker);
  if (std::holds_alternative<Do>(turn)) return turn;
  if (!context.seen.gateway_open) {
    return switch_gateway(context, GatewayMode::Open);
  }
  return turn;
}

Turn converge_flags(Context& context, const Version& version) {
  const int drifted = flag_drift(context);
  const auto drift = [&](std::string next) {
    return wait_for("FlagsDrift", std::to_string(drifted) + " workspaces", "0", std::move(next));
  };
  const auto task = [&] {
    return TaskInput{.stack = context.stack,
                     .seen = context.seen,
                     .kind = TaskKind::Flags,
                     .journey = short_hash(context.stack.uid + flags_revision(context)),
                     .to = to_string(version)};
  };
  const TaskSeen* last = finished_task(context, task());
  const bool written = last != nullptr && last->outcome == Outcome::Ok;
  if (written && context.status.flags_applied != flags_revision(context)) {
    // Server and worker carry this in their revision, so both are restarted next: they keep flags
    // in memory.
    context.status.flags_applied = flags_revision(context);
    return drift("");
  }
  if (drifted == 0) {
    // The rows come first: the task may still be emptying the cache that hides them.
    Turn turn = run_task(context, task());
    return std::holds_alternative<Wait>(turn) ? turn : Done{};
  }
  const bool failed = !written && is_spent(context, task());
  if (written || failed) {
    // A new workspace is an everyday reason; somebody who keeps undoing the flags is none to
    // restart the stack again and again.
    const auto minute = std::chrono::floor<std::chrono::minutes>(context.now).time_since_epoch();
    if (minute - std::chrono::minutes(context.status.flags_attempt) < kFlagRepairEvery) {
      return drift(failed ? "read the log of task " + last->name + "; tried again in 10 minutes"
                          : "repaired every 10 minutes; find who writes core.\"featureFlag\"");
    }
    context.status.flags_attempt = static_cast<int>(minute.count());
  }
  Turn turn = run_task(context, task());
  if (std::holds_alternative<Done>(turn)) return drift("");
  return turn;
}

}  // namespace stackspec
