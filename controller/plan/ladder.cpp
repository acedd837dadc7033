// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/hash.hpp"
#include "plan/context.hpp"
#include "twenty/logs.hpp"

// The rungs of a journey. Each rung is a function from the world to one Turn; run_journey() at the
// end of the file is the only place that moves from rung to rung.

namespace stackspec {

namespace {

constexpr int kMaxAttempts = 3;
/// How long the fence waits for the queues to run dry before it says the number and goes on: repeat
/// jobs are always in `delayed`, so zero may never come.
constexpr std::chrono::seconds kQueueDrain{60};
constexpr std::int64_t kDiskReserve = 200LL << 20;
constexpr std::int64_t kMinMemory = 256LL << 20;

bool is(const Turn& turn, auto&& type) {
  return std::holds_alternative<std::decay_t<decltype(type)>>(turn);
}

std::chrono::seconds since(const Context& context, const std::string& time) {
  const auto then = parse_rfc3339(time);
  return then ? context.now - *then : std::chrono::seconds(0);
}

/// Where RollBack ends: the start of the hop, or what the person asked to restore.
std::string fallback_of(const UpgradeStatus& journey) {
  return journey.kind == "Restore" ? journey.to : hop_from(journey);
}

TaskInput input_of(Context& context, TaskKind kind) {
  const UpgradeStatus& journey = context.journey();
  return {.stack = context.stack,
          .seen = context.seen,
          .kind = kind,
          .journey = journey.id,
          .hop = journey.hop,
          .from = hop_from(journey),
          .to = journey.hop_to,
          .backup = journey.backup};
}

// ---- the fence ----

Turn stop_component(Context& context, Component which) {
  auto wanted = wanted_component(context, which, version_of(fallback_of(context.journey())));
  wanted->replicas = 0;
  return converge_component(context, *wanted);
}

/// Sessions that can touch Twenty's data: in a shared database other applications come and go.
std::vector<Session> sessions_that_count(const Context& context) {
  std::vector<Session> all = context.seen.database.sessions;
  const auto& external = context.spec().database.external;
  if (external && external->shared) {
    std::erase_if(
        all, [&](const Session& session) { return session.user != context.seen.database.user; });
  }
  return all;
}

Turn wait_for_sessions(const Context& context) {
  const auto sessions = sessions_that_count(context);
  if (sessions.empty()) return Done{};
  std::string names;
  bool foreign = false;
  for (const Session& session : sessions) {
    foreign = foreign || !session.ours;
    if (!names.empty()) names += ", ";
    names += (session.application.empty() ? "(no name)" : session.application) + " of " +
             session.user + " from " + (session.address.empty() ? "a socket" : session.address) +
             ", pid " + std::to_string(session.pid);
  }
  return wait_for(foreign ? "ForeignSessions" : "Sessions", names, "no session on the database",
                  foreign ? "close it, or: select pg_terminate_backend(" +
                                std::to_string(sessions.front().pid) + ")"
                          : "");
}

/// Holds the fence, or raises it again where somebody lowered it: nobody writes to the database
/// but our tasks. Used by every rung from Fence to Migrate and by RollBack.
Turn hold_fence(Context& context) {
  Turn turn = stop_component(context, Component::Worker);
  if (!is(turn, Done{})) return turn;
  if (context.seen.gateway_open) {  // guard(gateway-closed)
    return switch_gateway(context, GatewayMode::Closed);
  }
  turn = stop_component(context, Component::Server);
  if (!is(turn, Done{})) return turn;
  if (context.journey().fenced_at.empty()) context.journey().fenced_at = to_rfc3339(context.now);
  return Done{};
}

/// The fence between the backup and the migration. Where somebody lowered it by hand, users may
/// have written since the backup: it is worth nothing any more, and the fence begins anew.
Turn keep_fence(Context& context) {
  Turn turn = hold_fence(context);
  if (!is(turn, Do{})) return turn;  // guard(fence-kept)
  UpgradeStatus& journey = context.journey();
  journey.id = short_hash(journey.id + std::to_string(context.status.action_count));
  journey.backup.clear();
  context.event(Event::Type::Warning, "FenceBroken", "users may have written: backing up again");
  return Next{Step::Fence};
}

/// Before users are sent away: what should come to rest while they are still served.
Turn drain(Context& context) {
  const Seen& seen = context.seen;
  if (!seen.gateway_open) return Done{};
  if (seen.probes.fundraising_runs > 0) {
    return wait_for("FundraisingRuns", std::to_string(seen.probes.fundraising_runs) + " active",
                    "0 active");
  }
  for (const Workspace& workspace : seen.database.ledger.workspaces) {
    if (!workspace.old_creation) {
      return wait_for("WorkspaceBeingCreated", workspace.id, "created, or older than an hour");
    }
  }
  const Release* release = context.catalog.find(version_of(context.journey().hop_to));
  const bool flushes = release != nullptr && release->flushes_queues;
  if (flushes && seen.redis.queued_jobs > 0) {
    if (since(context, context.journey().step_started_at) < kQueueDrain) {
      return wait_for("QueuedJobs", "jobs waiting", "0, or a minute of waiting");
    }
    context.event(Event::Type::Warning, "QueuedJobsDropped",
                  std::to_string(seen.redis.queued_jobs) +
                      " queued jobs go with the cache flush of this release");
  }
  return Done{};
}

Turn fence(Context& context) {
  UpgradeStatus& journey = context.journey();
  if (context.seen.component(Component::Worker).wanted > 0) {
    Turn turn = drain(context);
    if (!is(turn, Done{})) return turn;
  }
  Turn turn = hold_fence(context);
  if (!is(turn, Done{})) return turn;
  turn = wait_for_sessions(context);  // guard(no-sessions)
  if (!is(turn, Done{})) return turn;
  return Next{journey.kind == "Restore" ? Step::RollBack : Step::Backup};
}

// ---- before the fence ----

void add_ledger_gates(const Context& context, const Version& at, std::vector<Blocked>& gates) {
  for (const GateFinding& finding : clean_gate(context.seen.database.ledger, at, context.catalog)) {
    gates.push_back({finding.gate, finding.seen, finding.wanted,
                     "finish or restore the upgrade that left this behind"});
  }
}

void add_database_gates(const Context& context, std::vector<Blocked>& gates) {
  const DatabaseSeen& database = context.seen.database;
  const UpgradeStatus& journey = *context.status.upgrade;
  int needed = 0;
  for (const std::string& tag : journey.path) {
    if (const Release* release = context.catalog.find(version_of(tag))) {
      needed = std::max(needed, release->min_postgres);
    }
  }
  if (database.server_major < needed) {
    gates.push_back({"PostgresVersion", std::to_string(database.server_major),
                     std::to_string(needed) + " or newer", "upgrade PostgreSQL first"});
  }
  for (const char* extension : {"uuid-ossp", "unaccent", "citext"}) {
    const auto has = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), extension) != list.end();
    };
    if (!has(database.extensions) && !has(database.available_extensions)) {
      gates.push_back(
          {"Extension", std::string(extension) + " is not there", "installed",
           context.spec().database.external
               ? "let an administrator run CREATE EXTENSION \"" + std::string(extension) + "\""
               : "install PostgreSQL's contrib package"});
    }
  }
  const std::string& known = context.status.system_identifier;
  if (!known.empty() && !database.system_identifier.empty() &&
      known != database.system_identifier) {
    gates.push_back({"SameDatabase", database.system_identifier, known,
                     "this is another PostgreSQL cluster than the stack was proven on"});
  }
}

void add_session_gates(const Context& context, std::vector<Blocked>& gates) {
  const bool here = context.seen.component(Component::Server).running > 0 ||
                    context.seen.component(Component::Worker).running > 0;
  for (const Session& session : sessions_that_count(context)) {
    // A server by our name that is not here runs somewhere else on the same database.
    const bool elsewhere = !here && (session.application.ends_with("/server") ||
                                     session.application.ends_with("/worker"));
    if (session.ours && !elsewhere) continue;
    gates.push_back(
        {"ForeignSessions",
         session.application + " of " + session.user + ", pid " + std::to_string(session.pid),
         "no other program on the database", "close it before the upgrade"});
  }
}

void add_dependents_gate(const Context& context, std::vector<Blocked>& gates) {
  std::string names;
  for (const std::string& one : context.seen.database.external.foreign_dependents) {
    names += (names.empty() ? "" : ", ") + one;
  }
  if (names.empty()) return;
  gates.push_back({"ForeignDependents", names, "nothing of others depends on Twenty's schemas",
                   "drop it for the time of the upgrade, or set spec.upgrade.onFailure to Stall: a "
                   "restore would leave it with the data that is set aside"});
}

/// What a database and a Redis must allow that somebody else runs.
void add_external_gates(const Context& context, std::vector<Blocked>& gates) {
  const UpgradeStatus& journey = *context.status.upgrade;
  const DatabaseSeen& database = context.seen.database;
  if (context.spec().database.external) {
    if (!database.external.may_create) {
      gates.push_back({"DatabaseRights", database.user + " may not create schemas and functions",
                       "CREATE on the database and on its schema public",
                       "GRANT CREATE ON DATABASE \"" + database.name + "\" TO \"" + database.user +
                           "\"; GRANT CREATE ON SCHEMA public TO \"" + database.user + "\""});
    }
    if (!database.external.direct) {
      gates.push_back({"DirectConnection", "a pooler hands out connections by transaction",
                       "sessions that keep their locks",
                       "name the server itself in spec.database.external.maintenanceUrlSecretRef"});
    }
    const bool may_restore =
        journey.kind == "Restore" ||
        (journey.kind == "Upgrade" && context.spec().upgrade.on_failure == OnFailure::RollBack);
    if (may_restore) add_dependents_gate(context, gates);
    if (journey.kind == "Install") add_session_gates(context, gates);
  }
  const std::string& eviction = context.seen.redis.eviction_policy;
  if (context.spec().redis.external_url && !eviction.empty() && eviction != "noeviction") {
    gates.push_back({"RedisEviction", eviction, "noeviction",
                     "set maxmemory-policy: with another one queued jobs are lost"});
  }
}

/// A look at an external database in this pass may not have been the thorough one.
bool is_looked_at(const Context& context) {
  return !context.spec().database.external || context.seen.database.external.looked;
}

void add_host_gates(const Context& context, std::vector<Blocked>& gates) {
  const Seen& seen = context.seen;
  for (const std::string& release : seen.missing_releases) {
    gates.push_back({"ReleaseMissing", release, "present", "provide it, or choose another tag"});
  }
  for (const std::string& secret : seen.missing_secrets) {
    gates.push_back({"SecretMissing", secret, "present", "create the Secret"});
  }
  if (!seen.host.storage_is_real) {
    gates.push_back(
        {"StorageReal", "files lie on no volume", "a volume", "give the stack storage"});
  }
  // The dump, its proof and the copy that a restore sets aside.
  const std::int64_t needed = 3 * seen.database.size_bytes + kDiskReserve;
  if (seen.host.disk_free_bytes >= 0 && seen.host.disk_free_bytes < needed) {
    gates.push_back({"DiskFree", std::to_string(seen.host.disk_free_bytes >> 20) + " MiB",
                     std::to_string(needed >> 20) + " MiB", "free disk space where backups go"});
  }
  if (seen.host.memory_available_bytes >= 0 && seen.host.memory_available_bytes < kMinMemory) {
    gates.push_back({"MemoryFree", "under 256 MiB", "256 MiB", "give the host more memory"});
  }
}

/// Every hop's image is looked into before anything is stopped.
Turn inspect_images(Context& context) {
  UpgradeStatus& journey = context.journey();
  for (std::size_t hop = 0; hop < journey.path.size(); ++hop) {
    TaskInput input = input_of(context, TaskKind::Inspect);
    input.hop = static_cast<int>(hop);
    input.to = journey.path[hop];
    Turn turn = run_task(context, input);
    if (!is(turn, Done{})) return turn;
  }
  return Done{};
}

Turn preflight(Context& context) {
  UpgradeStatus& journey = context.journey();
  std::vector<Blocked> gates;
  add_host_gates(context, gates);
  if (journey.kind != "Restore") add_database_gates(context, gates);
  if (journey.kind == "Upgrade") {
    add_ledger_gates(context, version_of(journey.from), gates);  // guard(clean-start)
    add_session_gates(context, gates);
  }
  add_external_gates(context, gates);
  if (!is_looked_at(context)) {
    return wait_for("DirectConnection", "not tried yet", "two sessions at once");
  }
  if (!gates.empty()) return Wait{gates};
  Turn turn = inspect_images(context);
  if (!is(turn, Done{})) return turn;
  if (journey.kind == "Install") return Next{Step::Install};
  // Rest point: a suspended stack is not fenced.
  if (context.spec().suspend) return wait_for("Suspended", "spec.suspend is true", "false");
  return Next{Step::Fence};
}

// ---- behind the fence ----

Turn take_backup(Context& context) {
  UpgradeStatus& journey = context.journey();
  const bool begun = context.seen.task(task_name(input_of(context, TaskKind::Backup))) != nullptr;
  Turn turn = begun ? keep_fence(context) : hold_fence(context);
  if (!is(turn, Done{})) return turn;
  journey.backup = context.stack.key.name + "-" + journey.id + "-" + std::to_string(journey.hop);
  turn = run_task(context, input_of(context, TaskKind::Backup));
  if (!is(turn, Done{})) return turn;
  const BackupSeen* backup = context.seen.backup(journey.backup);
  if (backup == nullptr) return Bad{"BackupMissing", "the task ended well but published nothing"};
  return Next{Step::Prove};
}

/// The backup that allows this hop: proven, of the version and database that run. Empty: it is.
std::string why_not_proven(Context& context) {
  const UpgradeStatus& journey = context.journey();
  const BackupSeen* backup = context.seen.backup(journey.backup);
  if (backup == nullptr) return "there is no backup " + journey.backup;
  if (!backup->proven) return "backup " + backup->id + " is not proven";  // guard(proven-backup)
  if (backup->source_version != hop_from(journey)) {                      // guard(backup-version)
    return "backup " + backup->id + " is of " + backup->source_version;
  }
  const std::string& running = context.seen.database.system_identifier;
  if (!running.empty() && !backup->system_identifier.empty() &&
      backup->system_identifier != running) {  // guard(backup-database)
    return "backup " + backup->id + " is of another database";
  }
  return {};
}

Turn prove(Context& context) {
  Turn turn = keep_fence(context);
  if (!is(turn, Done{})) return turn;
  turn = run_task(context, input_of(context, TaskKind::Prove));
  if (!is(turn, Done{})) return turn;
  const std::string why_not = why_not_proven(context);
  if (!why_not.empty()) return Bad{"BackupNotProven", why_not};
  return Next{Step::Migrate};
}

/// What the database says after a migrate or install task that ended well.
Turn judge_migration(Context& context, TaskKind kind, const std::string& reason) {
  const UpgradeStatus& journey = context.journey();
  HopExpectation expected{.to = version_of(journey.hop_to), .image_migrations = {}};
  if (const TaskSeen* task = finished_task(context, input_of(context, kind))) {
    const auto count = task->result.find("imageMigrations");
    if (count != task->result.end() && !count->second.empty() &&
        count->second.find_first_not_of("0123456789") == std::string::npos &&
        count->second.size() < 7) {
      expected.image_migrations = std::stoi(count->second);
    }
  }
  const auto findings = migration_gate(context.seen.database.ledger, expected, context.catalog);
  if (findings.empty()) return Done{};
  std::string message = "the task ended well, but";
  for (const GateFinding& finding : findings) {
    message += " " + finding.gate + ": " + finding.seen + " (wanted " + finding.wanted + ");";
  }
  message.pop_back();
  return Bad{reason, message};
}

Turn migrate(Context& context) {
  UpgradeStatus& journey = context.journey();
  Turn turn = hold_fence(context);
  if (!is(turn, Done{})) return turn;
  TaskInput input = input_of(context, TaskKind::Migrate);
  const bool begun = context.seen.task(task_name(input)) != nullptr || journey.reason == kRetried;
  if (!begun) {
    const std::string why_not = why_not_proven(context);
    if (!why_not.empty()) return Bad{"BackupNotProven", why_not};
    // The lock script compares this again: whoever moved the cursor since the backup stops us.
    input.expected_cursor = context.seen.backup(journey.backup)->cursor_key;
  } else {
    // A second attempt starts where the interrupted one left the database.
    input.expected_cursor = context.seen.database.ledger.cursor_key;
  }
  turn = wait_for_sessions(context);
  if (!begun && !is(turn, Done{})) return turn;
  journey.point_of_no_return = true;
  turn = run_task(context, input);
  if (!is(turn, Done{})) return turn;
  turn = judge_migration(context, TaskKind::Migrate, "MigrationIncomplete");  // guard(sql-gate)
  if (!is(turn, Done{})) return turn;
  return Next{Step::Verify};
}

Turn install(Context& context) {
  UpgradeStatus& journey = context.journey();
  Turn turn = run_task(context, input_of(context, TaskKind::Install));
  if (!is(turn, Done{})) return turn;
  turn = judge_migration(context, TaskKind::Install, "InstallIncomplete");
  if (!is(turn, Done{})) return turn;
  journey.point_of_no_return = true;
  return Next{Step::Verify};
}

// ---- back to users ----

Turn smoke_green(const Context& context) {
  for (const Blocked& gate : serving_gates(context)) {
    if (gate.gate == "Smoke") return Wait{{gate}};
  }
  return Done{};
}

Turn verify(Context& context) {
  UpgradeStatus& journey = context.journey();
  if (context.seen.gateway_open && journey.kind == "Upgrade") {
    return switch_gateway(context, GatewayMode::Closed);
  }
  Turn turn = journey.kind == "Upgrade" ? stop_component(context, Component::Worker) : Done{};
  if (!is(turn, Done{})) return turn;
  turn = verify_server(context, version_of(journey.hop_to), 1);  // guard(verify)
  if (is(turn, Done{})) turn = smoke_green(context);
  if (is(turn, Wait{}) && since(context, journey.step_started_at) >
                              std::chrono::seconds(context.spec().upgrade.health_timeout_seconds)) {
    const Blocked& gate = std::get<Wait>(turn).gates.front();
    return Bad{"VerifyTimeout", gate.gate + ": " + gate.seen + " (wanted " + gate.wanted + ")"};
  }
  if (!is(turn, Done{})) return turn;
  const bool last = journey.hop + 1 == static_cast<int>(journey.path.size());
  if (last || context.spec().suspend || target_changed(context)) return Next{Step::Open};
  ++journey.hop;
  journey.hop_to = journey.path[static_cast<std::size_t>(journey.hop)];
  journey.point_of_no_return = false;
  return Next{Step::Backup};
}

Turn open(Context& context) {
  UpgradeStatus& journey = context.journey();
  const Version version = version_of(journey.hop_to);
  Turn turn = Done{};
  if (!context.seen.gateway_open) {
    // Flags now: the restart they need is not seen by anybody. Settle tells if they cannot be set.
    turn = verify_server(context, version, journey.server_replicas);
    if (is(turn, Done{})) turn = converge_flags(context, version);
    // Flags that cannot be set do not keep users out.
    const Wait* wait = std::get_if<Wait>(&turn);
    if (wait != nullptr && !wait->gates.front().next.empty()) turn = Done{};
  }
  if (is(turn, Done{})) {
    turn = converge_serving(context, version, journey.server_replicas, journey.worker_replicas);
  }
  const bool late = since(context, journey.step_started_at) >
                    std::chrono::seconds(context.spec().upgrade.health_timeout_seconds);
  // A verified server serves even when its worker does not come up: Settle says so, loudly.
  if (is(turn, Wait{}) && late && !context.seen.gateway_open) {
    turn = switch_gateway(context, GatewayMode::Open);
  }
  if (is(turn, Wait{}) && !(late && context.seen.gateway_open)) return turn;
  if (is(turn, Do{})) return turn;
  context.status.version = journey.hop_to;
  context.status.system_identifier = context.seen.database.system_identifier;
  journey.point_of_no_return = false;
  journey.opened_at = to_rfc3339(context.now);
  return Next{Step::Settle};
}

std::string loss_message(const Context& context) {
  const UpgradeStatus& journey = *context.status.upgrade;
  std::string text = journey.hop_to + " is open but does not settle";
  if (context.seen.database.rows_since_cutoff >= 0) {
    text += "; a restore would lose " + std::to_string(context.seen.database.rows_since_cutoff) +
            " rows, the last written " + context.seen.database.last_write;
  }
  const BackupSeen* backup = context.seen.backup(journey.backup);
  if (backup != nullptr) {
    text += "; to accept that: create a StackRestore with from.backupRef.name " + backup->id +
            " and acceptLossSince " + backup->cutoff_time;
  }
  return text;
}

Turn settle(Context& context) {
  UpgradeStatus& journey = context.journey();
  const Version version = version_of(journey.hop_to);
  Turn turn = converge_serving(context, version, journey.server_replicas, journey.worker_replicas);
  if (is(turn, Done{})) turn = converge_flags(context, version);
  if (is(turn, Done{})) turn = run_task(context, input_of(context, TaskKind::Flush));
  if (is(turn, Done{})) {
    const auto gates = serving_gates(context);
    if (!gates.empty()) turn = Wait{gates};
  }
  if (is(turn, Do{})) return turn;
  if (is(turn, Done{})) {
    if (journey.step_started_at.empty()) journey.step_started_at = to_rfc3339(context.now);
    const std::chrono::seconds soak(context.spec().upgrade.soak_seconds);
    if (since(context, journey.step_started_at) >= soak) return Done{};
    return wait_for("Soak", "green", std::to_string(soak.count()) + " s green");
  }
  journey.step_started_at.clear();  // Not green: the soak starts over when it is.
  const bool late = since(context, journey.opened_at) >
                    std::chrono::seconds(context.spec().upgrade.health_timeout_seconds);
  if (is(turn, Bad{}) || late) return Bad{"RestoreNeedsDecision", loss_message(context)};
  return turn;
}

// ---- ways back ----

/// Tasks of this journey that must not go on while users come back.
Turn stop_tasks(Context& context) {
  const std::string prefix = context.stack.key.name + "-" + context.journey().id + "-";
  for (const TaskSeen& task : context.seen.tasks) {
    if (task.outcome == Outcome::Running && task.name.starts_with(prefix)) {
      return Do{StopTask{task.name}};
    }
  }
  return Done{};
}

Turn unfence(Context& context) {
  const UpgradeStatus& journey = context.journey();
  Turn turn = stop_tasks(context);
  if (!is(turn, Done{})) return turn;
  return converge_serving(context, version_of(hop_from(journey)), journey.server_replicas,
                          journey.worker_replicas);
}

Turn restore_data(Context& context) {
  Turn turn = hold_fence(context);
  if (!is(turn, Done{})) return turn;
  TaskInput input = input_of(context, TaskKind::Restore);
  const BackupSeen* backup = context.seen.backup(context.journey().backup);
  if (backup == nullptr || !backup->proven) {  // guard(restore-proven)
    return Bad{"RestoreFailed",
               "backup " + context.journey().backup + " is not there or not proven"};
  }
  turn = run_task(context, input);
  if (!is(turn, Done{})) return turn;
  if (context.seen.database.ledger.cursor_key != backup->cursor_key) {
    return Bad{"RestoreFailed", "the restored database is not at the backup's migration record"};
  }
  // Caches and queues belong to the data that was set aside.
  if (context.seen.redis.keys > 0) return Do{FlushRedis{}};  // guard(flush-redis)
  return Done{};
}

Turn roll_back(Context& context) {
  const UpgradeStatus& journey = context.journey();
  const Version version = version_of(fallback_of(journey));
  const TaskSeen* restored = finished_task(context, input_of(context, TaskKind::Restore));
  const ComponentSeen& server = context.seen.component(Component::Server);
  const bool data_is_back = restored != nullptr && restored->outcome == Outcome::Ok &&
                            server.wanted > 0 && server.version == to_string(version);
  if (!data_is_back) {
    Turn turn = restore_data(context);
    if (!is(turn, Done{})) return turn;
  }
  if (!context.seen.gateway_open) {
    Turn turn = verify_server(context, version, 1);
    if (!is(turn, Done{})) return turn;
    TaskInput flush = input_of(context, TaskKind::Flush);
    flush.to = to_string(version);
    turn = run_task(context, flush);
    // Crons that could not be registered do not keep users out.
    if (is(turn, Do{}) || is(turn, Wait{})) return turn;
  }
  return converge_serving(context, version, journey.server_replicas, journey.worker_replicas);
}

// ---- from rung to rung ----

Turn run_step(Context& context, Step step) {
  switch (step) {
    case Step::Plan: return Next{Step::Preflight};
    case Step::Preflight: return preflight(context);
    case Step::Fence: return fence(context);
    case Step::Backup: return take_backup(context);
    case Step::Prove: return prove(context);
    case Step::Migrate: return migrate(context);
    case Step::Verify: return verify(context);
    case Step::Open: return open(context);
    case Step::Settle: return settle(context);
    case Step::Install: return install(context);
    case Step::Unfence: return unfence(context);
    case Step::RollBack: return roll_back(context);
  }
  return Done{};
}

void finish_record(Context& context, const std::string& state, const std::string& message) {
  auto& steps = context.journey().steps;
  if (steps.empty() || steps.back().state != "Running") return;
  steps.back().state = state;
  steps.back().finished_at = to_rfc3339(context.now);
  steps.back().message = message;
}

bool is_hop_step(Step step) {
  return step == Step::Backup || step == Step::Prove || step == Step::Migrate ||
         step == Step::Verify || step == Step::Install;
}

void enter(Context& context, Step step) {
  UpgradeStatus& journey = context.journey();
  journey.step = to_string(step);
  journey.step_started_at = to_rfc3339(context.now);
  ++journey.step_index;
  StepRecord record{.name = journey.step,
                    .hop = is_hop_step(step) ? journey.hop_to : "",
                    .state = "Running",
                    .started_at = journey.step_started_at,
                    .finished_at = {},
                    .message = {}};
  journey.steps.push_back(std::move(record));
  context.event(Event::Type::Normal, "StepStarted",
                journey.step + (is_hop_step(step) ? " " + journey.hop_to : ""));
}

/// A time-out, a suspend or a new target while the old version still is whole.
std::optional<Bad> interruption(const Context& context, Step step, const Turn& turn) {
  if (step != Step::Fence && step != Step::Backup && step != Step::Prove) return std::nullopt;
  // A restore was asked for by a person, whatever the spec says meanwhile.
  const bool upgrade = context.status.upgrade->kind == "Upgrade";
  if (upgrade && context.spec().suspend) return Bad{kSuspended, "spec.suspend is true"};
  if (target_changed(context)) return Bad{kTargetChanged, "spec asks for another release"};
  const std::chrono::seconds limit(context.spec().upgrade.fence_timeout_seconds);
  if (is(turn, Wait{}) && since(context, context.status.upgrade->step_started_at) > limit) {
    const Blocked& gate = std::get<Wait>(turn).gates.front();
    return Bad{"FenceTimeout", gate.gate + ": " + gate.seen + " (wanted " + gate.wanted + ")"};
  }
  return std::nullopt;
}

/// What a verdict on a rung leads to; empty when the journey stays where it is (stalled).
std::optional<Step> way_back(const Context& context, Step step) {
  switch (step) {
    case Step::Fence:
    case Step::Backup:
    case Step::Prove: return Step::Unfence;
    case Step::Migrate:
    case Step::Verify:
      if (context.status.upgrade->kind != "Upgrade") return std::nullopt;
      if (context.spec().upgrade.on_failure == OnFailure::Stall) return std::nullopt;
      return Step::RollBack;
    case Step::Plan:
    case Step::Preflight:
    case Step::Open:
    case Step::Settle:
    case Step::Install:
    case Step::Unfence:
    case Step::RollBack: return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::string hop_from(const UpgradeStatus& journey) {
  return journey.hop == 0 ? journey.from : journey.path[static_cast<std::size_t>(journey.hop - 1)];
}

bool target_changed(const Context& context) {
  const UpgradeStatus& journey = *context.status.upgrade;
  return journey.kind == "Upgrade" &&
         to_string(context.catalog.resolve(context.spec().target())) != journey.to;
}

Version version_of(const std::string& tag) {
  const auto version = parse_version(tag);
  return version ? *version : Version{};
}

const TaskSeen* finished_task(const Context& context, TaskInput input) {
  const TaskSeen* last = nullptr;
  for (input.attempt = 1; input.attempt <= kMaxAttempts; ++input.attempt) {
    const TaskSeen* task = context.seen.task(task_name(input));
    if (task != nullptr && task->outcome != Outcome::Running) last = task;
  }
  return last;
}

Turn run_task(const Context& context, TaskInput input) {
  for (input.attempt = 1; input.attempt <= kMaxAttempts; ++input.attempt) {
    const std::string name = task_name(input);
    const TaskSeen* task = context.seen.task(name);
    if (task == nullptr) return Do{StartTask{make_task(input)}};
    switch (task->outcome) {
      case Outcome::Running:
        return wait_for("Task", name + (task->progress.empty() ? "" : ": " + task->progress),
                        "ended");
      case Outcome::Ok: return Done{};
      case Outcome::Failed: {
        const auto failure = task->result.find("failure");
        const std::string text = failure != task->result.end() ? failure->second : task->log_tail;
        const std::string advice = advice_for(text);
        return Bad{pascal_case(to_string(input.kind)) + "Failed",
                   name + " ended with " + std::to_string(task->exit_code) +
                       (text.empty() ? "" : ": " + text) +
                       (advice.empty() ? "" : " (" + advice + ")")};
      }
      case Outcome::Interrupted: break;  // the next attempt
    }
  }
  return Bad{"Interrupted", "task " + std::string(to_string(input.kind)) +
                                " was interrupted three times in a row"};
}

void start_journey(Context& context, const std::string& kind, const std::string& from,
                   const std::string& to, std::vector<std::string> path) {
  const std::string started = to_rfc3339(context.now);
  UpgradeStatus journey;
  journey.kind = kind;
  journey.from = from;
  journey.to = to;
  journey.path = std::move(path);
  journey.hop_to = journey.path.empty() ? to : journey.path.front();
  std::string inputs = kind + " " + from;
  for (const std::string& tag : journey.path) inputs += " " + tag;
  journey.plan_hash = "sha256:" + sha256_hex(inputs + " " + context.stack.uid);
  journey.id = short_hash(inputs + context.stack.uid + started +
                          std::to_string(context.status.action_count));
  journey.started_at = started;
  const int hops = static_cast<int>(journey.path.size());
  journey.step_total = kind == "Upgrade" ? 5 + 4 * hops : 6;
  // What the spec wants now is what comes back after the fence.
  journey.server_replicas = std::max(1, context.spec().server.replicas);
  journey.worker_replicas = context.spec().worker.replicas;
  context.status.upgrade = std::move(journey);
  enter(context, Step::Plan);
}

Turn run_journey(Context& context) {
  // One pass goes at most once through every rung of a hop; the bound only stops a bug.
  for (int i = 0; i < 16; ++i) {
    const auto step = parse_step(context.journey().step);
    if (!step)
      return Bad{"UnknownStep", "status.upgrade.step is \"" + context.journey().step + "\""};
    Turn turn = run_step(context, *step);
    if (const auto interrupted = interruption(context, *step, turn)) turn = *interrupted;
    if (const Next* next = std::get_if<Next>(&turn)) {
      finish_record(context, "Done", "");
      enter(context, next->step);
      continue;
    }
    if (const Bad* bad = std::get_if<Bad>(&turn)) {
      const auto back = way_back(context, *step);
      if (!back) return turn;
      finish_record(context, "Failed", bad->message);
      context.journey().reason = bad->reason;
      context.journey().message = bad->message;
      context.event(Event::Type::Warning, "StepFailed",
                    std::string(to_string(*step)) + ": " + bad->message);
      enter(context, *back);
      continue;
    }
    if (std::holds_alternative<Done>(turn)) finish_record(context, "Done", "");
    return turn;
  }
  return Wait{};
}

}  // namespace stackspec
