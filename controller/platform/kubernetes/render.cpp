// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/render.hpp"

#include <optional>

#include "base/hash.hpp"
#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/pod.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr const char* kPostgresData = "/var/lib/postgresql/data";
constexpr const char* kRedisData = "/data";
constexpr const char* kConfigPath = "/stackspec";
/// A first start may load data or recover from a crash for long; nothing is killed for that.
constexpr int kStartupPeriodSeconds = 5, kStartupTries = 720;

// One run either finds the cluster or makes it under another name first: killed anywhere, the next
// run starts over (the image's own first start is not repeated once it has begun). PostgreSQL takes
// SIGTERM as "wait until all clients are gone", so the stop of a pod is passed on as SIGINT.
constexpr const char* kPostgresStart = R"(# Made by StackSpec.
set -eu
umask 077
PATH=$PATH$(printf ':%s' /usr/lib/postgresql/*/bin)
volume=/var/lib/postgresql/data
data=$volume/pgdata
# A claim that was filled by something else may hold the cluster at its top.
if [ -f "$volume/PG_VERSION" ]; then data=$volume; fi
at_end() {
  code=$?
  free=$(df -Pk "$volume" | awk 'NR == 2 { print $4 }')
  if [ "$code" != 0 ] && [ "${free:-16384}" -lt 16384 ]; then
    echo "the volume of the database is full ($((free / 1024)) MiB free): raise spec.database.managed.size" |
      tee /dev/termination-log >&2
  fi
}
trap at_end EXIT
case $DATABASE_PASSWORD in
  '' | *[!A-Za-z0-9._~-]*) echo 'the password of the database may hold only letters, digits and . _ ~ -' >&2; exit 64 ;;
esac
if [ ! -d "$data" ]; then
  rm -rf "$data.new"
  initdb -D "$data.new" -U stackspec -E UTF8 --locale=C.UTF-8 --auth=trust --data-checksums >/dev/null
  single() { postgres --single -j -D "$data.new" -c max_locks_per_transaction=256 "$1" >/dev/null; }
  single postgres <<SQL
CREATE ROLE "$DATABASE_USER" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '$DATABASE_PASSWORD';

CREATE DATABASE "$DATABASE_NAME" OWNER "$DATABASE_USER";

SQL
  single "$DATABASE_NAME" <<SQL
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

CREATE EXTENSION IF NOT EXISTS unaccent;

CREATE EXTENSION IF NOT EXISTS citext;

GRANT CREATE ON SCHEMA public TO "$DATABASE_USER";

GRANT EXECUTE ON FUNCTION pg_control_system() TO "$DATABASE_USER";

SQL
  printf '%s\n' 'local all all reject' 'host all all all scram-sha-256' >"$data.new/pg_hba.conf"
  sync "$data.new/pg_hba.conf" 2>/dev/null || sync
  mv "$data.new" "$data"
fi
chmod 0700 "$data" 2>/dev/null || :
unset DATABASE_PASSWORD
postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories= -c port=5432 -c max_locks_per_transaction=256 \
  -c password_encryption=scram-sha-256 -c logging_collector=off -c hba_file="$data/pg_hba.conf" &
server=$!
trap 'kill -INT "$server" 2>/dev/null' INT TERM
code=0
wait "$server" || code=$?
while kill -0 "$server" 2>/dev/null; do
  code=0
  wait "$server" || code=$?
done
exit "$code"
)";

std::string size_or(const std::string& given, const char* standard) {
  return given.empty() ? standard : given;
}

struct ClaimSpec {
  std::string name, size, storage_class;
  std::string access_mode = "ReadWriteOnce";
};

Object claim(const Stack& stack, std::string_view component, const ClaimSpec& wanted) {
  Object object = kept(stack, "PersistentVolumeClaim", wanted.name, component);
  json spec = json::object();
  spec["accessModes"] = json::array({wanted.access_mode});
  const json requests = json::object({{"storage", wanted.size}});
  spec["resources"] = json::object({{"requests", requests}});
  if (!wanted.storage_class.empty()) spec["storageClassName"] = wanted.storage_class;
  object.content["spec"] = std::move(spec);
  return object;
}

/// ConfigMap `<stack>-<component>`; absent for components that need none.
std::optional<Object> configuration(const Stack& stack, Component component) {
  json data = json::object();
  if (component == Component::Postgres) {
    data["start.sh"] = kPostgresStart;
  } else if (component == Component::Gateway) {
    Endpoints endpoints = cluster_endpoints(stack);
    endpoints.gateway_port = kOpenPort;
    // The listener of users stays open: the Service decides which listener they reach.
    data["nginx.conf"] =
        gateway_configuration(endpoints, !stack.spec.fundraising.version.empty(), true);
    data["maintenance.html"] = maintenance_page();
  } else {
    return std::nullopt;
  }
  const std::string_view part = to_string(component);
  Object object = owned(stack, "ConfigMap", name_of(stack.key, part), part);
  object.content["data"] = std::move(data);
  return object;
}

bool is_stateful(Component component) {
  return component == Component::Postgres || component == Component::Redis;
}

bool mounts_storage(const Stack& stack, Component component) {
  const bool twenty = component == Component::Server || component == Component::Worker;
  return twenty && !stack.spec.storage.s3;
}

/// Name of the claim that the component has at `path`; empty: scratch space of the pod.
std::string claim_at(const Stack& stack, Component component, const std::string& path) {
  if (component == Component::Postgres && path == kPostgresData) return postgres_claim(stack);
  if (component == Component::Redis && path == kRedisData) return name_of(stack.key, "redis");
  if (mounts_storage(stack, component) && path == kStoragePath) return storage_claim(stack);
  return {};
}

json tcp_probe(int port) {
  return json::object({{"tcpSocket", json::object({{"port", port}})}});
}

json probe_json(const Probe& probe) {
  if (probe.path.empty()) return tcp_probe(probe.port);
  return json::object({{"httpGet", json::object({{"path", probe.path}, {"port", probe.port}})}});
}

void add_probes(const Probe& ready, json& container) {
  if (ready.port == 0) return;
  json startup = probe_json(ready);
  startup["periodSeconds"] = kStartupPeriodSeconds;
  startup["failureThreshold"] = kStartupTries;
  startup["timeoutSeconds"] = 5;
  json readiness = probe_json(ready);
  readiness["periodSeconds"] = 5;
  readiness["timeoutSeconds"] = 5;
  // A busy process is no dead one: only a port that is closed for minutes is worth a restart.
  json liveness = tcp_probe(ready.port);
  liveness["periodSeconds"] = 30;
  liveness["failureThreshold"] = 10;
  liveness["timeoutSeconds"] = 10;
  container["startupProbe"] = std::move(startup);
  container["readinessProbe"] = std::move(readiness);
  container["livenessProbe"] = std::move(liveness);
}

json ports_json(Component component, int port) {
  const auto entry = [](const char* name, int number) {
    return json::object({{"name", name}, {"containerPort", number}, {"protocol", "TCP"}});
  };
  if (component == Component::Gateway) {
    return json::array(
        {entry("open", kOpenPort), entry("closed", kClosedPort), entry("private", kPrivatePort)});
  }
  if (port == 0) return json::array();
  return json::array({entry("main", port)});
}

/// The start of a component that is no image of its own making: Twenty's entrypoint must run, so
/// it gets `args` and never a `command`.
void add_command(const ComponentSpec& component, json& container) {
  if (component.component == Component::Postgres) {
    container["command"] = json::array({"sh", std::string(kConfigPath) + "/start.sh"});
  } else if (component.component == Component::Gateway) {
    container["command"] =
        json::array({"nginx", "-e", "stderr", "-p", "/tmp/", "-c",
                     std::string(kConfigPath) + "/nginx.conf", "-g", "daemon off;"});
  } else if (!component.args.empty()) {
    container["args"] = component.args;
  }
}

std::vector<EnvVar> environment_of(const Stack& stack, const ComponentSpec& component) {
  if (component.component != Component::Postgres) return component.env;
  std::vector<EnvVar> env = component.env;
  for (EnvVar& variable :
       database_environment(stack.key, stack.spec, cluster_endpoints(stack), "init")) {
    const auto take = [&](const char* from, const char* name) {
      if (variable.name == from) env.push_back({name, variable.value, variable.secret});
    };
    take("PGUSER", "DATABASE_USER");
    take("PGDATABASE", "DATABASE_NAME");
    take("PGPASSWORD", "DATABASE_PASSWORD");
  }
  return env;
}

void add_volumes(const Stack& stack, const ComponentSpec& component, json& container,
                 PodParts& parts) {
  json mounts = json::array();
  int scratch = 0;
  for (const std::string& path : component.writable_paths) {
    const std::string claim_name = claim_at(stack, component.component, path);
    const std::string volume = claim_name.empty() ? "scratch-" + std::to_string(++scratch) : "data";
    parts.volumes.push_back(claim_name.empty() ? empty_volume(volume)
                                               : claim_volume(volume, claim_name));
    mounts.push_back(mount(volume, path));
  }
  if (const auto config = configuration(stack, component.component)) {
    parts.volumes.push_back(config_volume("configuration", config->key.name));
    mounts.push_back(mount("configuration", kConfigPath));
    if (component.component == Component::Gateway) {
      // nginx looks for its pages where it also keeps its temporary files.
      mounts.push_back(mount_file("configuration", "/tmp/maintenance.html", "maintenance.html"));
    }
  }
  if (!mounts.empty()) container["volumeMounts"] = std::move(mounts);
}

json container_json(const Stack& stack, const ComponentSpec& component, PodParts& parts) {
  json container = json::object();
  container["name"] = std::string(to_string(component.component));
  container["image"] = component.image;
  add_command(component, container);
  if (const auto env = env_json(environment_of(stack, component)); !env.empty()) {
    container["env"] = env;
  }
  if (!component.env_from.empty()) container["envFrom"] = env_from_json(component.env_from);
  const bool gateway = component.component == Component::Gateway;
  if (const auto ports = ports_json(component.component, component.port); !ports.empty()) {
    container["ports"] = ports;
  }
  Probe ready = component.ready;
  if (gateway) ready.port = kOpenPort;
  add_probes(ready, container);
  if (const json resources = resources_json(component.resources); !resources.empty()) {
    container["resources"] = resources;
  }
  container["securityContext"] = container_security(component.read_only_root);
  add_volumes(stack, component, container, parts);
  return container;
}

json template_json(const Stack& stack, const ComponentSpec& component,
                   const std::string& upstreams) {
  const Component which = component.component;
  PodParts parts;
  parts.service_account = stack.key.name;
  parts.user = {component.uid, component.gid};
  parts.termination_grace_seconds = component.termination_grace_seconds;
  parts.shares_volumes = mounts_storage(stack, which) && shares_node(stack);
  parts.containers.push_back(container_json(stack, component, parts));
  json labels = labels_of(stack.key, to_string(which));
  if (parts.shares_volumes) labels[kVolumeGroupLabel] = stack.key.name;
  json annotations = json::object();
  // In the pods too, so that what is only part of the revision (flags) restarts them.
  annotations[kRevisionAnnotation] = component.revision;
  if (which == Component::Gateway) {
    annotations[kConfigurationAnnotation] =
        short_hash(configuration(stack, which)->content.dump() + upstreams);
  }
  json out = json::object();
  out["metadata"] = json::object({{"labels", labels}, {"annotations", annotations}});
  out["spec"] = pod_spec(stack, parts);
  return out;
}

/// Two versions of a part never run at once; only the gateway may overlap, so that users do not
/// notice its restart.
json deployment_strategy(Component component) {
  if (component != Component::Gateway) return json::object({{"type", "Recreate"}});
  const json rolling = json::object({{"maxSurge", 1}, {"maxUnavailable", 0}});
  return json::object({{"type", "RollingUpdate"}, {"rollingUpdate", rolling}});
}

}  // namespace

ObjectKey workload_key(const StackKey& key, Component component) {
  return {is_stateful(component) ? "StatefulSet" : "Deployment", key.ns,
          name_of(key, to_string(component))};
}

std::string placement_of(const Stack& stack, Component component, const std::string& upstreams) {
  json all = json::object();
  all["pod"] = pod_spec(stack, PodParts{});
  if (component == Component::Postgres) all["claim"] = postgres_claim(stack);
  if (mounts_storage(stack, component)) {
    all["claim"] = storage_claim(stack);
    all["group"] = shares_node(stack);
  }
  // nginx reads its configuration at its start. PostgreSQL is not restarted for a better script.
  if (component == Component::Gateway) {
    all["config"] = configuration(stack, component)->content;
    all["upstreams"] = upstreams;
  }
  return short_hash(all.dump());
}

Object render_workload(const Stack& stack, const ComponentSpec& component,
                       const std::string& upstreams) {
  const Component which = component.component;
  const ObjectKey key = workload_key(stack.key, which);
  Object object = owned(stack, key.kind, key.name, to_string(which));
  object.annotations[kRevisionAnnotation] = component.revision;
  object.annotations[kPlacementAnnotation] = placement_of(stack, which, upstreams);
  if (!component.version.empty()) object.annotations[kVersionAnnotation] = component.version;
  json selector = json::object();
  selector[kStackLabel] = stack.key.name;
  selector[kComponentLabel] = std::string(to_string(which));
  json spec = json::object();
  spec["replicas"] = component.replicas;
  spec["selector"] = json::object({{"matchLabels", selector}});
  spec["template"] = template_json(stack, component, upstreams);
  if (is_stateful(which)) {
    spec["serviceName"] = key.name;
    // With the other policy a pod that never became ready is not replaced by a mended one.
    spec["podManagementPolicy"] = "Parallel";
  } else {
    spec["strategy"] = deployment_strategy(which);
    spec["revisionHistoryLimit"] = 2;
  }
  object.content["spec"] = std::move(spec);
  return object;
}

Object render_storage_claim(const Stack& stack) {
  const StorageSpec& storage = stack.spec.storage;
  return claim(stack, "server",
               {storage_claim(stack), size_or(storage.local_size, "10Gi"), "",
                size_or(storage.access_mode, "ReadWriteOnce")});
}

Object render_backups_claim(const Stack& stack) {
  return claim(stack, kTaskComponent,
               {name_of(stack.key, "backups"), size_or(stack.spec.backup.pvc_size, "20Gi"), "",
                "ReadWriteOnce"});
}

std::vector<Object> render_shared(const Stack& stack, const RenderOptions& options) {
  Object account = owned(stack, "ServiceAccount", stack.key.name, "stack");
  account.content["automountServiceAccountToken"] = false;
  std::vector<Object> all = {std::move(account)};
  for (Object& policy : render_network_policies(stack, options)) all.push_back(std::move(policy));
  return all;
}

std::vector<Object> render_claims(const Stack& stack, Component component) {
  std::vector<Object> all;
  const ManagedDatabase& database = stack.spec.database.managed;
  if (component == Component::Postgres && database.existing_claim.empty()) {
    all.push_back(claim(stack, "postgres",
                        {postgres_claim(stack), size_or(database.size, "10Gi"),
                         database.storage_class_name, "ReadWriteOnce"}));
  }
  if (component == Component::Redis) {
    all.push_back(claim(
        stack, "redis",
        {name_of(stack.key, "redis"), size_or(stack.spec.redis.size, "1Gi"), "", "ReadWriteOnce"}));
  }
  if (mounts_storage(stack, component) && stack.spec.storage.existing_claim.empty()) {
    all.push_back(render_storage_claim(stack));
  }
  return all;
}

std::vector<Object> render_surroundings(const Stack& stack, Component component, GatewayMode mode) {
  std::vector<Object> all = render_claims(stack, component);
  if (auto config = configuration(stack, component)) all.push_back(std::move(*config));
  if (component != Component::Worker) all.push_back(render_service(stack, component, mode));
  if (component == Component::Gateway) {
    all.push_back(render_private_service(stack));
    // nginx resolves the names of its upstreams once, at its start: they must be there first.
    all.push_back(render_service(stack, Component::Server, mode));
    if (!stack.spec.fundraising.version.empty()) {
      all.push_back(render_service(stack, Component::Fundraising, mode));
    }
    if (!stack.spec.gateway.host.empty()) all.push_back(render_ingress(stack));
  }
  return all;
}

}  // namespace stackspec::kubernetes
