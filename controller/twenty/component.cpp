// SPDX-License-Identifier: Apache-2.0
#include "twenty/component.hpp"

#include <algorithm>
#include <array>

#include "base/hash.hpp"
#include "twenty/environment.hpp"

namespace stackspec {
namespace {

constexpr const char* kTwentyImage = "docker.io/twentycrm/twenty";
constexpr int kTwentyShutdownSeconds = 60;
constexpr int kDatabaseShutdownSeconds = 120;

/// What a process of the component may be and touch, the same on every platform.
struct Rights {
  int uid = 1000, gid = 1000;
  bool read_only_root = false;
  std::vector<std::string> writable_paths;
};

/// Users of the images: Twenty's own, and those of the official postgres, redis and unprivileged
/// nginx images.
Rights rights_of(Component component, const Endpoints& endpoints) {
  switch (component) {
    case Component::Postgres:
      return {999, 999, true, {"/var/lib/postgresql/data", "/var/run/postgresql", "/tmp"}};
    case Component::Redis: return {999, 999, true, {"/data"}};
    case Component::Server:
    case Component::Worker: return {1000, 1000, false, {endpoints.storage_path, "/tmp"}};
    case Component::Fundraising: return {1000, 1000, true, {"/tmp"}};
    case Component::Gateway: return {101, 101, true, {"/tmp"}};
  }
  return {};
}

/// Text in which no two different components look the same: every part carries its length.
class Fingerprint {
 public:
  Fingerprint& add(std::string_view part) {
    text_ += std::to_string(part.size()) + ":" + std::string(part);
    return *this;
  }
  Fingerprint& add(int number) { return add(std::to_string(number)); }
  Fingerprint& add(const std::map<std::string, std::string>& values) {
    add(static_cast<int>(values.size()));
    for (const auto& [name, value] : values) add(name).add(value);
    return *this;
  }
  std::string hash() const { return short_hash(text_); }

 private:
  std::string text_;
};

std::string revision_of(const ComponentSpec& spec, std::string_view flags_applied) {
  Fingerprint all;
  all.add(to_string(spec.component)).add(spec.version).add(spec.image);
  all.add(static_cast<int>(spec.args.size()));
  for (const std::string& arg : spec.args) all.add(arg);
  all.add(static_cast<int>(spec.env.size()));
  for (const EnvVar& variable : spec.env) {
    all.add(variable.name).add(variable.value);
    all.add(variable.secret ? variable.secret->name : "");
    all.add(variable.secret ? variable.secret->key : "");
  }
  all.add(static_cast<int>(spec.env_from.size()));
  for (const EnvFrom& from : spec.env_from) all.add(from.secret).add(from.config_map);
  all.add(spec.port).add(spec.ready.path).add(spec.ready.port);
  all.add(spec.uid).add(spec.gid).add(spec.read_only_root ? 1 : 0);
  all.add(static_cast<int>(spec.writable_paths.size()));
  for (const std::string& path : spec.writable_paths) all.add(path);
  all.add(spec.termination_grace_seconds);
  all.add(spec.resources.requests).add(spec.resources.limits).add(flags_applied);
  return all.hash();
}

/// The image of one release: the user's repository with that release's tag, or the user's image
/// itself, digest and all, when it is the one asked for.
std::string twenty_image(const StackSpec& spec, const Version& version) {
  if (spec.image.empty()) return std::string(kTwentyImage) + ":" + to_string(version);
  if (spec.target() == version) return spec.image;
  std::string repository = spec.image.substr(0, spec.image.find('@'));
  const auto slash = repository.rfind('/');
  const auto colon = repository.rfind(':');
  // A colon before the last slash is a registry's port.
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  if (tagged) repository.resize(colon);
  return repository + ":" + to_string(version);
}

ComponentSpec base(Component component, const Endpoints& endpoints) {
  ComponentSpec out;
  out.component = component;
  Rights rights = rights_of(component, endpoints);
  out.uid = rights.uid;
  out.gid = rights.gid;
  out.read_only_root = rights.read_only_root;
  for (std::string& path : rights.writable_paths) {
    if (!path.empty()) out.writable_paths.push_back(std::move(path));
  }
  return out;
}

std::string image_or(const std::string& given, const std::string& standard) {
  return given.empty() ? standard : given;
}

ComponentSpec postgres(const StackSpec& spec, const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Postgres, endpoints);
  const std::string major = image_or(spec.database.managed.version, "16");
  out.image = image_or(spec.images.postgres, "docker.io/library/postgres:" + major);
  out.port = endpoints.postgres_port;
  out.ready = {"", out.port};
  out.termination_grace_seconds = kDatabaseShutdownSeconds;
  return out;
}

ComponentSpec redis(const StackSpec& spec, const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Redis, endpoints);
  out.image = image_or(spec.images.redis, "docker.io/library/redis:7");
  out.args = {"redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction"};
  out.port = endpoints.redis_port;
  out.ready = {"", out.port};
  return out;
}

ComponentSpec server(const StackKey& key, const StackSpec& spec, const Version& version,
                     const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Server, endpoints);
  out.version = to_string(version);
  out.image = twenty_image(spec, version);
  out.env = twenty_environment(key, spec, endpoints, "server");
  out.env_from = spec.env_from;
  out.replicas = spec.server.replicas;
  out.port = endpoints.server_port;
  out.ready = {"/healthz", out.port};
  out.termination_grace_seconds = kTwentyShutdownSeconds;
  out.resources = spec.server.resources;
  if (out.resources == Resources{}) {
    // Without requests of its own a container asks for all of its limits, and finds no node.
    out.resources = {.requests = {{"cpu", "250m"}, {"memory", "1Gi"}},
                     .limits = {{"cpu", "2"}, {"memory", "4Gi"}}};
  }
  return out;
}

ComponentSpec worker(const StackKey& key, const StackSpec& spec, const Version& version,
                     const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Worker, endpoints);
  out.version = to_string(version);
  out.image = twenty_image(spec, version);
  out.args = {"yarn", "worker:prod"};
  out.env = twenty_environment(key, spec, endpoints, "worker");
  out.env_from = spec.env_from;
  out.replicas = spec.worker.replicas;
  out.termination_grace_seconds = spec.worker.termination_grace_seconds;
  out.resources = spec.worker.resources;
  return out;
}

ComponentSpec fundraising(const StackSpec& spec, const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Fundraising, endpoints);
  out.version = spec.fundraising.version;
  out.image = spec.fundraising.image;
  out.env = fundraising_environment(spec, endpoints);
  out.env_from = spec.fundraising.env_from;
  out.port = endpoints.fundraising_port;
  out.ready = {"/health", out.port};
  out.termination_grace_seconds = kTwentyShutdownSeconds;
  return out;
}

ComponentSpec gateway(const StackSpec& spec, const Endpoints& endpoints) {
  ComponentSpec out = base(Component::Gateway, endpoints);
  out.image = image_or(spec.images.gateway, "docker.io/nginxinc/nginx-unprivileged:1.28");
  out.port = endpoints.gateway_port;
  out.ready = {"/health", out.port};
  return out;
}

}  // namespace

std::string_view to_string(Component component) {
  switch (component) {
    case Component::Postgres: return "postgres";
    case Component::Redis: return "redis";
    case Component::Server: return "server";
    case Component::Worker: return "worker";
    case Component::Fundraising: return "fundraising";
    case Component::Gateway: return "gateway";
  }
  return "unknown";
}

std::vector<ComponentSpec> wanted_components(const StackKey& key, const StackSpec& spec,
                                             const Version& version, const Endpoints& endpoints,
                                             std::string_view flags_applied) {
  std::vector<ComponentSpec> all;
  if (!spec.database.external) all.push_back(postgres(spec, endpoints));
  if (!spec.redis.external_url) all.push_back(redis(spec, endpoints));
  all.push_back(server(key, spec, version, endpoints));
  all.push_back(worker(key, spec, version, endpoints));
  if (!spec.fundraising.version.empty()) all.push_back(fundraising(spec, endpoints));
  all.push_back(gateway(spec, endpoints));
  for (ComponentSpec& one : all) {
    const bool twenty = one.component == Component::Server || one.component == Component::Worker;
    one.revision = revision_of(one, twenty ? flags_applied : "");
  }
  return all;
}

}  // namespace stackspec
