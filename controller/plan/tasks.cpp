// SPDX-License-Identifier: Apache-2.0
#include "plan/tasks.hpp"

#include <nlohmann/json.hpp>

#include "twenty/logs.hpp"
#include "twenty/service_url.hpp"

namespace stackspec {

namespace {

/// One advisory lock per database, whatever stack or controller asks: "STAK" in ASCII.
constexpr const char* kLockKey = "1398030667";

bool uses_twenty_image(TaskKind kind) {
  switch (kind) {
    case TaskKind::Inspect:
    case TaskKind::Install:
    case TaskKind::Migrate:
    case TaskKind::Flush:
    case TaskKind::Flags: return true;
    case TaskKind::Backup:
    case TaskKind::Prove:
    case TaskKind::Restore: return false;
  }
  return false;
}

}  // namespace

std::string task_name(const TaskInput& input) {
  return input.stack.key.name + "-" + input.journey + "-" + std::to_string(input.hop) + "-" +
         std::string(to_string(input.kind)) + "-" + std::to_string(input.attempt);
}

TaskSpec make_task(const TaskInput& input) {
  const Stack& stack = input.stack;
  TaskSpec task{
      .name = task_name(input), .kind = input.kind, .version = {}, .env = {}, .env_from = {}};
  if (uses_twenty_image(input.kind)) {
    const auto version = parse_version(input.to);
    task.version = input.to;
    task.env_from = stack.spec.env_from;
    task.env = task_environment(stack.key, stack.spec, version ? *version : Version{},
                                input.seen.endpoints);
  }
  const std::string application(to_string(input.kind));
  for (EnvVar& variable :
       database_environment(stack.key, stack.spec, input.seen.endpoints, application)) {
    task.env.push_back(std::move(variable));
  }
  const auto set = [&task](const char* name, std::string value) {
    task.env.push_back({name, std::move(value), std::nullopt});
  };
  set("STACKSPEC_TASK", task.name);
  set("STACKSPEC_STACK", stack.key.name);
  set("STACKSPEC_FROM", input.from);
  set("STACKSPEC_TO", input.to);
  set("STACKSPEC_LOCK", kLockKey);
  set("STACKSPEC_CURSOR_SQL", std::string(cursor_sql()));
  set("STACKSPEC_CURSOR", input.expected_cursor);
  set("STACKSPEC_FAILURE_REGEX", failure_regex());
  set("STACKSPEC_BACKUPS", input.seen.endpoints.backups_path);
  set("STACKSPEC_BACKUP_ID", input.backup);
  set("STACKSPEC_RESTORE_ID", input.journey + "_" + std::to_string(input.hop));
  set("STACKSPEC_FILES", stack.spec.storage.s3 ? "" : input.seen.endpoints.storage_path);
  set("STACKSPEC_SYSTEM_IDENTIFIER", input.seen.database.system_identifier);
  set("STACKSPEC_KEY_FINGERPRINTS", nlohmann::json(input.seen.key_fingerprints).dump());
  if (const auto& external = stack.spec.database.external) {
    task.postgres_major = input.seen.database.server_major;
    set("STACKSPEC_OWNER", stack.key.ns + "/" + stack.key.name);
    set("STACKSPEC_SHARED", external->shared ? "yes" : "");
    set("STACKSPEC_SCHEMAS_SQL", own_schemas_sql(external->shared));
    set("STACKSPEC_DEPENDENTS_SQL", foreign_dependents_sql(external->shared));
  }
  set("STACKSPEC_FLAGS", nlohmann::json(stack.spec.flags).dump());
  return task;
}

}  // namespace stackspec
