// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/codec.hpp"
#include "api/schema.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

StackStatus full_status() {
  StackStatus s;
  s.observed_generation = 7;
  s.phase = Phase::RollingBack;
  s.message = "m";
  s.version = "v1.15.4";
  s.target_version = "v1.17.0";
  s.fundraising_version = "v0.1.0";
  s.url = "http://localhost:4000";
  s.upgrade = UpgradeStatus{"0a1b2c3d",
                            "Upgrade",
                            "v1.15.4",
                            "v1.17.0",
                            {"v1.16.6", "v1.17.0"},
                            1,
                            "v1.17.0",
                            true,
                            "Migrate",
                            8,
                            11,
                            {{"Backup", "v1.16.6", "Done", "t1", "t2", "m"}},
                            "sha256:ab",
                            "b1",
                            2,
                            "t",
                            "t",
                            "t",
                            "t",
                            3,
                            4,
                            "Why",
                            "why",
                            "restore-1"};
  s.latch = Latch{"v1.18.0", "RolledBack", "m", "b1"};
  s.components = {{"server", "v1.15.4", "Ready", "m", 1, 2}};
  s.workspaces_up_to_date = 1;
  s.workspaces_behind = 2;
  s.workspaces_failed = 3;
  s.migrations = {"a", "b"};
  s.last_backup = LastBackup{"b1", "t", "v1.15.4", "L4", 1LL << 40};
  s.blocked_by = {{"ForeignSessions", "1", "0", "end them"}};
  s.history = {{"0a1b2c3d", "Upgrade", "v1", "v2", "Done", "t", "m"}};
  s.conditions = {{"Ready", "True", "Settled", "m", 7, "2026-01-31T12:00:00Z"}};
  s.system_identifier = "7";
  s.failures = 2;
  s.retry_at = "t";
  s.flags_attempt = 4;
  s.flags_applied = "r";
  s.action_count = 9;
  s.last_handled_retry = "a";
  s.last_handled_reconcile_at = "b";
  return s;
}

StackSpec full_spec() {
  StackSpec s;
  s.tag = "v1.16.6";
  s.server_url = "https://crm.example.org";
  s.env = {{"A", "1"}};
  s.env_from = {{"s", ""}, {"", "c"}};
  s.server = {2, {{{"cpu", "1"}}, {{"memory", "1Gi"}}}};
  s.worker = {3, {{{"cpu", "500m"}}, {}}, 30};
  s.database.managed = {"10Gi", "fast", "claim", "16"};
  s.redis.size = "1Gi";
  s.storage = {"5Gi", "claim", "ReadWriteOnce", S3Storage{"b", "r", "https://s3", "c"}};
  s.secrets_ref = "keys";
  s.admin_credentials_secret = "admin";
  s.flags = {{"IS_AI_ENABLED", true}};
  s.fundraising = {"v0.1.0", "i", {{"B", "2"}}, {{"s", ""}}};
  s.gateway = {"h", "nginx", {{"a", "b"}}, "tls", 4000};
  s.smoke = {{"home", "/x", 204, 5}, {"other", "/", 200, 10}};
  s.images = {"p", "r", "g"};
  s.scheduling = {{{"a", "b"}}, {{"k", "Equal", "v", "NoSchedule"}}, {"reg"}};
  s.backup = {3, 4, "/b", "20Gi"};
  s.upgrade = {OnFailure::Stall, "sha256:" + std::string(64, 'a'), 1, 2, 3};
  s.catalog = CatalogRef{"twenty", "catalog.yaml"};
  s.suspend = true;
  return s;
}

TEST(Codec, ReadsBackEveryFieldOfAStatus) {
  // Does not compile when a field is added: then fill it in full_status() and count again.
  const StackStatus full = full_status();
  [[maybe_unused]] const auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15,
                                f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26] = full;
  for (const StackStatus& status : {full_status(), StackStatus{}}) {
    const auto back = stack_status_from_json(to_json(status));
    ASSERT_TRUE(back.has_value()) << back.error().message;
    EXPECT_EQ(*back, status) << to_json(status).dump(1);
  }
  StackStatus bare;
  bare.upgrade.emplace();
  bare.latch.emplace();
  bare.last_backup.emplace();
  EXPECT_EQ(*stack_status_from_json(to_json(bare)), bare);
}

TEST(Codec, ReadsBackEveryFieldOfASpec) {
  for (const StackSpec& spec : {full_spec(), StackSpec{}}) {
    const auto back = stack_spec_from_json(to_json(spec));
    ASSERT_TRUE(back.has_value()) << back.error().message;
    EXPECT_EQ(*back, spec) << to_json(spec).dump(1);
  }
}

TEST(Codec, WritesOnlyWhatTheSchemaKnows) {
  const json object = {{"apiVersion", kApiVersion},
                       {"kind", "StackSpec"},
                       {"metadata", {{"name", "crm"}}},
                       {"spec", to_json(full_spec())},
                       {"status", to_json(full_status())}};
  // Every field is known; the one that has a struct already and no function yet is refused as such.
  EXPECT_EQ(to_string(validate(object, nullptr)),
            "spec.admin: not supported yet; sign up through the gateway");
  // The default of every field is there, so the full values must differ from it everywhere.
  EXPECT_EQ(object["status"]["upgrade"].size(), 25U);
  EXPECT_EQ(object["spec"].size(), 21U);
}

TEST(Codec, ReadsBackBackupsAndRestores) {
  const StackBackupSpec wanted{"crm", "by hand"};
  EXPECT_EQ(*backup_spec_from_json(to_json(wanted)), wanted);
  const std::vector<Condition> ready{{"Ready", "True", "Proven", "m", 1, "2026-01-31T12:00:00Z"}};
  const StackBackupStatus backup{
      1,   ready, "Proven", "L4",      "v1.15.4", {{"server", "i"}},     "t", "0/1",
      "7", "/b",  "ab",     1LL << 40, 3,         {{"APP_SECRET", "f"}}, "m"};
  EXPECT_EQ(*backup_status_from_json(to_json(backup)), backup);
  const StackRestoreSpec restore{"crm", "b1", "", "Scratch", "2026-01-31T12:00:00Z"};
  EXPECT_EQ(*restore_spec_from_json(to_json(restore)), restore);
  const StackRestoreStatus done{1, ready, "Done", "m"};
  EXPECT_EQ(*restore_status_from_json(to_json(done)), done);
  const json object = {{"spec", to_json(wanted)}, {"status", to_json(backup)}};
  EXPECT_EQ(to_string(check_schema("StackBackup", object, nullptr)), "");
}

TEST(Codec, NamesTheFieldThatCannotBeRead) {
  const auto spec = stack_spec_from_json(json::parse(R"({"server":{"replicas":"2"}})"));
  ASSERT_FALSE(spec.has_value());
  EXPECT_EQ(spec.error().kind, ErrorKind::Invalid);
  EXPECT_EQ(spec.error().message, "spec.server.replicas: must be an integer");
  EXPECT_FALSE(stack_status_from_json(json::parse(R"({"failures":99999999999})")).has_value());
  EXPECT_FALSE(stack_status_from_json(json::parse(R"({"phase":"Sleeping"})")).has_value());
}

}  // namespace
}  // namespace stackspec
