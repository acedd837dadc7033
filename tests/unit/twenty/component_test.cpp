// SPDX-License-Identifier: Apache-2.0
#include "twenty/component.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "catalog/catalog.hpp"

namespace stackspec {
namespace {

const StackKey kKey{"default", "crm"};

Endpoints endpoints() {
  Endpoints at;
  at.postgres_host = at.redis_host = at.server_host = "127.0.0.1";
  at.fundraising_host = at.gateway_host = "127.0.0.1";
  at.postgres_port = 5501;
  at.redis_port = 5502;
  at.server_port = 5503;
  at.fundraising_port = 5504;
  at.gateway_port = 5505;
  at.gateway_closed_port = 5506;
  at.gateway_private_port = 5507;
  at.storage_path = "/data/storage";
  return at;
}

StackSpec quickstart() {
  StackSpec spec;
  spec.tag = "v1.16.6";
  spec.server_url = "https://crm.example.org";
  spec.fundraising.version = "v0.1.0";
  return spec;
}

std::vector<ComponentSpec> wanted(const StackSpec& spec, const char* version = "v1.16.6",
                                  const char* flags = "") {
  return wanted_components(kKey, spec, parse_version(version).value(), endpoints(), flags);
}

ComponentSpec one(const StackSpec& spec, Component which, const char* version = "v1.16.6",
                  const char* flags = "") {
  for (ComponentSpec& candidate : wanted(spec, version, flags)) {
    if (candidate.component == which) return std::move(candidate);
  }
  ADD_FAILURE() << "no " << to_string(which);
  return {};
}

/// The value a process would see, and how often the name is given.
std::string value_of(const std::vector<EnvVar>& env, const std::string& name) {
  std::string value = "(absent)";
  int times = 0;
  for (const EnvVar& variable : env) {
    if (variable.name != name) continue;
    value = variable.secret ? "secret " + variable.secret->name + "/" + variable.secret->key
                            : variable.value;
    ++times;
  }
  EXPECT_LE(times, 1) << name << " is given more than once";
  return value;
}

TEST(Twenty, HasTheServersEnvironment) {
  const auto env = one(quickstart(), Component::Server).env;
  const struct {
    const char* name;
    const char* value;
  } rows[] = {
      {"NODE_PORT", "5503"},
      {"SERVER_URL", "https://crm.example.org"},
      {"PG_DATABASE_URL", "postgres://twenty:$(PG_DATABASE_PASSWORD)@127.0.0.1:5501/default"},
      {"PG_DATABASE_PASSWORD", "secret crm-secrets/PG_DATABASE_PASSWORD"},
      {"REDIS_URL", "redis://127.0.0.1:5502"},
      {"STORAGE_TYPE", "local"},
      {"STORAGE_LOCAL_PATH", "/data/storage"},
      {"STORAGE_S3_NAME", "(absent)"},
      {"APP_SECRET", "secret crm-secrets/APP_SECRET"},
      {"ENCRYPTION_KEY", "secret crm-secrets/ENCRYPTION_KEY"},
      {"ACCESS_TOKEN_SECRET", "secret crm-secrets/ACCESS_TOKEN_SECRET"},
      {"REFRESH_TOKEN_SECRET", "secret crm-secrets/REFRESH_TOKEN_SECRET"},
      {"IS_CONFIG_VARIABLES_IN_DB_ENABLED", "false"},
      {"PGAPPNAME", "stackspec/crm/server"},
      {"DISABLE_DB_MIGRATIONS", "true"},
      {"DISABLE_CRON_JOBS_REGISTRATION", "true"},
  };
  for (const auto& row : rows) EXPECT_EQ(value_of(env, row.name), row.value) << row.name;
  const auto worker = one(quickstart(), Component::Worker);
  EXPECT_EQ(value_of(worker.env, "PGAPPNAME"), "stackspec/crm/worker");
  EXPECT_EQ(value_of(worker.env, "IS_CONFIG_VARIABLES_IN_DB_ENABLED"), "false");
  EXPECT_EQ(value_of(worker.env, "STORAGE_LOCAL_PATH"), "/data/storage");
  EXPECT_EQ(worker.args, (std::vector<std::string>{"yarn", "worker:prod"}));
}

TEST(Twenty, NamesASecretBeforeItIsUsed) {
  const auto env = one(quickstart(), Component::Server).env;
  std::size_t password = env.size(), url = env.size();
  for (std::size_t i = 0; i < env.size(); ++i) {
    if (env[i].name == "PG_DATABASE_PASSWORD") password = i;
    if (env[i].name == "PG_DATABASE_URL") url = i;
  }
  EXPECT_LT(password, url) << "$(PG_DATABASE_PASSWORD) would stay as it is written";
}

TEST(Twenty, StoresInS3WithoutEmptyVariables) {
  StackSpec spec = quickstart();
  spec.storage.s3 = S3Storage{"bucket", "eu-west-1", "", "crm-s3"};
  for (const Component which : {Component::Server, Component::Worker}) {
    const auto env = one(spec, which).env;
    EXPECT_EQ(value_of(env, "STORAGE_TYPE"), "s3");
    EXPECT_EQ(value_of(env, "STORAGE_S3_NAME"), "bucket");
    EXPECT_EQ(value_of(env, "STORAGE_S3_REGION"), "eu-west-1");
    EXPECT_EQ(value_of(env, "STORAGE_S3_ENDPOINT"), "(absent)");
    EXPECT_EQ(value_of(env, "STORAGE_S3_ACCESS_KEY_ID"), "secret crm-s3/accessKeyId");
    EXPECT_EQ(value_of(env, "STORAGE_S3_SECRET_ACCESS_KEY"), "secret crm-s3/secretAccessKey");
    EXPECT_EQ(value_of(env, "STORAGE_LOCAL_PATH"), "(absent)");
  }
}

TEST(Twenty, GivesUsersTheirVariablesButNeverOurs) {
  StackSpec spec = quickstart();
  spec.env = {{"LOG_LEVEL", "warn"},
              {"EMPTY", ""},
              {"PG_DATABASE_URL", "postgres://elsewhere"},
              {"DISABLE_DB_MIGRATIONS", "false"},
              {"STORAGE_TYPE", "s3"}};
  const auto env = one(spec, Component::Server).env;
  EXPECT_EQ(value_of(env, "LOG_LEVEL"), "warn");
  EXPECT_EQ(value_of(env, "EMPTY"), "");
  EXPECT_NE(value_of(env, "PG_DATABASE_URL"), "postgres://elsewhere");
  EXPECT_EQ(value_of(env, "DISABLE_DB_MIGRATIONS"), "true");
  EXPECT_EQ(value_of(env, "STORAGE_TYPE"), "local");
}

/// A specification with anything a user might write around the two switches.
StackSpec random_spec(std::mt19937& random) {
  const auto coin = [&] { return random() % 2 == 0; };
  StackSpec spec = quickstart();
  if (coin()) spec.fundraising.version.clear();
  if (coin()) spec.server_url.clear();
  if (coin()) spec.storage.s3 = S3Storage{"b", "r", coin() ? "https://s3" : "", coin() ? "s" : ""};
  if (coin()) spec.database.external = ExternalDatabase{{"db", "url"}, std::nullopt, coin()};
  if (coin()) spec.redis.external_url = SecretKeyRef{"redis", "url"};
  if (coin()) spec.secrets_ref = "own";
  for (const char* name : {"DISABLE_DB_MIGRATIONS", "DISABLE_CRON_JOBS_REGISTRATION",
                           "disable_db_migrations", "DISABLE_DB_MIGRATIONS ", "A", "PATH"}) {
    for (const char* value : {"false", "", "TRUE", "$(A)"}) {
      if (coin()) spec.env[name] = value;
    }
  }
  if (coin()) spec.env_from = {{"secret", ""}, {"", "config"}};
  spec.server.replicas = static_cast<int>(random() % 4);
  spec.worker.replicas = static_cast<int>(random() % 4);
  return spec;
}

void expect_off(const std::vector<EnvVar>& env) {
  ASSERT_GE(env.size(), 2U);
  for (const char* name : {"DISABLE_DB_MIGRATIONS", "DISABLE_CRON_JOBS_REGISTRATION"}) {
    ASSERT_EQ(value_of(env, name), "true") << name;
  }
  ASSERT_EQ(env[env.size() - 2].name, "DISABLE_DB_MIGRATIONS");
  ASSERT_EQ(env.back().name, "DISABLE_CRON_JOBS_REGISTRATION");
}

TEST(Twenty, NeverMigratesByItselfWhateverTheSpecSays) {
  std::mt19937 random(20261121);
  for (const Release& release : Catalog::builtin().releases()) {
    for (int i = 0; i < 20; ++i) {
      const StackSpec spec = random_spec(random);
      int seen = 0;
      for (const ComponentSpec& component :
           wanted_components(kKey, spec, release.recommended, endpoints(), "f")) {
        const bool twenty =
            component.component == Component::Server || component.component == Component::Worker;
        if (!twenty) continue;
        ++seen;
        expect_off(component.env);
        if (HasFatalFailure()) FAIL() << to_string(release.minor);
      }
      ASSERT_EQ(seen, 2);
      expect_off(task_environment(kKey, spec, release.recommended, endpoints()));
      if (HasFatalFailure()) FAIL() << "task of " << to_string(release.minor);
    }
  }
}

TEST(Twenty, PutsNoSecretIntoAnyValue) {
  for (const ComponentSpec& component : wanted(quickstart())) {
    for (const EnvVar& variable : component.env) {
      const bool secret = variable.name.find("SECRET") != std::string::npos ||
                          variable.name.find("PASSWORD") != std::string::npos ||
                          variable.name.find("_KEY") != std::string::npos;
      EXPECT_EQ(secret, variable.secret.has_value()) << variable.name;
    }
  }
}

TEST(Fundraising, IsHeldInsideTheApisLimits) {
  const struct {
    const char* name;
    const char* given;
    const char* value;
  } rows[] = {
      {"FUNDRAISING_BATCH_PROCESS_ROW_DELAY_MS", "100", "600"},
      {"FUNDRAISING_BATCH_PROCESS_ROW_DELAY_MS", "900", "900"},
      {"FUNDRAISING_BATCH_PROCESS_ROW_DELAY_MS", "-1", "600"},
      {"FUNDRAISING_BATCH_PROCESS_ROW_DELAY_MS", "none", "600"},
      {"FUNDRAISING_BATCH_PROCESS_ROW_DELAY_MS", "", "600"},
      {"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE", "61", "60"},
      {"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE", "60", "60"},
      {"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE", "25", "25"},
      {"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE", "99999999999999999999", "60"},
      {"FUNDRAISING_DONOR_MATCH_CREATE_CHUNK_SIZE", "0", "60"},
      {"FUNDRAISING_DONOR_MATCH_CREATE_CHUNK_SIZE", "61x", "60"},
      {"FUNDRAISING_LABEL", "100", "100"},
      {"OTHER_BATCH_SIZE", "100", "100"},
      {"PORT", "1", "5504"},
      {"TWENTY_API_URL", "http://elsewhere", "http://127.0.0.1:5503"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.name) + "=" + row.given);
    StackSpec spec = quickstart();
    spec.fundraising.env = {{row.name, row.given}};
    EXPECT_EQ(value_of(one(spec, Component::Fundraising).env, row.name), row.value);
  }
}

TEST(Components, SayWhereTheyAnswer) {
  const struct {
    Component which;
    int port;
    const char* path;
  } rows[] = {
      {Component::Postgres, 5501, ""},           {Component::Redis, 5502, ""},
      {Component::Server, 5503, "/healthz"},     {Component::Worker, 0, ""},
      {Component::Fundraising, 5504, "/health"}, {Component::Gateway, 5505, "/health"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(to_string(row.which));
    const auto component = one(quickstart(), row.which);
    EXPECT_EQ(component.port, row.port);
    EXPECT_EQ(component.ready, (Probe{row.path, row.port}));
    EXPECT_NE(component.uid, 0);
    EXPECT_FALSE(component.revision.empty());
  }
}

TEST(Components, AreLeftOutWhereTheyAreElsewhereOrUnwanted) {
  StackSpec spec = quickstart();
  spec.fundraising.version.clear();
  spec.database.external = ExternalDatabase{{"db", "url"}, std::nullopt, false};
  std::set<Component> all;
  for (const ComponentSpec& component : wanted(spec)) all.insert(component.component);
  EXPECT_EQ(all, (std::set<Component>{Component::Redis, Component::Server, Component::Worker,
                                      Component::Gateway}));
}

TEST(Components, ChangeRevisionWithEverythingButReplicas) {
  const StackSpec spec = quickstart();
  const std::string before = one(spec, Component::Server).revision;
  StackSpec more = spec;
  more.server.replicas = 5;
  EXPECT_EQ(one(more, Component::Server).revision, before);
  StackSpec env = spec;
  env.env = {{"A", "1"}};
  EXPECT_NE(one(env, Component::Server).revision, before);
  StackSpec from = spec;
  from.env_from = {{"smtp", ""}};
  EXPECT_NE(one(from, Component::Server).revision, before);
  StackSpec resources = spec;
  resources.server.resources.limits = {{"cpu", "4"}};
  EXPECT_NE(one(resources, Component::Server).revision, before);
  EXPECT_NE(one(spec, Component::Server, "v1.17.4").revision, before);
  EXPECT_NE(one(spec, Component::Server, "v1.16.6", "f1").revision, before);
  EXPECT_NE(one(spec, Component::Worker, "v1.16.6", "f1").revision,
            one(spec, Component::Worker).revision);
  EXPECT_EQ(one(spec, Component::Gateway, "v1.17.4", "f1").revision,
            one(spec, Component::Gateway).revision);
}

TEST(Components, UseTheUsersRepositoryForEveryHop) {
  const struct {
    const char* image;
    const char* version;
    const char* used;
  } rows[] = {
      {"", "v1.16.6", "docker.io/twentycrm/twenty:v1.16.6"},
      {"reg:5000/t/twenty:v1.17.4", "v1.16.6", "reg:5000/t/twenty:v1.16.6"},
      {"reg:5000/t/twenty:v1.17.4@sha256:ab", "v1.17.4", "reg:5000/t/twenty:v1.17.4@sha256:ab"},
      {"reg:5000/t/twenty:v1.17.4@sha256:ab", "v1.16.6", "reg:5000/t/twenty:v1.16.6"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.image);
    StackSpec spec = quickstart();
    if (*row.image != '\0') spec.tag.clear();
    spec.image = row.image;
    EXPECT_EQ(one(spec, Component::Server, row.version).image, row.used);
  }
}

TEST(Secrets, AreGeneratedForEveryKeyTheComponentsName) {
  std::set<std::string> generated;
  for (const GeneratedKey& key : generated_keys()) {
    EXPECT_GE(key.bytes, 24);
    generated.insert(std::string(key.key));
  }
  for (const ComponentSpec& component : wanted(quickstart())) {
    for (const EnvVar& variable : component.env) {
      if (!variable.secret) continue;
      EXPECT_EQ(variable.secret->name, "crm-secrets");
      EXPECT_TRUE(generated.contains(variable.secret->key)) << variable.secret->key;
    }
  }
}

}  // namespace
}  // namespace stackspec
