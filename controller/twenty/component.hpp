// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/stack.hpp"

namespace stackspec {

enum class Component { Postgres, Redis, Server, Worker, Fundraising, Gateway };
inline constexpr Component kAllComponents[] = {Component::Postgres,    Component::Redis,
                                               Component::Server,      Component::Worker,
                                               Component::Fundraising, Component::Gateway};
std::string_view to_string(Component component);

/// One environment variable. `value` may hold `$(NAME)` of a variable listed before it, as in a
/// pod; a `secret` is resolved by the platform and never leaves it.
struct EnvVar {
  std::string name;
  std::string value;
  std::optional<SecretKeyRef> secret;
  friend bool operator==(const EnvVar&, const EnvVar&) = default;
};

struct Probe {
  std::string path;  ///< HTTP GET; empty: the port accepts connections.
  int port = 0;      ///< Container port.
  friend bool operator==(const Probe&, const Probe&) = default;
};

/// What one component of the stack is: the same on every platform.
struct ComponentSpec {
  Component component = Component::Server;
  std::string version;  ///< Release tag (v1.16.6), fundraising version, or empty for system parts.
  std::string image;    ///< For platforms with images.
  /// For the image's entrypoint; none: its CMD, which for Twenty is the server.
  std::vector<std::string> args;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> env_from;  ///< Rendered before `env`, which wins.
  int replicas = 1;
  int port = 0;  ///< Listening port in a container; 0 for the worker.
  Probe ready;
  int uid = 1000, gid = 1000;
  bool read_only_root = false;
  std::vector<std::string> writable_paths;
  int termination_grace_seconds = 30;
  Resources resources;
  /// Hash of all the above but replicas: a running process of another revision is drift.
  std::string revision;
  friend bool operator==(const ComponentSpec&, const ComponentSpec&) = default;
};

/// Where the parts reach each other: service names in a cluster, loopback ports on one host.
struct Endpoints {
  std::string postgres_host;
  int postgres_port = 5432;
  std::string redis_host;
  int redis_port = 6379;
  std::string server_host;
  int server_port = 3000;
  std::string fundraising_host;
  int fundraising_port = 4500;
  std::string gateway_host;
  std::string gateway_private_host;  ///< Where gateway_private_port listens; empty: gateway_host.
  int gateway_port = 4000;           ///< What users reach.
  int gateway_closed_port = 4001;    ///< Always 503.
  int gateway_private_port = 4002;   ///< For gates.
  std::string storage_path;          ///< Of local storage, as server and worker see it.
  std::string backups_path;          ///< Where backup tasks write, as they see it.
  friend bool operator==(const Endpoints&, const Endpoints&) = default;
};

/// Every component of the stack at Twenty release `version` (with patch). Server and worker always
/// carry DISABLE_DB_MIGRATIONS and DISABLE_CRON_JOBS_REGISTRATION as the literal "true", after
/// everything the user gave. `flags_applied` is part of server's and worker's revision, so that
/// changed flags restart both.
std::vector<ComponentSpec> wanted_components(const StackKey& key, const StackSpec& spec,
                                             const Version& version, const Endpoints& endpoints,
                                             std::string_view flags_applied);

/// Environment of a task that runs Twenty's own commands with `version`'s image: the server's, so
/// migrations off; only the install script turns them on, for one command, under the lock.
std::vector<EnvVar> task_environment(const StackKey& key, const StackSpec& spec,
                                     const Version& version, const Endpoints& endpoints);

/// PGHOST, PGPORT, PGUSER, PGDATABASE and PGPASSWORD (a secret) of the stack's database owner, for
/// tasks that use PostgreSQL's own programs. PGAPPNAME is `stackspec/<name>/<application>`. Of an
/// external database STACKSPEC_DATABASE_URL (a secret) in place of all but PGAPPNAME.
std::vector<EnvVar> database_environment(const StackKey& key, const StackSpec& spec,
                                         const Endpoints& endpoints, std::string_view application);

/// Keys of the generated Secret `<name>-secrets`, each with the number of random bytes (hex).
struct GeneratedKey {
  std::string_view key;
  int bytes;
};
std::vector<GeneratedKey> generated_keys();
std::string secrets_name(const StackKey& key, const StackSpec& spec);

/// The 503 page and the nginx configuration (design: listeners normal, closed, private).
std::string gateway_configuration(const Endpoints& endpoints, bool has_fundraising, bool open);
std::string maintenance_page();

}  // namespace stackspec
