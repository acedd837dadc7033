// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/children.hpp"
#include "platform/kubernetes/jobs.hpp"
#include "unit/platform_kubernetes/cluster_world.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr const char* kMigrate = "crm-1234abcd-0-migrate-1";
constexpr const char* kInspect = "crm-1234abcd-0-inspect-1";

class KubernetesTasks : public ClusterWorld {
 protected:
  std::string ns() { return stack.key.ns; }
};

TEST_F(KubernetesTasks, RunAndAreSeenToTheirEnd) {
  run(TaskKind::Migrate, kMigrate);
  EXPECT_TRUE(exists("PodDisruptionBudget", "crm-tasks"));
  log_text = "{\"progress\":\"upgrading\"}\nworking\n{\"progress\":\"flushing\"}\nx\n";
  clock.advance(std::chrono::seconds(3));
  until([this](const PlatformSeen& seen) { return task(seen, kMigrate)->progress == "flushing"; });
  cluster->end_task(ns(), kMigrate, 0, R"({"imageMigrations":98,"failure":""})");
  const TaskSeen end = ended(kMigrate);
  EXPECT_EQ(end.outcome, Outcome::Ok);
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.result.at("imageMigrations"), "98");
  EXPECT_EQ(end.log_tail, log_text);
  // What only a running task needs is gone.
  EXPECT_FALSE(exists("PodDisruptionBudget", "crm-tasks"));
  for (const Object& map : cluster->all("ConfigMap")) {
    EXPECT_FALSE(is_script_name(stack.key, map.key.name)) << map.key.name;
  }
}

TEST_F(KubernetesTasks, AVerdictOutlivesPodAndLog) {
  run(TaskKind::Migrate, kMigrate);
  log_text = "UpgradeAborted";
  cluster->end_task(ns(), kMigrate, 10, R"({"failure":"it went wrong"})");
  EXPECT_EQ(ended(kMigrate).outcome, Outcome::Failed);
  for (const Object& pod : cluster->all("Pod")) ASSERT_TRUE(objects->remove(pod.key, pod.uid, 0));
  log_text = "";
  restart();
  const TaskSeen kept = ended(kMigrate);
  EXPECT_EQ(kept.outcome, Outcome::Failed);
  EXPECT_EQ(kept.exit_code, 10);
  EXPECT_EQ(kept.result.at("failure"), "it went wrong");
  EXPECT_EQ(kept.log_tail, "UpgradeAborted");
}

TEST_F(KubernetesTasks, TheCodeOfAVerdictSurvivesAPodThatIsGone) {
  run(TaskKind::Migrate, kMigrate);
  cluster->end_task(ns(), kMigrate, 13, "");
  for (const Object& pod : cluster->all("Pod")) ASSERT_TRUE(objects->remove(pod.key, pod.uid, 0));
  restart();
  const TaskSeen end = ended(kMigrate);
  EXPECT_EQ(end.outcome, Outcome::Failed);
  EXPECT_EQ(end.exit_code, 13);
}

TEST_F(KubernetesTasks, EvictionDeletionAndCrashesAreNoVerdict) {
  struct Case {
    const char* what;
    std::function<void(const std::string&)> happen;
    std::string log;
  };
  const Case cases[] = {
      {"evicted", [this](const std::string& name) { cluster->evict_task(ns(), name); },
       "Evicted: The node was low on resource: memory"},
      {"pod deleted", [this](const std::string& name) { cluster->delete_task_pod(ns(), name); },
       "Job has reached the specified backoff limit"},
      {"killed", [this](const std::string& name) { cluster->end_task(ns(), name, 137, ""); },
       "exit code 137"},
      {"interrupted", [this](const std::string& name) { cluster->end_task(ns(), name, 75, ""); },
       "exit code 75"},
      {"an ordinary error",
       [this](const std::string& name) { cluster->end_task(ns(), name, 1, ""); }, "exit code 1"},
      {"Job deleted",
       [this](const std::string& name) {
         const Object job = get("Job", name);
         ASSERT_TRUE(objects->remove(job.key, job.uid, 0));
       },
       "was deleted before its end was noted"},
  };
  int attempt = 0;
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    const std::string name = "crm-1234abcd-0-migrate-" + std::to_string(++attempt);
    run(TaskKind::Migrate, name);
    one.happen(name);
    const TaskSeen end = ended(name);
    EXPECT_EQ(end.outcome, Outcome::Interrupted);
    EXPECT_NE(end.log_tail.find(one.log), std::string::npos) << end.log_tail;
  }
}

TEST_F(KubernetesTasks, AreNeverStartedTwiceUnderOneName) {
  run(TaskKind::Migrate, kMigrate);
  const std::string uid = get("Job", kMigrate).uid;
  must(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
  EXPECT_EQ(get("Job", kMigrate).uid, uid);
  ASSERT_TRUE(objects->remove({"Job", ns(), kMigrate}, uid, 0));
  ended(kMigrate);
  must(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
  EXPECT_FALSE(exists("Job", kMigrate));
  restart();
  until([this](const PlatformSeen& seen) { return task(seen, kMigrate) != nullptr; });
  must(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
  EXPECT_FALSE(exists("Job", kMigrate));
}

TEST_F(KubernetesTasks, ACrashAtAnyWriteOfTheStartLetsOneJobGo) {
  must(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
  const int writes = faulty->write_count();
  for (const WriteFault fault : kAllWriteFaults) {
    for (int number = 1; number <= writes; ++number) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " at write " +
                   std::to_string(number));
      begin();
      faulty->plan_writes([&](int now, WriteVerb, const ObjectKey&) {
        return now == number ? fault : WriteFault::None;
      });
      Result<void> done;
      try {
        done = act(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
      } catch (const Crash&) {
        done = Error{ErrorKind::Internal, "crash"};
        restart();
      }
      cluster->step();
      // What was written and not acknowledged is heard of a moment later, and met until then.
      const auto started = [&] {
        return task(look(), kMigrate) != nullptr ||
               act(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)}).has_value();
      };
      EXPECT_TRUE(done || eventually(started));
      cluster->step();
      int pods = 0;
      for (const Object& pod : cluster->all("Pod")) pods += pod.labels.contains(kTaskLabel);
      EXPECT_EQ(pods, 1);
      EXPECT_EQ(get("Job", kMigrate).content.at("spec").at("suspend"), false);
      EXPECT_TRUE(get("ConfigMap", "crm-task-names").content.at("data").contains(kMigrate));
    }
  }
}

TEST_F(KubernetesTasks, ASuspendedJobIsNoTaskYet) {
  faulty->plan_writes([](int, WriteVerb verb, const ObjectKey& key) {
    const bool release = verb == WriteVerb::Update && key.kind == "Job";
    return release ? WriteFault::Unavailable : WriteFault::None;
  });
  EXPECT_FALSE(act(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)}));
  EXPECT_TRUE(exists("Job", kMigrate));
  EXPECT_TRUE(look().tasks.empty());
  faulty->heal();
  must(StartTask{task_of(stack, TaskKind::Migrate, kMigrate)});
  EXPECT_NE(task(look(), kMigrate), nullptr);
}

TEST_F(KubernetesTasks, AnImageThatCannotBePulledFailsTheInspection) {
  cluster->lose_image("docker.io/twentycrm/twenty:v1.16.6");
  run(TaskKind::Inspect, kInspect);
  const TaskSeen end = ended(kInspect);
  EXPECT_EQ(end.outcome, Outcome::Failed);
  EXPECT_EQ(end.result.at("failure"), "ImagePullBackOff: image docker.io/twentycrm/twenty:v1.16.6");
  cluster->step();
  for (const Object& pod : cluster->all("Pod")) EXPECT_FALSE(pod.labels.contains(kTaskLabel));
}

TEST_F(KubernetesTasks, AnImageThatCannotBePulledIsNoVerdictOnAMigration) {
  cluster->lose_image("docker.io/twentycrm/twenty:v1.16.6");
  run(TaskKind::Migrate, kMigrate);
  until([this](const PlatformSeen& seen) {
    const TaskSeen* one = task(seen, kMigrate);
    return one->progress == "ImagePullBackOff: image docker.io/twentycrm/twenty:v1.16.6";
  });
  EXPECT_EQ(task(look(), kMigrate)->outcome, Outcome::Running);
  cluster->heal();
  cluster->step();
  cluster->end_task(ns(), kMigrate, 0, "{}");
  EXPECT_EQ(ended(kMigrate).outcome, Outcome::Ok);
}

TEST_F(KubernetesTasks, StoppedAreOverWhenTheirPodIsGone) {
  run(TaskKind::Inspect, kInspect);
  until([this](const PlatformSeen&) { return cluster->all("Pod").size() == 1; });
  must(StopTask{kInspect});
  must(StopTask{kInspect});
  must(StopTask{"crm-never-was"});
  cluster->step();
  EXPECT_EQ(ended(kInspect).outcome, Outcome::Interrupted);
  must(StartTask{task_of(stack, TaskKind::Inspect, kInspect)});
  EXPECT_EQ(get("Job", kInspect).content.at("spec").at("suspend"), true);
}

TEST_F(KubernetesTasks, SecretsInLogsAndResultsAreMasked) {
  log::mask("s3cr3t-of-the-test");
  run(TaskKind::Migrate, kMigrate);
  log_text = "password s3cr3t-of-the-test";
  cluster->end_task(ns(), kMigrate, 10, R"({"failure":"s3cr3t-of-the-test"})");
  const TaskSeen end = ended(kMigrate);
  EXPECT_EQ(end.log_tail, "password [redacted]");
  EXPECT_EQ(end.result.at("failure"), "[redacted]");
  const Object job = get("Job", kMigrate);
  EXPECT_EQ(job.annotations.at(kResultAnnotation).find("s3cr3t"), std::string::npos);
}

TEST_F(KubernetesTasks, AnEndedTaskCostsNoRequestAnyMore) {
  run(TaskKind::Migrate, kMigrate);
  cluster->end_task(ns(), kMigrate, 0, "{}");
  ended(kMigrate);
  const int writes = faulty->write_count();
  const int logs = logs_read;
  for (int i = 0; i < 5; ++i) look();
  EXPECT_EQ(faulty->write_count(), writes);
  EXPECT_EQ(logs_read, logs);
}

TEST_F(KubernetesTasks, OnlyTheNewestJobsAreKeptAndNoNameComesBack) {
  for (int i = 1; i <= 22; ++i) {
    clock.advance(std::chrono::seconds(5));
    const std::string name = "crm-1234abcd-0-flush-" + std::to_string(i);
    run(TaskKind::Flush, name);
    cluster->end_task(ns(), name, 0, "{}");
    ended(name);
  }
  until([this](const PlatformSeen& seen) { return seen.tasks.size() == 20; });
  EXPECT_EQ(cluster->all("Job").size(), 20U);
  int gone = 0;
  const json names = get("ConfigMap", "crm-task-names").content.at("data");
  EXPECT_EQ(names.size(), 22U);
  for (const auto& [name, value] : names.items()) {
    if (value != "ended") continue;
    ++gone;
    EXPECT_FALSE(exists("Job", name));
    must(StartTask{task_of(stack, TaskKind::Flush, name)});
    EXPECT_FALSE(exists("Job", name));
  }
  EXPECT_EQ(gone, 2);
}

// ---- backups ----

class KubernetesBackups : public ClusterWorld {
 protected:
  static constexpr const char* kBackup = "crm-1234abcd-0-backup-1";
  static constexpr const char* kProve = "crm-1234abcd-0-prove-1";
  static constexpr const char* kResult =
      R"({"sha256":"abc","sizeBytes":5000000000,"tables":12,"rows":7,"files":3,"filesBytes":9,)"
      R"("cutoffTime":"2026-11-21T09:00:00Z","cutoffLsn":"0/1A","sourceVersion":"v1.15.4",)"
      R"("cursorKey":"c0ffee","systemIdentifier":"7","keyFingerprints":{"APP_SECRET":"12"}})";

  void back_up() {
    run(TaskKind::Backup, kBackup);
    cluster->end_task(stack.key.ns, kBackup, 0, kResult);
    EXPECT_EQ(ended(kBackup).outcome, Outcome::Ok);
  }
  void prove(const char* result) {
    run(TaskKind::Prove, kProve);
    cluster->end_task(stack.key.ns, kProve, 0, result);
  }
  std::vector<Object> removals() {
    std::vector<Object> found;
    for (Object& job : cluster->all("Job")) {
      if (job.labels.at(kTaskLabel) == kRemoveBackup) found.push_back(std::move(job));
    }
    return found;
  }
};

TEST_F(KubernetesBackups, AreRememberedInObjectsThatNobodyOwns) {
  back_up();
  const auto backups = look().backups;
  ASSERT_EQ(backups.size(), 1U);
  BackupSeen wanted;
  wanted.id = "b1";
  wanted.source_version = "v1.15.4";
  wanted.system_identifier = "7";
  wanted.cursor_key = "c0ffee";
  wanted.cutoff_time = "2026-11-21T09:00:00Z";
  wanted.cutoff_lsn = "0/1A";
  wanted.sha256 = "abc";
  wanted.size_bytes = 5000000000;
  wanted.tables = 12;
  wanted.files = 3;
  wanted.key_fingerprints = {{"APP_SECRET", "12"}};
  wanted.location = "claim crm-backups, folder b1";
  EXPECT_EQ(backups[0], wanted);
  const Object record = get("StackBackup", "b1");
  EXPECT_TRUE(record.owners.empty());
  EXPECT_EQ(record.labels.at(kRecordLabel), "true");
  restart();
  until([&](const PlatformSeen& seen) {
    return seen.backups.size() == 1 && seen.backups[0] == wanted;
  });
}

TEST_F(KubernetesBackups, AreProvenByAProofOfTheSameHash) {
  back_up();
  prove(R"({"sha256":"other","tables":12,"rows":7,"files":3})");
  EXPECT_EQ(ended(kProve).outcome, Outcome::Ok);
  EXPECT_FALSE(look().backups.at(0).proven);
  const std::string again = "crm-1234abcd-0-prove-2";
  run(TaskKind::Prove, again);
  cluster->end_task(stack.key.ns, again, 0, R"({"sha256":"abc","tables":12,"rows":7,"files":3})");
  ended(again);
  EXPECT_TRUE(look().backups.at(0).proven);
}

TEST_F(KubernetesBackups, ATaskWhoseResultWasLostIsTriedAgain) {
  run(TaskKind::Backup, kBackup);
  cluster->end_task(stack.key.ns, kBackup, 0, "");
  EXPECT_EQ(ended(kBackup).outcome, Outcome::Interrupted);
  EXPECT_TRUE(look().backups.empty());
}

TEST_F(KubernetesBackups, ACrashBetweenRecordAndOutcomeLosesNeither) {
  for (const WriteFault fault : {WriteFault::CrashBefore, WriteFault::CrashAfter}) {
    for (int skip = 0; skip < 2; ++skip) {
      begin();
      run(TaskKind::Backup, kBackup);
      const int before = faulty->write_count();
      faulty->plan_writes([&](int number, WriteVerb, const ObjectKey&) {
        return number == before + 1 + skip ? fault : WriteFault::None;
      });
      cluster->end_task(stack.key.ns, kBackup, 0, kResult);
      EXPECT_TRUE(eventually([&] {
        try {
          look();
          return false;
        } catch (const Crash&) {
          return true;
        }
      }));
      faulty->heal();
      restart();
      EXPECT_EQ(ended(kBackup).outcome, Outcome::Ok);
      EXPECT_EQ(look().backups.size(), 1U);
      EXPECT_EQ(cluster->all("StackBackup").size(), 1U);
    }
  }
}

TEST_F(KubernetesBackups, ThatAPersonAskedForAreWrittenOnTheRequest) {
  Object request;
  request.key = {"StackBackup", stack.key.ns, "b1"};
  request.content["spec"]["stackRef"]["name"] = "crm";
  ASSERT_TRUE(objects->create(request));
  back_up();
  EXPECT_EQ(look().backups.size(), 1U);
  const Object now = get("StackBackup", "b1");
  EXPECT_FALSE(now.labels.contains(kRecordLabel));
  EXPECT_EQ(now.content, request.content);
}

TEST_F(KubernetesBackups, OfAnotherStackAreNotWrittenOver) {
  Object other;
  other.key = {"StackBackup", stack.key.ns, "b1"};
  other.content["spec"]["stackRef"]["name"] = "other";
  ASSERT_TRUE(objects->create(other));
  run(TaskKind::Backup, kBackup);
  cluster->end_task(stack.key.ns, kBackup, 0, kResult);
  EXPECT_TRUE(eventually([this] { return !platform->observe(stack, {}); }));
  EXPECT_TRUE(get("StackBackup", "b1").annotations.empty());
}

TEST_F(KubernetesBackups, AreGoneAtOnceAndTheirRecordAfterTheirFolder) {
  back_up();
  must(DeleteBackup{"b1"});
  EXPECT_TRUE(look().backups.empty());
  EXPECT_TRUE(exists("StackBackup", "b1"));
  ASSERT_EQ(removals().size(), 1U);
  must(DeleteBackup{"b1"});
  EXPECT_EQ(removals().size(), 1U);
  // No backup is made while stored files are swept.
  const auto refused = act(StartTask{task_of(stack, TaskKind::Backup, "crm-1234abcd-1-backup-1")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::Unavailable);
  cluster->step();
  const std::string job = removals().at(0).key.name;
  until([&](const PlatformSeen&) { return !cluster->all("Pod").empty(); });
  cluster->end_task(stack.key.ns, job, 0, "");
  EXPECT_TRUE(eventually([this] {
    look();
    return !exists("StackBackup", "b1");
  }));
  EXPECT_TRUE(act(StartTask{task_of(stack, TaskKind::Backup, "crm-1234abcd-1-backup-1")}));
}

TEST_F(KubernetesBackups, ARemovalThatFailedIsTriedThreeTimes) {
  back_up();
  must(DeleteBackup{"b1"});
  for (std::size_t attempt = 1; attempt <= 3; ++attempt) {
    EXPECT_TRUE(eventually([&] {
      look();
      return removals().size() == attempt;
    }));
    cluster->step();
    const std::string job = removals().at(attempt - 1).key.name;
    cluster->end_task(stack.key.ns, job, 1, "");
  }
  EXPECT_TRUE(eventually([&] {
    look();
    return !get("Job", removals().at(2).key.name).annotations[kOutcomeAnnotation].empty();
  }));
  const int writes = faulty->write_count();
  look();
  EXPECT_EQ(faulty->write_count(), writes);
  EXPECT_TRUE(look().backups.empty());
  EXPECT_TRUE(exists("StackBackup", "b1"));
}

TEST_F(KubernetesBackups, NamesThatAreNoFoldersAreRefused) {
  for (const char* id : {"", ".tmp", "files", "../x"}) {
    const auto done = act(DeleteBackup{id});
    ASSERT_FALSE(done) << id;
    EXPECT_EQ(done.error().kind, ErrorKind::Invalid);
  }
  must(DeleteBackup{"never-was"});
  EXPECT_TRUE(removals().empty());
}

TEST_F(KubernetesBackups, AreMadeInAClaimThatHasNoOwner) {
  run(TaskKind::Backup, kBackup);
  EXPECT_TRUE(get("PersistentVolumeClaim", "crm-backups").owners.empty());
  EXPECT_TRUE(get("PersistentVolumeClaim", "crm-storage").owners.empty());
}

}  // namespace
}  // namespace stackspec::kubernetes
