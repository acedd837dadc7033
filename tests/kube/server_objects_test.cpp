// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>

#include "contract/objects_contract.hpp"
#include "fakes/eventually.hpp"
#include "kube/kube_objects.hpp"

// What only a real API server can say about kube/.

namespace stackspec {
namespace {

/// The first factory has made CRDs and namespaces.
std::unique_ptr<KubeObjects> server(KubeOptions options = {}) {
  static const auto prepared = objects_factories().front().make();
  const char* kubeconfig = std::getenv("STACKSPEC_TEST_KUBECONFIG");
  auto access = access_from_kubeconfig(kubeconfig != nullptr ? kubeconfig : "");
  EXPECT_TRUE(access) << (access ? "" : access.error().message);
  return make_kube_objects(std::move(access).value(), std::move(options)).value();
}

Object object_of(const std::string& kind, const std::string& name, nlohmann::json content) {
  Object object;
  object.key = {kind, kind == "Namespace" ? "" : "contract-a", name};
  object.content = std::move(content);
  return object;
}

const nlohmann::json kLabels = {{"app", "contract"}};

nlohmann::json pod_template() {
  return {{"metadata", {{"labels", kLabels}}},
          {"spec",
           {{"restartPolicy", "Never"},
            {"containers", {{{"name", "only"}, {"image", "localhost/nothing:1"}}}}}}};
}

std::string kind_of(const Result<Object>& result) {
  return result ? "success"
                : std::string(to_string(result.error().kind)) + " " + result.error().message;
}

/// Every kind that is written: create, get, list, update, remove.
TEST(ServerObjects, KnowsEveryKindByItsRightName) {
  nlohmann::json deployment = {
      {"spec",
       {{"replicas", 0}, {"selector", {{"matchLabels", kLabels}}}, {"template", pod_template()}}}};
  deployment["spec"]["template"]["spec"].erase("restartPolicy");
  nlohmann::json stateful = deployment;
  stateful["spec"]["serviceName"] = "none";
  const struct {
    const char* kind;
    nlohmann::json content;
  } rows[] = {
      {"ConfigMap", {{"data", {{"a", "b"}}}}},
      {"Secret", {{"type", "Opaque"}, {"data", {{"key", "c2VjcmV0"}}}}},
      {"ServiceAccount", {{"automountServiceAccountToken", false}}},
      {"Service", {{"spec", {{"ports", {{{"port", 80}}}}}}}},
      {"PersistentVolumeClaim",
       {{"spec",
         {{"accessModes", {"ReadWriteOnce"}},
          {"storageClassName", "none"},
          {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}}},
      {"Deployment", deployment},
      {"StatefulSet", stateful},
      {"Job", {{"spec", {{"suspend", true}, {"template", pod_template()}}}}},
      {"NetworkPolicy", {{"spec", {{"podSelector", nlohmann::json::object()}}}}},
      {"Ingress",
       {{"spec",
         {{"defaultBackend", {{"service", {{"name", "s"}, {"port", {{"number", 80}}}}}}}}}}},
      {"PodDisruptionBudget",
       {{"spec", {{"maxUnavailable", 0}, {"selector", {{"matchLabels", kLabels}}}}}}},
      {"Lease", {{"spec", {{"holderIdentity", "me"}, {"leaseDurationSeconds", 15}}}}},
  };
  KubeOptions options;
  options.label_selectors["ConfigMap"] = "kind-test=yes";
  const auto api = server(options);
  for (const auto& row : rows) {
    SCOPED_TRACE(row.kind);
    Object wanted = object_of(row.kind, "kind-test", row.content);
    wanted.labels["kind-test"] = "yes";
    const auto stale = api->get(wanted.key);
    if (stale) static_cast<void>(api->remove(wanted.key, stale->uid, 0));
    const auto made = api->create(wanted);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_FALSE(made->uid.empty());
    const auto got = api->get(wanted.key);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->labels, wanted.labels);
    const auto list = api->list(row.kind, "contract-a");
    ASSERT_TRUE(list) << list.error().message;
    bool listed = false;
    for (const auto& item : list->items) listed = listed || item.key == wanted.key;
    EXPECT_TRUE(listed);
    Object changed = *got;
    changed.annotations["seen"] = "yes";
    auto updated = api->update(changed);
    for (int tries = 0; !updated && updated.error().kind == ErrorKind::Conflict && tries < 20;
         ++tries) {  // its controller was faster
      changed = api->get(wanted.key).value();
      changed.annotations["seen"] = "yes";
      updated = api->update(changed);
    }
    ASSERT_TRUE(updated) << updated.error().message;
    EXPECT_EQ(updated->uid, made->uid);
    EXPECT_TRUE(api->remove(wanted.key, made->uid, 0));
  }
}

TEST(ServerObjects, AReviewIsAnsweredAndNotStored) {
  Object review;
  review.key = {"SelfSubjectAccessReview", "", ""};
  review.content["spec"]["resourceAttributes"] = {{"namespace", "contract-a"},
                                                  {"verb", "create"},
                                                  {"group", "apps"},
                                                  {"resource", "deployments"}};
  const auto answer = server()->create(review);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status.value("allowed", false), true);
}

TEST(ServerObjects, EventsOfOursAreAccepted) {
  const auto api = server();
  Object event = object_of("Event", "contract.1",
                           {{"reason", "HopStarted"},
                            {"type", "Normal"},
                            {"note", "v1.15 to v1.16"},
                            {"eventTime", "2026-11-21T09:00:00Z"}});
  event.content["regarding"] = {{"apiVersion", "stackspec.dev/v1alpha1"},
                                {"kind", "StackSpec"},
                                {"namespace", "contract-a"},
                                {"name", "contract"},
                                {"uid", "1"}};
  static_cast<void>(api->remove(event.key, "", 0));
  const auto made = api->create(event);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->content.at("reportingController"), "stackspec.dev/controller");
  EXPECT_EQ(kind_of(api->create(event)).substr(0, 8), "Conflict") << "told once";
}

TEST(ServerObjects, RefusalsSayWhatAndWhere) {
  const auto api = server();
  const Object fine = object_of("StackSpec", "refused",
                                {{"spec", {{"tag", "v1.16.6"}, {"serverUrl", "https://a.b"}}}});
  Object broken = fine;
  broken.content["spec"]["serverUrl"] = "ftp://a.b";
  const auto invalid = api->create(broken);
  EXPECT_EQ(kind_of(invalid).substr(0, 7), "Invalid");
  EXPECT_NE(kind_of(invalid).find("create StackSpec contract-a/refused"), std::string::npos);
  EXPECT_NE(kind_of(invalid).find("spec.serverUrl"), std::string::npos) << kind_of(invalid);

  Object nowhere = fine;
  nowhere.key.ns = "no-such-namespace";
  EXPECT_EQ(kind_of(api->create(nowhere)).substr(0, 8), "NotFound");
  EXPECT_EQ(api->get({"StackSpec", "contract-a", "nobody"}).error().kind, ErrorKind::NotFound);
}

TEST(ServerObjects, APositionThatIsTooOldIsExpired) {
  const auto end = server()->watch("StackSpec", 1, [](const WatchEvent&) {}, {});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().kind, ErrorKind::Expired) << end.error().message;
}

TEST(ServerObjects, AWrongTokenIsForbidden) {
  auto access = access_from_kubeconfig(std::getenv("STACKSPEC_TEST_KUBECONFIG")).value();
  access.token = "not-a-token";
  const auto api = make_kube_objects(access, {}).value();
  const auto list = api->list("ConfigMap", "contract-a");
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().kind, ErrorKind::Forbidden) << list.error().message;
}

/// Last of this suite: the others need not wait for the server.
TEST(ServerObjectsRestart, AReaderAndAWriterOutliveARestartOfTheServer) {
  if (std::getenv("CLUSTER_DIR") == nullptr)
    GTEST_SKIP() << "only within tests/cluster/cluster run";
  KubeOptions options;
  options.label_selectors["ConfigMap"] = "restart=yes";
  const auto api = server(options);
  std::mutex mutex;
  std::set<std::string> seen;
  std::stop_source stop;
  const auto see = [&](const Object& object) {
    const std::lock_guard lock(mutex);
    seen.insert(object.key.name);
  };
  // A server that was restarted has forgotten our position more often than not.
  std::jthread watching([&] {
    while (!stop.stop_requested()) {
      const auto list = api->list("ConfigMap", "");
      if (!list) continue;
      for (const auto& item : list->items) see(item);
      const auto end = api->watch(
          "ConfigMap", list->resource_version, [&](const WatchEvent& event) { see(event.object); },
          stop.get_token());
      EXPECT_TRUE(end.error().kind == ErrorKind::Cancelled ||
                  end.error().kind == ErrorKind::Expired)
          << end.error().message;
    }
  });
  const auto write = [&](const std::string& name) {
    Object one = object_of("ConfigMap", name, {{"data", {{"a", "b"}}}});
    one.labels["restart"] = "yes";
    const auto made = api->create(one);
    return made || made.error().kind == ErrorKind::Conflict;
  };
  const auto sees = [&](const std::string& name) {
    const std::lock_guard lock(mutex);
    return seen.contains(name);
  };
  ASSERT_TRUE(write("restart-before"));
  ASSERT_TRUE(eventually([&] { return sees("restart-before"); }));
  const std::string restart = STACKSPEC_SOURCE_DIR "/tests/cluster/cluster restart apiserver >&2";
  ASSERT_EQ(std::system(restart.c_str()), 0);
  ASSERT_TRUE(eventually([&] { return write("restart-after"); }, std::chrono::seconds(60)));
  EXPECT_TRUE(eventually([&] { return sees("restart-after"); }, std::chrono::seconds(60)));
  stop.request_stop();
  for (const char* name : {"restart-before", "restart-after"}) {
    EXPECT_TRUE(api->remove({"ConfigMap", "contract-a", name}, "", 0));
  }
}

TEST(ServerObjects, ListsOfManyPagesAreWhole) {
  KubeOptions options;
  options.label_selectors["ConfigMap"] = "many=yes";
  const auto api = server(options);
  constexpr int kMany = 1203;
  std::vector<std::jthread> writers;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = writer; i < kMany; i += 4) {
        Object one = object_of("ConfigMap", "many-" + std::to_string(i), {{"data", {{"a", "b"}}}});
        one.labels["many"] = "yes";
        const auto made = api->create(one);
        EXPECT_TRUE(made || made.error().kind == ErrorKind::Conflict) << made.error().message;
      }
    });
  }
  writers.clear();
  const auto list = api->list("ConfigMap", "");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->items.size(), static_cast<std::size_t>(kMany));
  for (const auto& item : list->items) EXPECT_TRUE(api->remove(item.key, item.uid, 0));
  EXPECT_TRUE(api->list("ConfigMap", "")->items.empty());
}

}  // namespace
}  // namespace stackspec
