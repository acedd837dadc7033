// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/log.hpp"
#include "fakes/eventually.hpp"
#include "fakes/faulty_objects.hpp"
#include "kube/kube_objects.hpp"
#include "plan/tasks.hpp"
#include "platform/kubernetes/kubernetes.hpp"
#include "unit/platform_kubernetes/stacks.hpp"

// The Kubernetes platform without a planner, on a real API server and a real node: what the server
// adds to objects, whether pods are admitted and run, how Jobs really end.

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

constexpr const char* kNamespace = "platform";
constexpr std::chrono::minutes kPatience{3};

class KubernetesPlatform : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::Warn);
    const char* kubeconfig = std::getenv("STACKSPEC_TEST_KUBECONFIG");
    ASSERT_NE(kubeconfig, nullptr) << "run ./dev test kube";
    const auto access = access_from_kubeconfig(kubeconfig);
    ASSERT_TRUE(access) << access.error().message;
    const std::string folder = std::string(STACKSPEC_SOURCE_DIR) + "/crds/";
    const std::string apply = "kubectl apply --server-side -f " + folder + "stackspecs.yaml -f " +
                              folder + "stackbackups.yaml -f " + folder +
                              "stackrestores.yaml >&2 && kubectl wait --for=condition=Established "
                              "crd/stackspecs.stackspec.dev crd/stackbackups.stackspec.dev >&2";
    ASSERT_EQ(std::system(apply.c_str()), 0);
    KubeOptions options;
    for (const char* kind : kubernetes_watched_kinds()) {
      if (std::string_view(kind) != "StackBackup") options.label_selectors[kind] = kStackLabel;
    }
    auto made = make_kube_objects(*access, options);
    ASSERT_TRUE(made) << made.error().message;
    objects = std::move(made).value();
    faulty = std::make_unique<FaultyObjects>(*objects);
    make_stack();
    restart();
  }

  void TearDown() override {
    platform.reset();
    if (!objects) return;
    // Nothing of it is worth keeping; the garbage collector does the rest in its own time.
    EXPECT_EQ(
        std::system(
            ("kubectl delete namespace " + std::string(kNamespace) + " --wait=true >&2").c_str()),
        0);
  }

  void make_stack() {
    Object space;
    space.key = {"Namespace", "", kNamespace};
    for (const char* mode : {"enforce", "warn"}) {
      space.labels["pod-security.kubernetes.io/" + std::string(mode)] = "restricted";
    }
    ASSERT_TRUE(objects->create(space));
    stack = quickstart();
    stack.key.ns = kNamespace;
    stack.spec.tag = "v1.15.4";
    stack.spec.database.managed = {"1Gi", "", "", "15"};
    stack.spec.storage.local_size = "1Gi";
    stack.spec.backup.pvc_size = "1Gi";
    Object object;
    object.key = {"StackSpec", kNamespace, "crm"};
    object.content["spec"] =
        json::object({{"tag", "v1.15.4"}, {"serverUrl", "http://crm.example.org"}});
    auto created = objects->create(object);
    ASSERT_TRUE(created) << created.error().message;
    stack.uid = created->uid;
    Object secret;
    secret.key = {"Secret", kNamespace, "crm-secrets"};
    json values = json::object();
    for (const GeneratedKey& key : generated_keys())
      values[std::string(key.key)] = "0123456789abcdef";
    secret.content["stringData"] = std::move(values);
    ASSERT_TRUE(objects->create(secret));
  }

  void restart() {
    platform.reset();
    KubernetesOptions options;
    options.pod_log = [this](const std::string& ns, const std::string& pod,
                             const std::string& container, int bytes) {
      return objects->pod_log(ns, pod, container, static_cast<std::size_t>(bytes));
    };
    platform = make_kubernetes_platform(*faulty, options, system_clock());
  }

  void must(const Action& action) {
    // The controllers of the cluster write to the same objects: a conflict is tried again.
    Result<void> done;
    EXPECT_TRUE(eventually(
        [&] {
          done = platform->act(stack, action, {}, {});
          return done || done.error().kind != ErrorKind::Conflict;
        },
        kPatience));
    EXPECT_TRUE(done) << describe(action) << ": " << done.error().message;
  }
  PlatformSeen look() {
    auto seen = platform->observe(stack, {});
    const bool fine = seen || seen.error().kind == ErrorKind::Conflict;
    EXPECT_TRUE(fine) << seen.error().message;
    return seen ? std::move(seen).value() : PlatformSeen{};
  }
  template <class Holds>
  PlatformSeen until(const char* what, Holds holds) {
    PlatformSeen seen;
    EXPECT_TRUE(eventually(
        [&] {
          seen = look();
          return holds(seen);
        },
        kPatience))
        << what;
    return seen;
  }
  void until_ready(Component which, int replicas = 1) {
    const ComponentSpec wanted = component_of(stack, which, replicas);
    const PlatformSeen seen = until("component ready", [&](const PlatformSeen& one) {
      const auto found = one.components.find(which);
      return found != one.components.end() && found->second.ready == replicas &&
             found->second.running == replicas && found->second.revision == wanted.revision;
    });
    const ComponentSeen& last = seen.components.at(which);
    EXPECT_EQ(last.ready, replicas) << to_string(which) << ": " << last.message;
  }

  TaskSpec task(TaskKind kind, int attempt = 1) {
    Seen seen;
    seen.endpoints = cluster_endpoints(stack);
    TaskInput input{.stack = stack,
                    .seen = seen,
                    .kind = kind,
                    .journey = "1234abcd",
                    .attempt = attempt,
                    .from = "v1.15.4",
                    .to = "v1.15.4",
                    .backup = "crm-1234abcd-0"};
    return make_task(input);
  }
  TaskSeen end_of(const std::string& name) {
    TaskSeen end;
    until("task ended", [&](const PlatformSeen& seen) {
      for (const TaskSeen& one : seen.tasks) {
        if (one.name == name) end = one;
      }
      return end.name == name && end.outcome != Outcome::Running;
    });
    return end;
  }
  TaskSeen run(const TaskSpec& wanted) {
    must(StartTask{wanted});
    return end_of(wanted.name);
  }
  void expect_ok(const TaskSeen& end) {
    EXPECT_EQ(end.outcome, Outcome::Ok) << end.name << " " << end.exit_code << " " << end.log_tail;
  }

  Stack stack;
  std::unique_ptr<KubeObjects> objects;
  std::unique_ptr<FaultyObjects> faulty;
  std::unique_ptr<Platform> platform;
};

TEST_F(KubernetesPlatform, RunsAStackOnANode) {
  const Component foundation[] = {Component::Postgres, Component::Redis, Component::Gateway};
  for (const Component which : foundation) must(ApplyComponent{component_of(stack, which)});
  for (const Component which : foundation) until_ready(which);
  expect_ok(run(task(TaskKind::Inspect)));
  expect_ok(run(task(TaskKind::Install)));
  for (const Component which : {Component::Server, Component::Worker}) {
    must(ApplyComponent{component_of(stack, which)});
    until_ready(which);
  }
  must(SwitchGateway{GatewayMode::Open, false});
  until("gateway open", [](const PlatformSeen& seen) { return seen.gateway_open; });

  // What the API server added to the objects is no drift, for a new controller either.
  restart();
  for (const ComponentSpec& component : components_of(stack)) until_ready(component.component);
  const int writes = faulty->write_count();
  for (const ComponentSpec& component : components_of(stack)) must(ApplyComponent{component});
  for (int i = 0; i < 10; ++i) look();
  EXPECT_EQ(faulty->write_count(), writes);

  // Behind the fence: backup, proof, removal.
  must(ApplyComponent{component_of(stack, Component::Worker, 0)});
  must(ApplyComponent{component_of(stack, Component::Server, 0)});
  until("fenced", [](const PlatformSeen& seen) {
    return seen.components.at(Component::Server).running == 0 &&
           seen.components.at(Component::Worker).running == 0;
  });
  expect_ok(run(task(TaskKind::Backup)));
  ASSERT_EQ(look().backups.size(), 1U);
  EXPECT_EQ(look().backups[0].source_version, "v1.15.4");
  EXPECT_FALSE(look().backups[0].proven);
  expect_ok(run(task(TaskKind::Prove)));
  EXPECT_TRUE(look().backups[0].proven);
  expect_ok(run(task(TaskKind::Restore)));

  // Somebody deletes the pod of a task, then a whole Job.
  must(StartTask{task(TaskKind::Flush)});
  const auto pod_of_task = [&]() -> std::string {
    const auto pods = objects->list("Pod", kNamespace);
    if (!pods) return {};
    for (const Object& pod : pods->items) {
      const auto label = pod.labels.find("stackspec.dev/task");
      if (label != pod.labels.end() && label->second == "flush") return pod.key.name;
    }
    return {};
  };
  EXPECT_TRUE(eventually([&] { return !pod_of_task().empty(); }, kPatience));
  EXPECT_TRUE(objects->remove({"Pod", kNamespace, pod_of_task()}, "", 0));
  const TaskSeen interrupted = end_of(task(TaskKind::Flush).name);
  EXPECT_EQ(interrupted.outcome, Outcome::Interrupted) << interrupted.exit_code;
  must(StartTask{task(TaskKind::Flush, 2)});
  EXPECT_TRUE(objects->remove({"Job", kNamespace, task(TaskKind::Flush, 2).name}, "", 0));
  EXPECT_EQ(end_of(task(TaskKind::Flush, 2).name).outcome, Outcome::Interrupted);

  must(DeleteBackup{"crm-1234abcd-0"});
  EXPECT_TRUE(eventually(
      [&] {
        look();
        return !objects->get({"StackBackup", kNamespace, "crm-1234abcd-0"});
      },
      kPatience));
}

TEST_F(KubernetesPlatform, TellsThatAnImageCannotBeHad) {
  stack.spec.tag = "v1.99.0";
  TaskSpec inspect = task(TaskKind::Inspect);
  inspect.version = "v1.99.0";
  const TaskSeen end = run(inspect);
  EXPECT_EQ(end.outcome, Outcome::Failed);
  EXPECT_EQ(end.result.at("failure"), "ImagePullBackOff: image docker.io/twentycrm/twenty:v1.99.0");
}

}  // namespace
}  // namespace stackspec::kubernetes
