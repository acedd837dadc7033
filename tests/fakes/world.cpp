// SPDX-License-Identifier: Apache-2.0
#include "fakes/world.hpp"

#include <algorithm>

namespace stackspec {

namespace {

constexpr const char* kWorkspace = "3b8e1f0a-0000-4000-8000-000000000001";

std::string value_of(const TaskSpec& task, const char* name) {
  for (const EnvVar& variable : task.env) {
    if (variable.name == name) return variable.value;
  }
  return {};
}

/// I3: both switches, and nothing after them that says otherwise.
bool migrations_are_off(const std::vector<EnvVar>& env) {
  for (const char* name : {"DISABLE_DB_MIGRATIONS", "DISABLE_CRON_JOBS_REGISTRATION"}) {
    std::string value;
    for (const EnvVar& variable : env) {
      if (variable.name == name) value = variable.value;
    }
    if (value != "true") return false;
  }
  return true;
}

Version version_or_zero(const std::string& tag) {
  const auto version = parse_version(tag);
  return version ? *version : Version{};
}

bool is_one_hop(const Catalog& catalog, const std::string& from, const std::string& to) {
  const auto path = catalog.path(version_or_zero(from), version_or_zero(to));
  return path && path->size() <= 1;
}

}  // namespace

void World::forbid(bool bad, const std::string& what) {
  if (bad) violations.push_back(what);
}

bool World::users_are_let_in() const {
  const auto server = components.find(Component::Server);
  const auto gateway = components.find(Component::Gateway);
  return gateway_open && gateway != components.end() && gateway->second.running > 0 &&
         server != components.end() && server->second.ready;
}

bool World::task_is_running(TaskKind kind) const {
  return std::any_of(tasks.begin(), tasks.end(), [kind](const auto& entry) {
    return entry.second.kind == kind && entry.second.outcome == Outcome::Running;
  });
}

std::string World::cursor() const {
  return database.initialised ? database.version + "/" + database.core_version : "none";
}

void World::act(const Action& action) {
  ++actions;
  log.push_back(describe(action));
  if (const auto* component = std::get_if<ApplyComponent>(&action)) apply(*component);
  if (const auto* task = std::get_if<StartTask>(&action)) start(*task);
  if (const auto* gateway = std::get_if<SwitchGateway>(&action)) {
    const bool open = gateway->mode == GatewayMode::Open;
    forbid(open && (task_is_running(TaskKind::Migrate) || task_is_running(TaskKind::Restore)),
           "I4 users are let in while the database is being changed");
    gateway_open = open;
  }
  if (const auto* stop = std::get_if<StopTask>(&action)) {
    FakeTask& task = tasks[stop->name];
    forbid(task.kind == TaskKind::Migrate, "a migrate task is stopped");
    if (task.outcome == Outcome::Running) task.outcome = Outcome::Interrupted;
  }
  if (std::holds_alternative<FlushRedis>(action)) {
    forbid(users_are_let_in(), "Redis is flushed while users are served");
    redis_dirty = false;
  }
  if (const auto* gone = std::get_if<DeleteBackup>(&action)) {
    backups.erase(gone->id);
    const bool any = std::any_of(backups.begin(), backups.end(),
                                 [](const auto& entry) { return entry.second.proven; });
    forbid(!backups.empty() && !any, "I4 the last proven backup is deleted");
  }
}

void World::apply(const ApplyComponent& action) {
  const ComponentSpec& spec = action.component;
  const bool twenty = spec.component == Component::Server || spec.component == Component::Worker;
  forbid(twenty && !migrations_are_off(spec.env), "I3 server or worker could migrate");
  const bool changing = task_is_running(TaskKind::Migrate) || task_is_running(TaskKind::Restore);
  forbid(twenty && spec.replicas > 0 && changing,
         "I3 server or worker runs while the database is being changed");
  if (twenty && spec.replicas > 0) {
    forbid(!database.initialised, "a server is started on an empty database");
    forbid(
        database.initialised && database.version != spec.version,
        "I1 the server's tag is not the database's: " + spec.version + " on " + database.version);
  }
  FakeComponent& component = components[spec.component];
  const bool restart = component.revision != spec.revision || component.running == 0;
  component.exists = true;
  component.wanted = spec.replicas;
  component.version = spec.version;
  component.revision = spec.revision;
  component.running = spec.replicas;
  if (spec.replicas == 0) component.ready = false;
  if (restart) component.ready = false;
}

void World::start(const StartTask& action) {
  if (tasks.contains(action.task.name)) return;  // Names are never used twice.
  FakeTask task{.kind = action.task.kind,
                .from = value_of(action.task, "STACKSPEC_FROM"),
                .to = value_of(action.task, "STACKSPEC_TO"),
                .backup = value_of(action.task, "STACKSPEC_BACKUP_ID"),
                .cursor = value_of(action.task, "STACKSPEC_CURSOR"),
                .flags = value_of(action.task, "STACKSPEC_FLAGS")};
  if (task.kind == TaskKind::Migrate) {
    forbid(task_is_running(TaskKind::Migrate), "I5 two migrations at once");
    const auto backup = backups.find(task.backup);
    const bool begun = database.core_version != task.from;
    forbid(backup == backups.end() || !backup->second.proven, "I2 no proven backup");
    forbid(backup != backups.end() && !begun && backup->second.content != database,
           "I2 the backup is not of what is being migrated");
    forbid(users_are_let_in(), "I4 a migration while users write");
    forbid(components[Component::Server].running > 0 || components[Component::Worker].running > 0,
           "I3 server or worker still runs when a migration starts");
    forbid(faults.foreign_session, "a migration starts while another program is on the database");
    forbid(!is_one_hop(*catalog_, database.version, task.to),
           "I1 a release is skipped: " + database.version + " -> " + task.to);
  }
  if (task.kind == TaskKind::Restore) {
    const auto backup = backups.find(task.backup);
    const bool asked = !restore_requests.empty();
    forbid(users_are_let_in(), "I4 a restore while users write");
    forbid(components[Component::Server].running > 0 || components[Component::Worker].running > 0,
           "I4 server or worker still runs when data is put back");
    forbid(backup == backups.end() || !backup->second.proven, "I2 restore of an unproven backup");
    forbid(backup != backups.end() && !asked && backup->second.content.rows < database.rows,
           "I4 writes of users are lost by an automatic restore");
  }
  if (task.kind == TaskKind::Install) {
    forbid(users_are_let_in(), "an install while users write");
  }
  tasks[action.task.name] = task;
}

void World::finish_migrate(FakeTask& task) {
  if (task.cursor != cursor()) {
    task.outcome = Outcome::Failed;
    task.exit_code = 11;
    return;
  }
  database.core_version = task.to;
  redis_dirty = true;
  if (task.to == faults.failing_release) {
    task.outcome = Outcome::Failed;
    task.exit_code = 10;
    return;
  }
  if (task.to != faults.bad_release) database.version = task.to;
}

void World::finish(FakeTask& task) {
  task.outcome = Outcome::Ok;
  task.exit_code = 0;
  const auto fail = [&](bool bad) {
    if (!bad) return false;
    task.outcome = Outcome::Failed;
    task.exit_code = 10;
    return true;
  };
  switch (task.kind) {
    case TaskKind::Inspect: break;
    case TaskKind::Install:
      if (!database.initialised) {
        database = {.initialised = true, .version = task.to, .core_version = task.to};
      }
      break;
    case TaskKind::Backup: {
      if (fail(faults.backup_fails)) break;
      const int order = static_cast<int>(backups.size());
      backups.try_emplace(task.backup, FakeBackup{database, false, order});
      break;
    }
    case TaskKind::Prove:
      if (!fail(faults.prove_fails)) backups[task.backup].proven = true;
      break;
    case TaskKind::Migrate: finish_migrate(task); break;
    case TaskKind::Restore:
      if (!fail(faults.restore_fails)) database = backups[task.backup].content;
      break;
    case TaskKind::Flush: break;
    case TaskKind::Flags: database.flags_set = true; break;
  }
}

void World::tick() {
  for (auto& [name, task] : tasks) {
    if (task.outcome == Outcome::Running && --task.ticks <= 0) finish(task);
  }
  for (auto& [which, component] : components) component.ready = component.running > 0;
  // One row is enough to tell whether writes were lost; more would only make more states.
  if (users_are_let_in() && database.initialised) {
    int newest = 0;
    for (const auto& [id, backup] : backups) newest = std::max(newest, backup.content.rows);
    database.rows = std::min(database.rows + 1, newest + 1);
  }
}

bool World::interrupt() {
  for (auto& [name, task] : tasks) {
    if (task.outcome != Outcome::Running) continue;
    task.outcome = Outcome::Interrupted;
    return true;
  }
  return false;
}

void World::kill(Component which) {
  components[which].running = 0;
  components[which].ready = false;
}

Seen World::see() const {
  Seen seen;
  seen.endpoints.postgres_host = "127.0.0.1";
  seen.endpoints.redis_host = "127.0.0.1";
  seen.endpoints.server_host = "127.0.0.1";
  seen.endpoints.gateway_host = "127.0.0.1";
  seen.endpoints.fundraising_host = "127.0.0.1";
  seen.endpoints.backups_path = "/backups";
  seen.endpoints.storage_path = "/storage";
  for (const auto& [which, component] : components) {
    seen.components[which] = {.exists = component.exists,
                              .wanted = component.wanted,
                              .running = component.running,
                              .ready = component.ready ? component.running : 0,
                              .restarts = 0,
                              .version = component.version,
                              .revision = component.revision,
                              .message = {}};
  }
  seen.gateway_open = gateway_open;
  for (const auto& [name, task] : tasks) {
    seen.tasks.push_back({.name = name,
                          .outcome = task.outcome,
                          .exit_code = task.exit_code,
                          .result = {},
                          .progress = {},
                          .log_tail = {}});
  }
  std::vector<std::pair<int, BackupSeen>> ordered;
  for (const auto& [id, backup] : backups) {
    BackupSeen entry;
    entry.id = id;
    entry.source_version = backup.content.version;
    entry.system_identifier = external ? "7001/crm" : "7001";
    entry.cursor_key = backup.content.version + "/" + backup.content.core_version;
    entry.cutoff_time = "2026-11-21T09:00:0" + std::to_string(backup.order % 10) + "Z";
    entry.sha256 = "0";
    entry.proven = backup.proven;
    ordered.emplace_back(backup.order, entry);
  }
  std::sort(ordered.begin(), ordered.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [order, entry] : ordered) seen.backups.push_back(entry);

  const auto runs = [&](Component which) {
    const auto found = components.find(which);
    return found != components.end() && found->second.running > 0;
  };
  const auto ready = [&](Component which) {
    const auto found = components.find(which);
    return found != components.end() && found->second.ready;
  };
  DatabaseSeen& db = seen.database;
  seen.platform.external_services = external;
  db.reachable = external || ready(Component::Postgres);
  db.error = db.reachable ? "" : "connection refused";
  db.server_major = 16;
  db.system_identifier = external ? "7001/crm" : "7001";
  db.name = "crm";
  db.user = "twenty";
  db.external.looked = db.external.may_create = db.external.direct = external;
  db.extensions = {"uuid-ossp", "unaccent", "citext"};
  db.ledger.cursor_key = cursor();
  if (faults.foreign_session) {
    db.sessions.push_back({.pid = 77,
                           .user = "bi",
                           .application = "report",
                           .address = "10.0.0.9",
                           .query_start = {},
                           .ours = false});
  }
  if (database.initialised && db.reachable) {
    db.ledger.model = LedgerModel::Workspace;
    const Version version = version_or_zero(database.version);
    const Version core = version_or_zero(database.core_version);
    Workspace workspace;
    workspace.id = kWorkspace;
    workspace.activation = "ACTIVE";
    workspace.version = database.version.substr(1);
    workspace.schema = "workspace_1";
    db.ledger.workspaces = {workspace};
    if (database.flags_set) db.ledger.flags[kWorkspace]["IS_AI_ENABLED"] = true;
    for (const Release& release : catalog_->releases()) {
      if (release.minor.same_minor(core) && release.migrations) {
        db.ledger.migrations = *release.migrations;
      }
      for (const Sentinel& sentinel : release.sentinels) {
        db.ledger.sentinels[sentinel.name] =
            version >= Version{release.minor.major, release.minor.minor, 0};
      }
    }
  }
  seen.redis.reachable = external || ready(Component::Redis);
  seen.redis.eviction_policy = "noeviction";
  seen.redis.keys = redis_dirty ? 3 : 0;
  seen.redis.worker_attached = ready(Component::Worker);
  seen.host.disk_free_bytes = 1LL << 40;

  const bool gateway = ready(Component::Gateway);
  const bool server = ready(Component::Server);
  const auto server_version =
      components.contains(Component::Server) ? components.at(Component::Server).version : "";
  // A server on another schema than its own is healthy and cannot answer.
  const bool answers =
      server && database.version == server_version && server_version != faults.mute_release;
  if (gateway) {
    seen.probes.private_health.status = server ? 200 : 502;
    seen.probes.private_query.status = answers ? 200 : (server ? 500 : 502);
    seen.probes.public_front.status = !gateway_open ? 503 : (server ? 200 : 502);
    seen.probes.fundraising.status = ready(Component::Fundraising) ? 200 : 502;
  }
  seen.probes.fundraising_runs = faults.fundraising_run && runs(Component::Fundraising) ? 1 : 0;
  if (!faults.missing_release.empty()) seen.missing_releases = {faults.missing_release};
  seen.restore_requests = restore_requests;
  return seen;
}

std::string World::key() const {
  std::string text = database.version + "," + database.core_version + "," +
                     std::to_string(database.rows) + (database.flags_set ? "f" : "") +
                     (gateway_open ? "o" : "c") + (redis_dirty ? "d" : "");
  for (const auto& [which, component] : components) {
    text += "|" + std::string(to_string(which)) + component.version + component.revision +
            std::to_string(component.wanted) + std::to_string(component.running) +
            (component.ready ? "r" : "");
  }
  for (const auto& [name, task] : tasks) {
    text +=
        "|" + name + std::to_string(static_cast<int>(task.outcome)) + std::to_string(task.ticks);
  }
  for (const auto& [id, backup] : backups) {
    text += "|" + id + backup.content.version + std::to_string(backup.content.rows) +
            (backup.proven ? "p" : "");
  }
  text += faults.foreign_session ? "S" : "";
  text += faults.fundraising_run ? "R" : "";
  return text;
}

}  // namespace stackspec
