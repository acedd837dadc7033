// SPDX-License-Identifier: Apache-2.0
#include "control/stack_objects.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/log.hpp"
#include "control/requests.hpp"

namespace stackspec {
namespace {

const StackKey kCrm{"default", "crm"};

class StackObjects : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::Error);
    auto made = make_sqlite_objects(":memory:");
    ASSERT_TRUE(made);
    objects_ = std::move(made).value();
    put({"StackSpec", "default", "crm"}, {{"spec", {{"tag", "v1.15.4"}}}});
  }

  Object put(ObjectKey key, nlohmann::json content, nlohmann::json status = {}) {
    Object object;
    object.key = std::move(key);
    object.content = std::move(content);
    if (!status.is_null()) object.status = std::move(status);
    auto created = objects_->create(object);
    EXPECT_TRUE(created) << created.error().message;
    return created ? *created : object;
  }

  void put_secret(const std::string& name, nlohmann::json values) {
    put({"Secret", "default", name}, {{"stringData", std::move(values)}});
  }

  Stack stack(nlohmann::json spec = {{"tag", "v1.15.4"}}) {
    auto object = objects_->get({"StackSpec", "default", "crm"});
    object->content["spec"] = std::move(spec);
    EXPECT_TRUE(objects_->update(*object));
    auto loaded = load_stack(*objects_, kCrm);
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(loaded).value();
  }

  Secrets secrets(const Stack& stack) {
    auto loaded = load_secrets(*objects_, stack, [this](int bytes) {
      return std::string(static_cast<std::size_t>(2 * bytes), "0123456789"[++drawn_ % 10]);
    });
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(loaded).value();
  }

  Requests requests(const Stack& stack) {
    auto listed = list_requests(*objects_, stack);
    EXPECT_TRUE(listed);
    return std::move(listed).value();
  }

  void report(const Stack& stack, const Seen& seen, const StackStatus& status = {}) {
    const auto now = *parse_rfc3339("2026-01-02T03:04:05Z") + std::chrono::seconds(++reported_);
    const auto told = report_requests(*objects_, requests(stack), {stack, seen, status, now});
    EXPECT_TRUE(told) << told.error().message;
  }

  /// `True` and the like of one condition; empty where there is none.
  std::string condition(const ObjectKey& key, const std::string& type) {
    const auto object = objects_->get(key);
    EXPECT_TRUE(object);
    EXPECT_EQ(object->status.value("observedGeneration", 0), object->generation);
    for (const auto& one : object->status["conditions"]) {
      if (one["type"] == type) return one["status"];
    }
    return {};
  }

  /// tests/kube/kstatus_test.py shows these files to the tools that read conditions.
  void expect_document(const std::string& name, const ObjectKey& key) {
    const auto object = objects_->get(key);
    ASSERT_TRUE(object);
    nlohmann::json document = object->content;
    document["apiVersion"] = kApiVersion;
    document["kind"] = key.kind;
    document["metadata"] = {{"name", name}, {"generation", object->generation}};
    document["status"] = object->status;
    const std::string wanted = document.dump(2) + "\n";
    const auto path = STACKSPEC_SOURCE_DIR "/tests/kube/kstatus/requests/" + name + ".json";
    if (std::getenv("UPDATE_DOCS") != nullptr) std::ofstream(path) << wanted;
    std::ifstream file(path);
    const std::string written((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(written, wanted) << "run this test with UPDATE_DOCS=1 and commit " << path;
  }

  std::unique_ptr<ObjectApi> objects_;
  int drawn_ = 0;
  int reported_ = 0;
};

TEST_F(StackObjects, OfAStackThatIsNotThereIsNotFound) {
  const auto loaded = load_stack(*objects_, {"default", "other"});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::NotFound);
}

TEST_F(StackObjects, GeneratesTheStacksSecretOnceAndKeepsATwin) {
  const Stack crm = stack();
  const Secrets first = secrets(crm);
  EXPECT_TRUE(first.generated);
  EXPECT_TRUE(first.missing.empty());
  const Secrets second = secrets(crm);
  EXPECT_FALSE(second.generated);
  EXPECT_EQ(first.values, second.values);
  EXPECT_TRUE(objects_->get({"Secret", "default", "crm-secrets-keep"}));
}

TEST_F(StackObjects, PutsADeletedSecretBackFromItsTwin) {
  const Stack crm = stack();
  const Secrets first = secrets(crm);
  ASSERT_TRUE(objects_->remove({"Secret", "default", "crm-secrets"}, "", 0));
  const Secrets again = secrets(crm);
  EXPECT_TRUE(again.generated);
  EXPECT_EQ(first.values, again.values);
}

TEST_F(StackObjects, NeverReplacesASecretThatAPersonNamed) {
  const Stack crm = stack({{"tag", "v1.15.4"}, {"secretsRef", {{"name", "mine"}}}});
  EXPECT_EQ(secrets(crm).missing, std::vector<std::string>{"Secret mine"});
  EXPECT_FALSE(objects_->get({"Secret", "default", "mine"}));
}

TEST_F(StackObjects, ReadsSecretsInBothFormsOfTheApi) {
  put({"Secret", "default", "mine"},
      {{"data", {{"APP_SECRET", "aGVsbG8="}}}, {"stringData", {{"OTHER", "plain"}}}});
  const Stack crm = stack({{"tag", "v1.15.4"}, {"secretsRef", {{"name", "mine"}}}});
  const auto values = secrets(crm).values.at("mine");
  EXPECT_EQ(values.at("APP_SECRET"), "hello");
  EXPECT_EQ(values.at("OTHER"), "plain");
}

TEST_F(StackObjects, AskForAPasswordThatAUrlCanCarry) {
  struct Row {
    const char* password;
    bool good;
  };
  static const Row kRows[] = {{"abc123", true}, {"a-b.c_d~e", true}, {"a@b", false},
                              {"a/b", false},   {"a#b", false},      {"a%41", false},
                              {"a b", false},   {"a:b", false},      {"ä", false}};
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    SCOPED_TRACE(kRows[i].password);
    const std::string name = "mine-" + std::to_string(i);
    put_secret(name, {{"PG_DATABASE_PASSWORD", kRows[i].password}});
    const Stack crm = stack({{"tag", "v1.15.4"}, {"secretsRef", {{"name", name}}}});
    const auto missing = secrets(crm).missing;
    EXPECT_EQ(missing.empty(), kRows[i].good);
    if (kRows[i].good) continue;
    ASSERT_EQ(missing.size(), 1U);
    EXPECT_NE(missing[0].find("PG_DATABASE_PASSWORD"), std::string::npos);
    EXPECT_EQ(missing[0].find(kRows[i].password), std::string::npos) << "a secret in a status";
  }
}

TEST_F(StackObjects, NamesEverySecretThatIsMissing) {
  const Stack crm = stack(
      {{"tag", "v1.15.4"},
       {"envFrom",
        {{{"secretRef", {{"name", "smtp"}}}}, {{"configMapRef", {{"name", "settings"}}}}}},
       {"storage",
        {{"type", "s3"},
         {"s3",
          {{"bucket", "b"}, {"region", "r"}, {"credentialsSecretRef", {{"name", "s3-keys"}}}}}}}});
  const auto missing = secrets(crm).missing;
  EXPECT_EQ(missing,
            (std::vector<std::string>{"Secret s3-keys", "Secret smtp", "ConfigMap settings"}));
}

TEST_F(StackObjects, AreAskedForWhatIsStillToBeDone) {
  const Stack crm = stack();
  const auto of = [](const std::string& name) {
    return nlohmann::json{{"spec", {{"stackRef", {{"name", name}}}}}};
  };
  put({"StackBackup", "default", "wanted"}, of("crm"));
  put({"StackBackup", "default", "done"}, of("crm"), {{"phase", "Proven"}});
  put({"StackBackup", "default", "failed"}, of("crm"), {{"phase", "Failed"}});
  put({"StackBackup", "default", "foreign"}, of("other"));
  nlohmann::json restore = of("crm");
  restore["spec"]["from"] = {{"location", "/srv/backups/crm-1"}};
  put({"StackRestore", "default", "back"}, restore);
  Seen seen;
  add_requests(requests(crm), seen);
  ASSERT_EQ(seen.backup_requests.size(), 1U);
  EXPECT_EQ(seen.backup_requests[0].name, "wanted");
  ASSERT_EQ(seen.restore_requests.size(), 1U);
  EXPECT_EQ(seen.restore_requests[0].backup, "crm-1");
}

TEST_F(StackObjects, TellWhatLiesInStorage) {
  const Stack crm = stack();
  Seen seen;
  BackupSeen& backup = seen.backups.emplace_back();
  backup.id = "crm-1";
  backup.source_version = "v1.15.4";
  backup.sha256 = "ab";
  report(crm, seen);
  auto record = objects_->get({"StackBackup", "default", "crm-1"});
  ASSERT_TRUE(record);
  EXPECT_EQ(record->status.value("proof", ""), "L2");
  backup.proven = true;
  report(crm, seen);
  record = objects_->get({"StackBackup", "default", "crm-1"});
  EXPECT_EQ(record->status.value("phase", ""), "Proven");
  const auto version = record->resource_version;
  report(crm, seen);
  EXPECT_EQ(objects_->get({"StackBackup", "default", "crm-1"})->resource_version, version)
      << "written although nothing changed";
}

TEST_F(StackObjects, TellHowABackupThatAPersonWantsIsGoing) {
  const ObjectKey wanted{"StackBackup", "default", "monday"};
  put(wanted, {{"spec", {{"stackRef", {{"name", "crm"}}}}}});
  Stack crm = stack();
  crm.uid = "4711";  // part of a task's name
  Seen seen;
  report(crm, seen);
  EXPECT_EQ(objects_->get(wanted)->status.value("phase", ""), "Pending");
  EXPECT_EQ(condition(wanted, "Ready"), "False");
  EXPECT_EQ(condition(wanted, "Reconciling"), "True");

  expect_document("backup-pending", wanted);

  TaskSeen& task = seen.tasks.emplace_back();
  task.name = "crm-" + request_journey(crm, "monday") + "-backup-1";
  report(crm, seen);
  EXPECT_EQ(objects_->get(wanted)->status.value("phase", ""), "Running");
  expect_document("backup-running", wanted);

  BackupSeen& backup = seen.backups.emplace_back();
  backup.id = "monday";
  task.outcome = Outcome::Failed;
  task.log_tail = "no space left";
  report(crm, seen);
  EXPECT_EQ(objects_->get(wanted)->status.value("phase", ""), "Failed") << "there, but unproven";
  EXPECT_EQ(condition(wanted, "Stalled"), "True");
  EXPECT_EQ(condition(wanted, "Reconciling"), "");
  expect_document("backup-failed", wanted);

  backup.proven = true;
  report(crm, seen);
  EXPECT_EQ(objects_->get(wanted)->status.value("phase", ""), "Proven");
  EXPECT_EQ(condition(wanted, "Ready"), "True");
  EXPECT_EQ(condition(wanted, "Stalled"), "");
  expect_document("backup-proven", wanted);
}

TEST_F(StackObjects, ARestoreTellsWhatItWaitsForAndHowItWent) {
  const ObjectKey back{"StackRestore", "default", "back"};
  put(back,
      {{"spec", {{"stackRef", {{"name", "crm"}}}, {"from", {{"backupRef", {{"name", "b"}}}}}}}});
  const Stack crm = stack();
  report(crm, {});
  EXPECT_EQ(objects_->get(back)->status.value("phase", ""), "Pending");
  EXPECT_NE(objects_->get(back)->status.value("message", ""), "");
  EXPECT_EQ(condition(back, "Reconciling"), "True");
  expect_document("restore-pending", back);
  StackStatus status;
  status.history.emplace_back();
  status.history[0].kind = "Restore";
  status.history[0].message = "back";
  status.history[0].result = "Restored";
  report(crm, {}, status);
  EXPECT_EQ(condition(back, "Ready"), "True");
  EXPECT_EQ(condition(back, "Reconciling"), "");
  expect_document("restore-done", back);
}

TEST_F(StackObjects, HoldAnEventOnceHoweverOftenItIsRecorded) {
  const Stack crm = stack();
  const std::vector<Event> events = {{Event::Type::Warning, "StepFailed", "why"}};
  const auto now = *parse_rfc3339("2026-01-02T03:04:05Z");
  record_events(*objects_, crm, events, now);
  record_events(*objects_, crm, events, now);
  const auto stored = objects_->list("Event", "default");
  ASSERT_TRUE(stored);
  ASSERT_EQ(stored->items.size(), 1U);
  EXPECT_EQ(stored->items[0].content["regarding"]["uid"], crm.uid);
}

TEST_F(StackObjects, CatalogMustBeWhereTheSpecSays) {
  const nlohmann::json spec = {{"tag", "v1.15.4"},
                               {"catalogRef", {{"name", "twenty"}, {"key", "catalog.yaml"}}}};
  const Stack crm = stack(spec);
  EXPECT_EQ(load_catalog(*objects_, crm).error().kind, ErrorKind::NotFound);
  put({"ConfigMap", "default", "twenty"}, {{"data", {{"other", "x"}}}});
  const auto without = load_catalog(*objects_, crm);
  ASSERT_FALSE(without);
  EXPECT_NE(without.error().message.find("catalog.yaml"), std::string::npos);
}

TEST_F(StackObjects, StatusIsWrittenOnlyWhereItDiffers) {
  Stack crm = stack();
  EXPECT_EQ(*save_status(*objects_, crm, crm.status), Written::No);
  StackStatus changed = crm.status;
  changed.message = "changed";
  EXPECT_EQ(*save_status(*objects_, crm, changed), Written::Yes);
  changed.message = "changed by a pass that knew nothing of it";
  const auto late = save_status(*objects_, crm, changed);
  ASSERT_FALSE(late) << "written over a newer status";
  EXPECT_EQ(late.error().kind, ErrorKind::Conflict);
}

TEST_F(StackObjects, WhatAPlatformRemembersIsNobodysRequest) {
  Object record;
  record.key = {"StackBackup", "default", "crm-1234abcd-0"};
  record.labels["stackspec.dev/record"] = "true";
  record.content = {{"spec", {{"stackRef", {{"name", "crm"}}}, {"reason", "before an upgrade"}}}};
  ASSERT_TRUE(objects_->create(record));
  const Stack crm = stack();
  Seen seen;
  add_requests(requests(crm), seen);
  EXPECT_TRUE(seen.backup_requests.empty());
  BackupSeen backup;
  backup.id = record.key.name;
  seen.backups = {backup};
  report(crm, seen);
  EXPECT_EQ(objects_->get(record.key)->status.value("phase", ""), "Running");
}

}  // namespace
}  // namespace stackspec
