// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/render.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "platform/kubernetes/jobs.hpp"
#include "unit/platform_kubernetes/stacks.hpp"

// The golden files are what a cluster gets. To write them anew after a change that is meant:
//   STACKSPEC_WRITE_GOLDEN=1 <build>/tests/kubernetes_render_test

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

json document(const Object& object) {
  json out = json::object();
  out["kind"] = object.key.kind;
  json metadata = json::object();
  metadata["namespace"] = object.key.ns;
  metadata["name"] = object.key.name;
  metadata["labels"] = object.labels;
  if (!object.annotations.empty()) metadata["annotations"] = object.annotations;
  for (const Owner& owner : object.owners) {
    metadata["owner"] = owner.kind + "/" + owner.name + " " + owner.uid;
  }
  out["metadata"] = std::move(metadata);
  out["content"] = object.content;
  return out;
}

/// Everything of a stack, in the order of a first installation.
std::vector<Object> everything(const Stack& stack) {
  std::vector<Object> all = render_shared(stack, {});
  std::set<ObjectKey> known;
  const auto add = [&](Object object) {
    if (known.insert(object.key).second) all.push_back(std::move(object));
  };
  for (const ComponentSpec& component : components_of(stack)) {
    for (Object& object : render_surroundings(stack, component.component, GatewayMode::Closed)) {
      add(std::move(object));
    }
    add(render_workload(stack, component));
  }
  add(render_backups_claim(stack));
  return all;
}

std::vector<Object> tasks(const Stack& stack) {
  std::vector<Object> all;
  for (const TaskKind kind : kAllTasks) {
    const auto rendered = render_task(
        stack, task_of(stack, kind, "crm-1234abcd-0-" + std::string(to_string(kind)) + "-1"));
    all.push_back(rendered->job);
  }
  const TaskObjects removal = render_backup_removal(stack, "b1", 1, true);
  all.push_back(removal.job);
  all.push_back(removal.disruption);
  return all;
}

std::string text_of(const std::vector<Object>& objects) {
  std::string text;
  for (const Object& object : objects) text += document(object).dump(2) + "\n";
  return text;
}

struct GoldenCase {
  const char* file;
  std::vector<Object> objects;
};

TEST(Rendering, IsWhatTheGoldenFilesSay) {
  const std::vector<GoldenCase> cases = {
      {"quickstart.json", everything(quickstart())}, {"complete.json", everything(complete())},
      {"adopted.json", everything(adopted())},       {"s3.json", everything(with_s3())},
      {"tasks.json", tasks(quickstart())},           {"external.json", everything(with_external())},
  };
  for (const GoldenCase& one : cases) {
    SCOPED_TRACE(one.file);
    const std::string path =
        std::string(STACKSPEC_SOURCE_DIR) + "/tests/unit/platform_kubernetes/golden/" + one.file;
    if (std::getenv("STACKSPEC_WRITE_GOLDEN") != nullptr) {
      std::ofstream(path) << text_of(one.objects);
    }
    std::ifstream file(path);
    std::stringstream golden;
    golden << file.rdbuf();
    EXPECT_EQ(text_of(one.objects), golden.str());
  }
}

std::vector<Stack> all_stacks() {
  return {quickstart(), complete(), adopted(), with_s3(), with_external()};
}

/// Pod templates of workloads and tasks.
std::vector<std::pair<std::string, json>> pods(const Stack& stack) {
  std::vector<std::pair<std::string, json>> found;
  std::vector<Object> all = everything(stack);
  for (Object& task : tasks(stack)) all.push_back(std::move(task));
  for (const Object& object : all) {
    const auto at = json::json_pointer("/spec/template");
    if (object.content.contains(at)) found.emplace_back(object.key.name, object.content.at(at));
  }
  return found;
}

TEST(Rendering, EveryPodIsAdmittedUnderRestrictedPodSecurity) {
  for (const Stack& stack : all_stacks()) {
    for (const auto& [name, pod] : pods(stack)) {
      SCOPED_TRACE(name);
      const json& spec = pod.at("spec");
      const json& security = spec.at("securityContext");
      EXPECT_EQ(security.at("runAsNonRoot"), true);
      EXPECT_GT(security.at("runAsUser").get<int>(), 0);
      EXPECT_GT(security.at("runAsGroup").get<int>(), 0);
      EXPECT_EQ(security.at("seccompProfile").at("type"), "RuntimeDefault");
      EXPECT_EQ(spec.at("automountServiceAccountToken"), false);
      EXPECT_EQ(spec.at("serviceAccountName"), "crm");
      for (const char* never : {"hostNetwork", "hostPID", "hostIPC", "initContainers"}) {
        EXPECT_FALSE(spec.contains(never)) << never;
      }
      ASSERT_EQ(spec.at("containers").size(), 1U);
      const json& container = spec.at("containers").at(0).at("securityContext");
      EXPECT_EQ(container.at("allowPrivilegeEscalation"), false);
      EXPECT_EQ(container.at("capabilities").at("drop"), json::array({"ALL"}));
      EXPECT_FALSE(container.contains("privileged"));
      for (const json& volume : spec.value("volumes", json::array())) {
        const bool allowed = volume.contains("emptyDir") || volume.contains("configMap") ||
                             volume.contains("persistentVolumeClaim");
        EXPECT_TRUE(allowed) << volume;
      }
    }
  }
}

TEST(Rendering, NothingBlocksTwentysEntrypoint) {
  for (const Stack& stack : all_stacks()) {
    for (const auto& [name, pod] : pods(stack)) {
      const json& container = pod.at("spec").at("containers").at(0);
      if (name != "crm-server" && name != "crm-worker" && name != "crm-fundraising") continue;
      EXPECT_FALSE(container.contains("command")) << name;
    }
  }
}

TEST(Rendering, ServerAndWorkerCanNeverMigrate) {
  for (const Stack& stack : all_stacks()) {
    for (const auto& [name, pod] : pods(stack)) {
      if (name != "crm-server" && name != "crm-worker") continue;
      std::map<std::string, std::string> values;
      for (const json& variable : pod.at("spec").at("containers").at(0).at("env")) {
        EXPECT_FALSE(values.contains(variable.at("name"))) << "given twice: " << variable;
        values[variable.at("name")] = variable.value("value", "");
      }
      EXPECT_EQ(values.at("DISABLE_DB_MIGRATIONS"), "true") << name;
      EXPECT_EQ(values.at("DISABLE_CRON_JOBS_REGISTRATION"), "true") << name;
    }
  }
}

TEST(Rendering, DataHasNoOwnerAndAllElseHas) {
  for (const Stack& stack : all_stacks()) {
    std::vector<Object> all = everything(stack);
    for (Object& task : tasks(stack)) all.push_back(std::move(task));
    for (const Object& object : all) {
      SCOPED_TRACE(object.key.kind + " " + object.key.name);
      EXPECT_EQ(object.owners.empty(), object.key.kind == "PersistentVolumeClaim");
      for (const Owner& owner : object.owners) {
        EXPECT_EQ(owner.uid, stack.uid);
        EXPECT_FALSE(owner.block_deletion);
      }
      EXPECT_EQ(object.labels.at(kStackLabel), "crm");
      EXPECT_EQ(object.labels.at(kManagedByLabel), kManagedBy);
      for (const auto& [label, value] : object.labels) {
        EXPECT_TRUE(label.starts_with("app.kubernetes.io/") || label.starts_with("stackspec.dev/"))
            << label;
      }
    }
  }
}

TEST(Rendering, SecretsAreReferredToAndNeverCopied) {
  const Object server = render_workload(complete(), component_of(complete(), Component::Server));
  for (const json& variable :
       server.content.at("spec").at("template").at("spec").at("containers").at(0).at("env")) {
    const std::string name = variable.at("name");
    const bool secret = name == "APP_SECRET" || name == "PG_DATABASE_PASSWORD";
    EXPECT_EQ(variable.contains("valueFrom"),
              secret || name.ends_with("_SECRET") || name == "ENCRYPTION_KEY")
        << name;
  }
}

TEST(Rendering, WhatSomebodyElseRunsIsNotMadeAndOnlyReferredTo) {
  const Stack stack = with_external();
  for (const Object& object : everything(stack)) {
    EXPECT_EQ(object.key.name.find("postgres"), std::string::npos) << object.key.kind;
    EXPECT_EQ(object.key.name.find("redis"), std::string::npos) << object.key.kind;
  }
  const auto reference = [](const json& container, const char* name) {
    for (const json& variable : container.value("env", json::array())) {
      if (variable.at("name") != name) continue;
      EXPECT_FALSE(variable.contains("value")) << name;
      const json& from = variable.at("valueFrom").at("secretKeyRef");
      return from.at("name").get<std::string>() + "/" + from.at("key").get<std::string>();
    }
    return std::string();
  };
  for (const auto& [name, pod] : pods(stack)) {
    SCOPED_TRACE(name);
    const json& container = pod.at("spec").at("containers").at(0);
    const bool serves = name == "crm-server" || name == "crm-worker";
    const bool task = name.starts_with("crm-1234abcd");
    EXPECT_EQ(reference(container, "PG_DATABASE_URL"), serves ? "crm-db/url" : "");
    EXPECT_EQ(reference(container, "REDIS_URL"), serves ? "crm-redis/url" : "");
    EXPECT_EQ(reference(container, "STACKSPEC_DATABASE_URL"), task ? "crm-db/direct" : "");
  }
}

TEST(Rendering, TasksAreOfTheMajorOfTheServerThatTheyWorkWith) {
  const auto image = [](const Stack& stack) {
    const auto task = render_task(stack, task_of(stack, TaskKind::Backup, "crm-1-0-backup-1"));
    return task->job.content.at(json::json_pointer("/spec/template/spec/containers/0/image"))
        .get<std::string>();
  };
  EXPECT_EQ(image(quickstart()), "docker.io/library/postgres:16");
  EXPECT_EQ(image(with_external()), "docker.io/library/postgres:15");
  Stack mirrored = with_external();
  mirrored.spec.images.postgres = "registry.example.org/postgres:15";
  EXPECT_EQ(image(mirrored), "registry.example.org/postgres:15");
  Stack serving = with_external();
  serving.status.version = "v1.15.4";
  EXPECT_EQ(render_backup_removal(serving, "b1", 1, true)
                .job.content.at(json::json_pointer("/spec/template/spec/containers/0/image")),
            "docker.io/twentycrm/twenty:v1.15.4");
}

TEST(Rendering, ServerWorkerAndTheirTasksGoWhereTheVolumeIs) {
  const std::set<std::string> mount_storage = {"crm-server",
                                               "crm-worker",
                                               "crm-1234abcd-0-install-1",
                                               "crm-1234abcd-0-migrate-1",
                                               "crm-1234abcd-0-flush-1",
                                               "crm-1234abcd-0-flags-1",
                                               "crm-1234abcd-0-backup-1",
                                               "crm-1234abcd-0-restore-1"};
  for (const auto& [name, pod] : pods(quickstart())) {
    EXPECT_EQ(pod.at("spec").contains("affinity"), mount_storage.contains(name)) << name;
    EXPECT_EQ(pod.at("metadata").at("labels").contains(kVolumeGroupLabel),
              mount_storage.contains(name))
        << name;
  }
  for (const Stack& anywhere : {complete(), with_s3()}) {
    for (const auto& [name, pod] : pods(anywhere)) {
      EXPECT_FALSE(pod.at("spec").contains("affinity")) << name;
    }
  }
}

TEST(Rendering, ABackupPathOfOneHostIsRefused) {
  Stack stack = quickstart();
  stack.spec.backup.path = "/srv/backups";
  const auto rendered = render_task(stack, task_of(stack, TaskKind::Backup, "crm-1-0-backup-1"));
  ASSERT_FALSE(rendered);
  EXPECT_NE(rendered.error().message.find("spec.backup.destination.pvc"), std::string::npos);
}

TEST(Rendering, WhatTheSpecChangesBesideAComponentIsANewPlacement) {
  struct Case {
    const char* what;
    void (*change)(StackSpec&);
    std::set<Component> restarts;
  };
  const std::set<Component> all(std::begin(kAllComponents), std::end(kAllComponents));
  const Case cases[] = {
      {"nothing", [](StackSpec&) {}, {}},
      {"node", [](StackSpec& spec) { spec.scheduling.node_selector["disk"] = "ssd"; }, all},
      {"pull secret", [](StackSpec& spec) { spec.scheduling.image_pull_secrets = {"x"}; }, all},
      {"database claim",
       [](StackSpec& spec) { spec.database.managed.existing_claim = "x"; },
       {Component::Postgres}},
      {"storage claim",
       [](StackSpec& spec) { spec.storage.existing_claim = "x"; },
       {Component::Server, Component::Worker}},
      {"fundraising route",
       [](StackSpec& spec) { spec.fundraising.version = "v0.1.0"; },
       {Component::Gateway}},
      {"host", [](StackSpec& spec) { spec.gateway.host = "x.example.org"; }, {}},
      {"size", [](StackSpec& spec) { spec.database.managed.size = "99Gi"; }, {}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    Stack changed = quickstart();
    one.change(changed.spec);
    for (const Component which : kAllComponents) {
      EXPECT_EQ(placement_of(changed, which) != placement_of(quickstart(), which),
                one.restarts.contains(which))
          << to_string(which);
    }
  }
}

}  // namespace
}  // namespace stackspec::kubernetes
