// SPDX-License-Identifier: Apache-2.0
#include "twenty/environment.hpp"

#include <algorithm>
#include <charconv>

#include "twenty/service_url.hpp"

namespace stackspec {
namespace {

// The database's owner and its name; the name is the one Twenty's own compose file uses.
constexpr const char* kUser = "twenty";
constexpr const char* kDatabase = "default";
constexpr const char* kPasswordKey = "PG_DATABASE_PASSWORD";
// Taken apart by the tasks themselves: only they may see it.
constexpr const char* kExternalUrl = "STACKSPEC_DATABASE_URL";

// Source: Twenty's API accepts 60 records a batch and 100 requests a minute: one each 600 ms.
constexpr int kLargestBatch = 60;
constexpr int kLeastRowDelayMs = 600;

class Variables {
 public:
  explicit Variables(std::string secret) : secret_(std::move(secret)) {}

  /// An empty value counts as configured for Twenty, so ours are left out instead.
  void set(const char* name, std::string value) {
    if (!value.empty()) list_.push_back({name, std::move(value), std::nullopt});
  }
  void set_secret(const char* name) { set_secret(name, {secret_, name}); }
  void set_secret(const char* name, SecretKeyRef ref) {
    list_.push_back({name, "", std::move(ref)});
  }

  /// `user` first, without the names that are in here.
  std::vector<EnvVar> after(const EnvMap& user) && {
    std::vector<EnvVar> all;
    for (const auto& [name, value] : user) {
      const bool ours = std::any_of(list_.begin(), list_.end(),
                                    [&name = name](const EnvVar& own) { return own.name == name; });
      if (!ours) all.push_back({name, value, std::nullopt});
    }
    for (EnvVar& own : list_) all.push_back(std::move(own));
    return all;
  }

 private:
  std::string secret_;
  std::vector<EnvVar> list_;
};

std::string url_of(const std::string& host, int port) {
  return "http://" + host + ":" + std::to_string(port);
}

void set_storage(const StackSpec& spec, const Endpoints& endpoints, Variables& ours) {
  if (!spec.storage.s3) {
    ours.set("STORAGE_TYPE", "local");
    ours.set("STORAGE_LOCAL_PATH", endpoints.storage_path);
    return;
  }
  const S3Storage& s3 = *spec.storage.s3;
  ours.set("STORAGE_TYPE", "s3");
  ours.set("STORAGE_S3_NAME", s3.bucket);
  ours.set("STORAGE_S3_REGION", s3.region);
  ours.set("STORAGE_S3_ENDPOINT", s3.endpoint);
  if (s3.credentials_secret.empty()) return;
  ours.set_secret("STORAGE_S3_ACCESS_KEY_ID", {s3.credentials_secret, "accessKeyId"});
  ours.set_secret("STORAGE_S3_SECRET_ACCESS_KEY", {s3.credentials_secret, "secretAccessKey"});
}

void set_connections(const StackSpec& spec, const Endpoints& endpoints, std::string_view role,
                     Variables& ours) {
  if (const auto& external = spec.database.external) {
    ours.set_secret("PG_DATABASE_URL", role == "task" ? maintenance_ref(*external) : external->url);
  } else {
    // The password is ours and hexadecimal, so it needs no percent-encoding.
    ours.set_secret(kPasswordKey);
    ours.set("PG_DATABASE_URL", std::string("postgres://") + kUser + ":$(" + kPasswordKey + ")@" +
                                    endpoints.postgres_host + ":" +
                                    std::to_string(endpoints.postgres_port) + "/" + kDatabase);
  }
  if (spec.redis.external_url) {
    ours.set_secret("REDIS_URL", *spec.redis.external_url);
  } else {
    ours.set("REDIS_URL",
             "redis://" + endpoints.redis_host + ":" + std::to_string(endpoints.redis_port));
  }
}

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [name](std::string_view ending) { return name.ends_with(ending); });
}

/// What is not a number becomes the bound itself: the knob may not be read as "no limit".
std::string clamped(const std::string& name, const std::string& value) {
  if (!name.starts_with("FUNDRAISING_")) return value;
  const bool size = ends_with_any(name, {"_BATCH_SIZE", "_CHUNK_SIZE"});
  const bool delay = ends_with_any(name, {"_ROW_DELAY_MS"});
  if (!size && !delay) return value;
  const int bound = size ? kLargestBatch : kLeastRowDelayMs;
  int number = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool whole = failed == std::errc{} && end == value.data() + value.size();
  if (!whole || (size && number < 1)) return std::to_string(bound);
  return std::to_string(size ? std::min(number, bound) : std::max(number, bound));
}

}  // namespace

std::vector<EnvVar> twenty_environment(const StackKey& key, const StackSpec& spec,
                                       const Endpoints& endpoints, std::string_view role) {
  Variables ours(secrets_name(key, spec));
  if (role != "worker") ours.set("NODE_PORT", std::to_string(endpoints.server_port));
  ours.set("SERVER_URL", spec.server_url.empty()
                             ? url_of(endpoints.gateway_host, endpoints.gateway_port)
                             : spec.server_url);
  set_connections(spec, endpoints, role, ours);
  set_storage(spec, endpoints, ours);
  for (const char* name :
       {"APP_SECRET", "ENCRYPTION_KEY", "ACCESS_TOKEN_SECRET", "REFRESH_TOKEN_SECRET"}) {
    ours.set_secret(name);
  }
  // Rows of the database would override what the spec says.
  ours.set("IS_CONFIG_VARIABLES_IN_DB_ENABLED", "false");
  ours.set("PGAPPNAME", "stackspec/" + key.name + "/" + std::string(role));
  ours.set("DISABLE_DB_MIGRATIONS", "true");
  ours.set("DISABLE_CRON_JOBS_REGISTRATION", "true");
  return std::move(ours).after(spec.env);
}

std::vector<EnvVar> fundraising_environment(const StackSpec& spec, const Endpoints& endpoints) {
  Variables ours("");
  ours.set("PORT", std::to_string(endpoints.fundraising_port));
  ours.set("TWENTY_API_URL", url_of(endpoints.server_host, endpoints.server_port));
  EnvMap user = spec.fundraising.env;
  for (auto& [name, value] : user) value = clamped(name, value);
  return std::move(ours).after(user);
}

std::vector<EnvVar> task_environment(const StackKey& key, const StackSpec& spec,
                                     const Version& /*version*/, const Endpoints& endpoints) {
  return twenty_environment(key, spec, endpoints, "task");
}

std::vector<EnvVar> database_environment(const StackKey& key, const StackSpec& spec,
                                         const Endpoints& endpoints, std::string_view application) {
  std::vector<EnvVar> env;
  const std::string application_name = "stackspec/" + key.name + "/" + std::string(application);
  if (spec.database.external) {
    env.push_back({kExternalUrl, "", maintenance_ref(*spec.database.external)});
    env.push_back({"PGAPPNAME", application_name, std::nullopt});
    return env;
  }
  env.push_back({"PGHOST", endpoints.postgres_host, std::nullopt});
  env.push_back({"PGPORT", std::to_string(endpoints.postgres_port), std::nullopt});
  env.push_back({"PGUSER", kUser, std::nullopt});
  env.push_back({"PGDATABASE", kDatabase, std::nullopt});
  env.push_back({"PGPASSWORD", "", SecretKeyRef{secrets_name(key, spec), kPasswordKey}});
  env.push_back({"PGAPPNAME", application_name, std::nullopt});
  return env;
}

std::vector<GeneratedKey> generated_keys() {
  return {{"APP_SECRET", 32},
          {"ENCRYPTION_KEY", 32},
          {"ACCESS_TOKEN_SECRET", 32},
          {"REFRESH_TOKEN_SECRET", 32},
          {kPasswordKey, 24}};
}

std::string secrets_name(const StackKey& key, const StackSpec& spec) {
  return spec.secrets_ref.empty() ? key.name + "-secrets" : spec.secrets_ref;
}

}  // namespace stackspec
