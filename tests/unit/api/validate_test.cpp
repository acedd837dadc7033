// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "api/codec.hpp"
#include "api/stack.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

json stack(const std::string& spec, const std::string& name = "crm") {
  return {{"apiVersion", kApiVersion},
          {"kind", "StackSpec"},
          {"metadata", {{"name", name}}},
          {"spec", json::parse(spec)}};
}

constexpr const char* kGood = R"({"tag":"v1.16.6"})";

TEST(Validate, JudgesAnObjectOfItsOwn) {
  const std::string digest = "@sha256:" + std::string(64, 'a');
  const struct {
    std::string spec;
    std::string problem;  ///< Start of the only one; empty: the object is good.
    std::string name = "crm";
  } rows[] = {
      {kGood, ""},
      {R"({"tag":"v1.14"})", ""},
      {R"({"image":"twentycrm/twenty:v1.16.6"})", ""},
      {R"({"image":"registry:5000/a/twenty:v1.16.6)" + digest + "\"}", ""},
      {R"({"tag":"latest"})",
       "spec.tag: must be a pinned release such as v1.16.6; `latest` cannot be upgraded step by "
       "step"},
      {R"({"tag":"1.16.6"})", "spec.tag: must be a pinned release"},
      {"{}", "spec: exactly one of tag and image must be set"},
      {R"({"tag":"v1.16.6","image":"twentycrm/twenty:v1.16.6"})", "spec: exactly one of"},
      {R"({"image":"twentyhq/twenty:v1.16.6"})", "spec.image: twentyhq/twenty does not exist"},
      {R"({"image":"twentycrm/twenty:latest"})", "spec.image: must end with a pinned release"},
      {R"({"tag":"v1.16.6","storage":{"type":"s3","s3":{"bucket":"","region":"r",
           "credentialsSecretRef":{"name":"c"}}}})",
       "spec.storage.s3.bucket: must not be empty; "},
      {R"({"tag":"v1.16.6","storage":{"type":"s3"}})", "spec.storage: s3 must be set exactly when"},
      {R"({"tag":"v1.16.6","storage":{"type":"local","s3":{"bucket":"b","region":"r",
           "credentialsSecretRef":{"name":"c"}}}})",
       "spec.storage: s3 must be set exactly when"},
      {R"({"tag":"v1.16.6","storage":{"type":"s3","s3":{"bucket":"b","region":"r",
           "credentialsSecretRef":{"name":"c"}}}})",
       ""},
      {R"({"tag":"v1.16.6","database":{"external":{"urlSecretRef":{"name":"a","key":"b"}}},
           "redis":{"external":{"urlSecretRef":{"name":"a","key":"b"}}}})",
       ""},
      {R"({"tag":"v1.16.6","server":{"replicas":-1}})", "spec.server.replicas: must be at least 0"},
      {R"({"tag":"v1.16.6","server":{"replicas":51}})", "spec.server.replicas: must be at most 50"},
      {R"({"tag":"v1.16.6","server":{"replicas":"2"}})",
       "spec.server.replicas: must be an integer, not the text `2`"},
      {R"({"tag":"v1.16.6","server":{"replicas":18446744073709551615}})",
       "spec.server.replicas: must be at most 50"},
      {R"({"tag":1.16})", "spec.tag: must be a string, not `1.16`; put it in quotes"},
      {R"({"tag":"v1.16.6","env":null})", "spec.env: must be an object with fields, not empty"},
      {R"({"tag":"v1.16.6","env":{"LOG_LEVEL":true}})", "spec.env.LOG_LEVEL: must be a string"},
      {R"({"tag":"v1.16.6","env":{"A=B":"c"}})", "spec.env.A=B: is no name of a variable"},
      {R"({"tag":"v1.16.6","fundraising":{"version":"v0.1.0",
           "env":{"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE":"61"}}})",
       "spec.fundraising.env: FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE and"},
      {R"({"tag":"v1.16.6","fundraising":{"version":"v0.1.0",
           "env":{"FUNDRAISING_DONOR_MATCH_CREATE_CHUNK_SIZE":"0"}}})",
       "spec.fundraising.env: "},
      {R"({"tag":"v1.16.6","fundraising":{"version":"v0.1.0",
           "env":{"FUNDRAISING_DONOR_MATCH_LOOKUP_BATCH_SIZE":"60"}}})",
       ""},
      {R"({"tag":"v1.16.6","flag":{"A":true}})",
       "spec.flag: unknown field; did you mean \"flags\"?"},
      {R"({"tag":"v1.16.6","zzzzzzzz":1})", "spec.zzzzzzzz: unknown field; remove it"},
      {R"({"tag":"v1.16.6","redis":{"managed":{"size":"1 Gi"}}})",
       "spec.redis.managed.size: must be a size such as 10Gi"},
      {R"({"tag":"v1.16.6","redis":{"managed":{"size":1.5}}})",
       "spec.redis.managed.size: must be an integer or a quoted string"},
      {R"({"tag":"v1.16.6","envFrom":[{}]})", "spec.envFrom[0]: exactly one of secretRef"},
      {R"({"tag":"v1.16.6","smoke":[{"name":"a"}]})", "spec.smoke[0]: exactly one of http and"},
      {R"({"tag":"v1.16.6","upgrade":{"onFailure":"Rollback"}})",
       "spec.upgrade.onFailure: must be one of RollBack, Stall; `Rollback` is not"},
      {kGood, "metadata.name: must be a DNS label", "crm.a"},
      {kGood, "metadata.name: must be a DNS label", std::string(31, 'a')},
      {kGood, "", std::string(30, 'a')},
      {kGood, "metadata.name: must be a DNS label", "1crm"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.spec + " " + row.name);
    const auto problems = validate(stack(row.spec, row.name), nullptr);
    EXPECT_EQ(problems.size(), row.problem.empty() ? 0U : 1U) << to_string(problems);
    EXPECT_TRUE(to_string(problems).starts_with(row.problem)) << to_string(problems);
  }
}

TEST(Validate, JudgesAChangeByTheStoredObject) {
  const std::string proven = R"({"version":"v1.15.4"})";
  const std::string migrating =
      R"({"version":"v1.15.4","upgrade":{"hopTo":"v1.16.6","pointOfNoReturn":true}})";
  const std::string older = "spec.tag: the data is at v1.15.4; an older image cannot read it";
  const std::string lowered = "spec.tag: the database is being migrated to v1.16.6";
  const auto size = [](const std::string& value) {
    return R"({"tag":"v1.16.6","database":{"managed":{"size":)" + value + "}}}";
  };
  const struct {
    std::string from, status, to, problem;
  } rows[] = {
      {R"({"tag":"v1.15.0"})", "{}", R"({"tag":"v1.14.0"})", ""},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.15.4"})", ""},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.15.3"})", older},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.9.9"})", older},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.15"})", ""},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.14"})", older},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v2.0.0"})", ""},
      {R"({"tag":"v1.17.0"})", proven, R"({"tag":"v1.100.0"})", ""},
      {R"({"tag":"v1.17.0"})", proven, R"({"image":"reg:5000/t/twenty:v1.14.0"})", older},
      {R"({"tag":"v1.17.0"})", proven, R"({"image":"reg:5000/t/twenty:v1.17.0"})", ""},
      {R"({"tag":"v1.14.0"})", proven, R"({"tag":"v1.14.0","suspend":true})", ""},
      {R"({"tag":"v1.17.0"})", migrating, R"({"tag":"v1.18.0"})", ""},
      {R"({"tag":"v1.17.0"})", migrating, R"({"tag":"v1.16.5"})", lowered},
      {R"({"tag":"v1.17.0"})", migrating, R"({"tag":"v1.16.6"})", ""},
      {size("\"10Gi\""), "{}", size("\"20Gi\""), ""},
      {size("\"20Gi\""), "{}", size("\"20480Mi\""), ""},
      {size("\"20Gi\""), "{}", size("\"19Gi\""),
       "spec.database.managed.size: storage never shrinks"},
      {size("\"20Gi\""), "{}", size("21474836480"), ""},
      {size("\"20Gi\""), "{}", kGood, "spec.database.managed.size: cannot be removed once set"},
      {R"({"tag":"v1.16.6","storage":{"type":"local","local":{"size":"10Gi"}}})", "{}",
       R"({"tag":"v1.16.6","storage":{"type":"local","local":{"size":"1Gi"}}})",
       "spec.storage.local.size: storage never shrinks"},
      {R"({"tag":"v1.16.6","storage":{"type":"local","local":{"size":"10Gi"}}})", "{}", kGood,
       "spec.storage.local.size: cannot be removed once set"},
      {kGood, "{}", R"({"tag":"v1.16.6","database":{"external":{"urlSecretRef":
       {"name":"a","key":"b"}}}})",
       "spec.database: cannot change between managed and external"},
      {R"({"tag":"v1.16.6","redis":{"external":{"urlSecretRef":{"name":"a","key":"b"}}}})", "{}",
       kGood, "spec.redis: cannot change between managed and external"},
      {R"({"tag":"v1.16.6","database":{"external":{"urlSecretRef":{"name":"a","key":"b"}}}})", "{}",
       R"({"tag":"v1.16.6","database":{"external":{"shared":true,"urlSecretRef":
       {"name":"a","key":"b"}}}})",
       "spec.database.external.shared: immutable"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.from + " " + row.status + " -> " + row.to);
    json old = stack(row.from);
    old["status"] = json::parse(row.status);
    const auto problems = validate(stack(row.to), &old);
    EXPECT_EQ(problems.empty(), row.problem.empty()) << to_string(problems);
    EXPECT_TRUE(to_string(problems).starts_with(row.problem)) << to_string(problems);
  }
}

TEST(Validate, RefusesWhatIsNotSupportedYet) {
  const struct {
    std::string spec, field;
  } rows[] = {
      {R"("upgrade":{"window":[{"cron":"0 22 * * 6","durationMinutes":240}]})",
       "spec.upgrade.window"},
      {R"("upgrade":{"mode":"Approve"})", "spec.upgrade.mode"},
      {R"("upgrade":{"rehearse":"Auto"})", "spec.upgrade.rehearse"},
      {R"("backup":{"schedule":"0 3 * * *"})", "spec.backup.schedule"},
      {R"("backup":{"drill":{"schedule":"0 4 1 * *"}})", "spec.backup.drill"},
      {R"("backup":{"recipient":"cert"})", "spec.backup.recipient"},
      {R"("backup":{"destination":{"s3":{"bucket":"b","region":"r",
          "credentialsSecretRef":{"name":"c"}}}})",
       "spec.backup.destination.s3"},
      {R"("n8n":{"enabled":true})", "spec.n8n.enabled"},
      {R"("admin":{"credentialsSecretRef":{"name":"a"}})", "spec.admin"},
      {R"("extensions":[{"name":"a","image":"b"}])", "spec.extensions"},
      {R"("smoke":[{"name":"a","image":"b"}])", "spec.smoke[0].image"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.spec);
    const auto problems = validate(stack(R"({"tag":"v1.16.6",)" + row.spec + "}"), nullptr);
    ASSERT_EQ(problems.size(), 1U) << to_string(problems);
    EXPECT_EQ(problems[0].field, row.field);
    EXPECT_TRUE(problems[0].what.starts_with("not supported yet; "));
  }
  EXPECT_TRUE(
      validate(stack(R"({"tag":"v1.16.6","upgrade":{"mode":"Auto"},"n8n":{"enabled":false}})"),
               nullptr)
          .empty());
}

TEST(Validate, KeepsARestoreAsItWasWritten) {
  json restore = {
      {"apiVersion", kApiVersion},
      {"kind", "StackRestore"},
      {"metadata", {{"name", "back"}}},
      {"spec", {{"stackRef", {{"name", "crm"}}}, {"from", {{"backupRef", {{"name", "b1"}}}}}}}};
  EXPECT_TRUE(validate(restore, nullptr).empty());
  EXPECT_TRUE(validate(restore, &restore).empty());
  const json old = restore;
  restore["spec"]["from"]["backupRef"]["name"] = "b2";
  EXPECT_EQ(to_string(validate(restore, &old)),
            "spec: a StackRestore cannot be changed; create another one");
  restore["spec"]["from"]["location"] = "/backups/b1";
  EXPECT_EQ(to_string(validate(restore, nullptr)),
            "spec.from: exactly one of backupRef and location must be set");
  restore["spec"]["from"].erase("backupRef");
  restore["spec"]["into"] = "Scratch";
  EXPECT_EQ(to_string(validate(restore, nullptr)), "spec.into: not supported yet; use Stack");
}

TEST(Validate, NamesWrongHeadsOfAnObject) {
  json object = stack(kGood);
  object["kind"] = "StackSpecs";
  EXPECT_EQ(to_string(validate(object, nullptr)),
            "kind: unknown kind; did you mean \"StackSpec\"?");
  object = stack(kGood);
  object["apiVersion"] = "v1";
  EXPECT_EQ(to_string(validate(object, nullptr)),
            "apiVersion: must be stackspec.dev/v1alpha1; correct it");
  object = stack(kGood);
  object["metadata"]["label"] = json::object();
  EXPECT_EQ(to_string(validate(object, nullptr)),
            "metadata.label: unknown field; did you mean \"labels\"?");
  EXPECT_FALSE(validate(json::array(), nullptr).empty());
}

TEST(Validate, AcceptsTheQuickstart) {
  std::ifstream file(STACKSPEC_SOURCE_DIR "/docs/examples/quickstart.yaml");
  std::stringstream text;
  text << file.rdbuf();
  const auto documents = parse_yaml(text.str());
  ASSERT_TRUE(documents.has_value()) << documents.error().message;
  ASSERT_EQ(documents->size(), 1U);
  const json object = json::parse((*documents)[0].json);
  EXPECT_EQ(to_string(validate(object, nullptr)), "");
  const auto spec = stack_spec_from_json(object["spec"]);
  ASSERT_TRUE(spec.has_value()) << spec.error().message;
  EXPECT_EQ(to_string(spec->target()), "v1.15");
  EXPECT_EQ(spec->upgrade.soak_seconds, 3);
}

}  // namespace
}  // namespace stackspec
