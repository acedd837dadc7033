// SPDX-License-Identifier: Apache-2.0
#include "control/observe.hpp"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.hpp"
#include "twenty/service_url.hpp"

namespace stackspec {

namespace {

constexpr std::chrono::milliseconds kProbeTimeout{2000};

std::string host_of(const Endpoints& endpoints, int port) {
  const bool is_private = port == endpoints.gateway_private_port;
  return is_private && !endpoints.gateway_private_host.empty() ? endpoints.gateway_private_host
                                                               : endpoints.gateway_host;
}

std::string resolved(const EnvVar& variable, const SecretValues& secrets) {
  if (!variable.secret) return variable.value;
  const auto secret = secrets.find(variable.secret->name);
  if (secret == secrets.end()) return "";
  const auto key = secret->second.find(variable.secret->key);
  return key == secret->second.end() ? "" : key->second;
}

DatabaseTarget target_of(const Stack& stack, const Endpoints& endpoints,
                         const SecretValues& secrets) {
  DatabaseTarget target;
  for (const EnvVar& variable :
       database_environment(stack.key, stack.spec, endpoints, "controller")) {
    const std::string value = resolved(variable, secrets);
    if (variable.name == "PGHOST") target.host = value;
    if (variable.name == "PGPORT" && !value.empty()) target.port = std::atoi(value.c_str());
    if (variable.name == "PGUSER") target.user = value;
    if (variable.name == "PGPASSWORD") target.password = value;
    if (variable.name == "PGDATABASE") target.dbname = value;
    if (variable.name == "PGAPPNAME") target.application_name = value;
  }
  return target;
}

/// A Secret or URL as the gate says it that a person reads.
Blocked unusable(const Error& error, const char* gate, const char* field) {
  if (error.kind == ErrorKind::NotFound) {
    return {"SecretMissing", error.message, "present",
            std::string("create what ") + field + " names"};
  }
  return {gate, error.message, "a URL that can be used", "correct the Secret"};
}

/// Where an external database is; nullopt, and the reason in `seen`, when that cannot be told.
std::optional<DatabaseTarget> external_target(const Stack& stack, const SecretValues& secrets,
                                              Seen& seen) {
  constexpr const char* kGate = "DatabaseUrl";
  const ExternalDatabase& database = *stack.spec.database.external;
  const auto url = find_postgres_url(secrets, database.url);
  if (!url) {
    seen.unusable_urls.push_back(
        unusable(url.error(), kGate, "spec.database.external.urlSecretRef"));
    return std::nullopt;
  }
  log::mask(url->password);
  const auto own = find_postgres_url(secrets, maintenance_ref(database));
  if (!own) {
    seen.unusable_urls.push_back(
        unusable(own.error(), kGate, "spec.database.external.maintenanceUrlSecretRef"));
    return std::nullopt;
  }
  log::mask(own->password);
  if (own->user != url->user || own->database != url->database) {
    seen.unusable_urls.push_back({kGate, "maintenanceUrlSecretRef names another user or database",
                                  "those of urlSecretRef", "correct the Secret"});
    return std::nullopt;
  }
  DatabaseTarget target;
  target.host = own->host;
  target.port = own->port;
  target.user = own->user;
  target.password = own->password;
  target.dbname = own->database;
  target.ssl_mode = own->ssl_mode;
  target.application_name = "stackspec/" + stack.key.name + "/controller";
  target.external = true;
  target.shared = database.shared;
  const auto& journey = stack.status.upgrade;
  target.thorough = journey && journey->step == to_string(Step::Preflight);
  return target;
}

std::optional<RedisTarget> redis_target(const Stack& stack, const SecretValues& secrets,
                                        Seen& seen) {
  if (!stack.spec.redis.external_url) {
    return RedisTarget{seen.endpoints.redis_host, seen.endpoints.redis_port};
  }
  const auto target = external_redis(*stack.spec.redis.external_url, secrets);
  if (target) {
    log::mask(target->password);
    return *target;
  }
  seen.unusable_urls.push_back(
      unusable(target.error(), "RedisUrl", "spec.redis.external.urlSecretRef"));
  return std::nullopt;
}

class WorldObserver final : public Observer {
 public:
  WorldObserver(Platform& platform, Database& database, Redis& redis, HttpClient& http)
      : platform_(platform), database_(database), redis_(redis), http_(http) {}

  Result<Seen> observe(const Stack& stack, const SecretValues& secrets, const Catalog& catalog,
                       std::stop_token stop) override {
    Seen seen = seen_of(TRY(platform_.observe(stack, stop)));
    TRY(read_database(stack, secrets, catalog, seen, stop));
    if (runs(seen, Component::Redis) || stack.spec.redis.external_url) {
      const auto target = redis_target(stack, secrets, seen);
      if (target) seen.redis = TRY(redis_.read(*target, stop));
    }
    if (runs(seen, Component::Gateway)) probe(stack, seen, stop);
    return seen;
  }

 private:
  static bool runs(const Seen& seen, Component which) { return seen.component(which).running > 0; }

  Result<void> read_database(const Stack& stack, const SecretValues& secrets,
                             const Catalog& catalog, Seen& seen, std::stop_token stop) {
    if (!runs(seen, Component::Postgres) && !stack.spec.database.external) {
      seen.database.error = "PostgreSQL is not running";
      return {};
    }
    std::vector<Sentinel> sentinels;
    for (const Release& release : catalog.releases()) {
      sentinels.insert(sentinels.end(), release.sentinels.begin(), release.sentinels.end());
    }
    const auto found = stack.spec.database.external ? external_target(stack, secrets, seen)
                                                    : target_of(stack, seen.endpoints, secrets);
    if (!found) return {};
    const DatabaseTarget& target = *found;
    seen.database = TRY(database_.read(target, sentinels, stop));
    const auto& journey = stack.status.upgrade;
    if (!seen.database.reachable || !journey || journey->step != to_string(Step::Settle)) return {};
    // What a restore would cost, for the person who has to decide about it.
    if (const BackupSeen* backup = seen.backup(journey->backup)) {
      const auto loss = database_.loss_since(target, backup->cutoff_time, stop);
      if (loss) {
        seen.database.rows_since_cutoff = loss->rows;
        seen.database.last_write = loss->last_write;
      }
    }
    return {};
  }

  HttpSeen look(const Endpoints& endpoints, int port, const std::string& path, std::stop_token stop,
                std::string* body = nullptr) {
    HttpRequest request;
    request.host = host_of(endpoints, port);
    request.port = port;
    request.path = path;
    const auto answer = http_.send(request, kProbeTimeout, stop);
    if (!answer) return {0, answer.error().message};
    if (body != nullptr) *body = answer->body;
    return {answer->status, ""};
  }

  /// A query that makes the server read its own tables. `/healthz` is 200 whatever happens.
  void query(const Endpoints& endpoints, Seen& seen, std::stop_token stop) {
    HttpRequest request;
    request.method = "POST";
    request.host = host_of(endpoints, endpoints.gateway_private_port);
    request.port = endpoints.gateway_private_port;
    request.path = "/graphql";
    request.headers["content-type"] = "application/json";
    request.body = R"({"query":"{ __typename }"})";
    const auto answer = http_.send(request, kProbeTimeout, stop);
    if (!answer) {
      seen.probes.private_query = {0, answer.error().message};
      return;
    }
    const auto body = nlohmann::json::parse(answer->body, nullptr, false);
    const bool good = answer->status == 200 && body.is_object() && body.contains("data") &&
                      !body.contains("errors");
    seen.probes.private_query.status = good ? 200 : (answer->status == 200 ? 500 : answer->status);
    if (!good) seen.probes.query_error = answer->body.substr(0, 200);
  }

  void probe(const Stack& stack, Seen& seen, std::stop_token stop) {
    const Endpoints& endpoints = seen.endpoints;
    const int gate = endpoints.gateway_private_port;
    seen.probes.public_front = look(endpoints, endpoints.gateway_port, "/", stop);
    if (!stack.spec.fundraising.version.empty() && runs(seen, Component::Fundraising)) {
      seen.probes.fundraising = look(endpoints, gate, "/fundraising/health", stop);
      std::string text;
      if (look(endpoints, gate, "/fundraising/status", stop, &text).status == 200) {
        const auto body = nlohmann::json::parse(text, nullptr, false);
        const bool counted = body.is_object() && body.contains("activeRuns") &&
                             body["activeRuns"].is_number_integer();
        if (counted) seen.probes.fundraising_runs = body["activeRuns"].get<int>();
      }
    }
    if (!runs(seen, Component::Server)) return;
    seen.probes.private_health = look(endpoints, gate, "/healthz", stop);
    if (seen.probes.private_health.status == 0) return;
    query(endpoints, seen, stop);
    for (const SmokeCheck& check : stack.spec.smoke) {
      seen.probes.smoke[check.name] = look(endpoints, gate, check.path, stop);
    }
  }

  Platform& platform_;
  Database& database_;
  Redis& redis_;
  HttpClient& http_;
};

}  // namespace

Seen seen_of(PlatformSeen found) {
  Seen seen;
  seen.platform = std::move(found.capabilities);
  seen.endpoints = std::move(found.endpoints);
  seen.components = std::move(found.components);
  seen.gateway_open = found.gateway_open;
  seen.tasks = std::move(found.tasks);
  seen.backups = std::move(found.backups);
  seen.host = found.host;
  seen.missing_releases = std::move(found.missing_releases);
  return seen;
}

std::unique_ptr<Observer> make_observer(Platform& platform, Database& database, Redis& redis,
                                        HttpClient& http) {
  return std::make_unique<WorldObserver>(platform, database, redis, http);
}

}  // namespace stackspec
