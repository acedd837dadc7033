// SPDX-License-Identifier: Apache-2.0
#include "platform/local/programs.hpp"

#include <charconv>
#include <filesystem>

#include "base/file.hpp"

namespace stackspec::local {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// One run either finds the cluster or makes it under another name first: killed anywhere, the next
// run starts over. It becomes PostgreSQL by exec, so the record's lock covers the making too. SQL
// comes by the environment, because it holds the role's password, and goes by a pipe.
constexpr const char* kPostgresStart = R"(set -eu
umask 077
if [ ! -d data ]; then
  rm -rf data.new
  initdb -D data.new -U stackspec -E UTF8 --locale=C.UTF-8 --auth=trust --data-checksums >/dev/null
  single() { postgres --single -j -D data.new -c max_locks_per_transaction=256 "$1" >/dev/null; }
  printf '%s' "$SQL_CLUSTER" | single postgres
  printf '%s' "$SQL_DATABASE" | single "$DATABASE"
  printf '%s\n' 'local all all reject' 'host all all 127.0.0.1/32 scram-sha-256' \
    >data.new/pg_hba.conf
  sync data.new/pg_hba.conf
  mv data.new data
fi
unset SQL_CLUSTER SQL_DATABASE DATABASE
exec postgres -D data "$@"
)";

std::string quoted(const std::string& text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out + quote;
}

int major_of(const std::string& text) {
  int major = 0;
  std::from_chars(text.data(), text.data() + text.size(), major);
  return major;
}

/// Single-user mode with -j ends a statement at a semicolon followed by an empty line.
std::string script(std::initializer_list<std::string> statements) {
  std::string text;
  for (const auto& statement : statements) text += statement + ";\n\n";
  return text;
}

struct DatabaseOwner {
  std::string user, password, database;
};

Result<DatabaseOwner> database_owner(const Stack& stack, const Endpoints& endpoints,
                                     const SecretValues& secrets) {
  DatabaseOwner owner;
  for (const auto& variable : database_environment(stack.key, stack.spec, endpoints, "init")) {
    if (variable.name == "PGUSER") owner.user = variable.value;
    if (variable.name == "PGDATABASE") owner.database = variable.value;
    if (variable.name != "PGPASSWORD") continue;
    owner.password =
        variable.secret ? TRY(secret_value(*variable.secret, secrets)) : variable.value;
  }
  for (const auto* text : {&owner.user, &owner.password, &owner.database}) {
    if (text->empty() || text->find_first_of("\n\r") != std::string::npos) {
      return Error{ErrorKind::Invalid,
                   "the database's user, password and name must not be empty or span lines"};
    }
  }
  return owner;
}

Result<ProcessSpec> postgres_process(const StackFolder& folder, const Stack& stack,
                                     const Endpoints& endpoints, const SecretValues& secrets) {
  const std::string programs = TRY(postgres_programs(folder, stack.spec.database.managed.version));
  const DatabaseOwner owner = TRY(database_owner(stack, endpoints, secrets));
  const std::string user = quoted(owner.user, '"');
  const std::string database = quoted(owner.database, '"');
  Environment environment;
  environment.set("PATH", programs + ":" + kPath);
  environment.set("LC_ALL", "C.UTF-8");
  environment.set("DATABASE", owner.database);
  environment.set(
      "SQL_CLUSTER",
      script({"CREATE ROLE " + user + " LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD " +
                  quoted(owner.password, '\''),
              "CREATE DATABASE " + database + " OWNER " + user}));
  environment.set(
      "SQL_DATABASE",
      script({"CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\"",
              "CREATE EXTENSION IF NOT EXISTS unaccent", "CREATE EXTENSION IF NOT EXISTS citext",
              "GRANT CREATE ON SCHEMA public TO " + user,
              "GRANT EXECUTE ON FUNCTION pg_control_system() TO " + user}));
  ProcessSpec process;
  process.argv = {"/bin/sh", "-c", kPostgresStart, "sh"};
  for (const std::string& setting :
       {std::string("listen_addresses=127.0.0.1"),
        "port=" + std::to_string(endpoints.postgres_port), std::string("unix_socket_directories="),
        std::string("shared_buffers=32MB"), std::string("max_locks_per_transaction=256"),
        std::string("logging_collector=off"), std::string("password_encryption=scram-sha-256")}) {
    process.argv.insert(process.argv.end(), {"-c", setting});
  }
  process.env = TRY(environment.rendered());
  process.directory = folder.of("postgres");
  return process;
}

Result<ProcessSpec> redis_process(const StackFolder& folder, const Endpoints& endpoints) {
  ProcessSpec process;
  process.argv = {"/usr/bin/redis-server",
                  "--bind",
                  "127.0.0.1",
                  "--port",
                  std::to_string(endpoints.redis_port),
                  "--dir",
                  folder.of("redis"),
                  "--appendonly",
                  "yes",
                  "--save",
                  "",
                  "--maxmemory-policy",
                  "noeviction",
                  "--daemonize",
                  "no"};
  process.env = {std::string("PATH=") + kPath, "LC_ALL=C.UTF-8"};
  process.directory = folder.of("redis");
  return process;
}

Result<ProcessSpec> gateway_process(const StackFolder& folder) {
  ProcessSpec process;
  process.argv = {"/usr/sbin/nginx",
                  "-e",
                  "stderr",
                  "-p",
                  folder.of("gateway") + "/",
                  "-c",
                  folder.of("gateway/nginx.conf"),
                  "-g",
                  "daemon off;"};
  process.env = {std::string("PATH=") + kPath};
  process.directory = folder.of("gateway");
  return process;
}

Result<ProcessSpec> release_process(const Host& host, const StackFolder& folder,
                                    const ComponentSpec& component, const SecretValues& secrets) {
  const std::string release = release_path(host, component.component, component.version);
  if (!has_release(host, component.component, component.version)) {
    return Error{ErrorKind::NotFound,
                 "no release folder " + release + " with an entrypoint.sh; put the release there"};
  }
  TRY(check_reachable(release, host.user));
  Environment environment;
  environment.add_image(release + "/image.env");
  TRY(environment.add_from(component.env_from, secrets));
  TRY(environment.add(component.env, secrets));
  environment.set("PATH", release + "/bin:" + kPath);
  environment.set("HOME", folder.of("home"));
  ProcessSpec process;
  process.argv = {release + "/entrypoint.sh"};
  process.argv.insert(process.argv.end(), component.args.begin(), component.args.end());
  process.env = TRY(environment.rendered());
  process.directory = working_folder(release);
  return process;
}

Result<ProcessSpec> unowned_process(const Host& host, const StackFolder& folder, const Stack& stack,
                                    const ComponentSpec& component, const Endpoints& endpoints,
                                    const SecretValues& secrets) {
  switch (component.component) {
    case Component::Postgres: return postgres_process(folder, stack, endpoints, secrets);
    case Component::Redis: return redis_process(folder, endpoints);
    case Component::Gateway: return gateway_process(folder);
    case Component::Server:
    case Component::Worker:
    case Component::Fundraising: return release_process(host, folder, component, secrets);
  }
  return Error{ErrorKind::Internal, "no such component"};
}

}  // namespace

std::string release_path(const Host& host, Component component, const std::string& version) {
  const bool is_fundraising = component == Component::Fundraising;
  return host.release_folder + (is_fundraising ? "/fundraising/" : "/") + version;
}

bool has_release(const Host& host, Component component, const std::string& version) {
  return path_exists(release_path(host, component, version) + "/entrypoint.sh");
}

std::string working_folder(const std::string& release) {
  const std::string twenty = release + "/app/packages/twenty-server";
  if (path_exists(twenty)) return twenty;
  return path_exists(release + "/app") ? release + "/app" : release;
}

Result<std::string> postgres_programs(const StackFolder& folder, const std::string& wanted_major) {
  int major = 0;
  if (const auto existing = read_file(folder.of("postgres/data/PG_VERSION"))) {
    major = major_of(*existing);
  } else {
    std::error_code failed;
    for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", failed)) {
      if (path_exists(entry.path().string() + "/bin/initdb")) {
        major = std::max(major, major_of(entry.path().filename().string()));
      }
    }
  }
  if (major == 0) {
    return Error{ErrorKind::NotFound,
                 "no PostgreSQL server below /usr/lib/postgresql; apt-get install postgresql"};
  }
  if (!wanted_major.empty() && major_of(wanted_major) != major) {
    return Error{ErrorKind::Invalid, "spec.database.managed.version is " + wanted_major +
                                         ", but this host's PostgreSQL is " +
                                         std::to_string(major) +
                                         "; leave the field out or set it to that"};
  }
  const std::string programs = "/usr/lib/postgresql/" + std::to_string(major) + "/bin";
  if (!path_exists(programs + "/postgres")) {
    return Error{ErrorKind::NotFound,
                 "the stack's data needs PostgreSQL " + std::to_string(major) + ", and " +
                     programs + " is not there; install postgresql-" + std::to_string(major)};
  }
  return programs;
}

Result<ProcessSpec> component_process(const Host& host, const StackFolder& folder,
                                      const Stack& stack, const ComponentSpec& component,
                                      const Endpoints& endpoints, const SecretValues& secrets) {
  ProcessSpec process = TRY(unowned_process(host, folder, stack, component, endpoints, secrets));
  process.log_file = folder.log(component.component);
  process.record_file = folder.record(component.component);
  process.uid = host.user.uid;
  process.gid = host.user.gid;
  return process;
}

}  // namespace stackspec::local
