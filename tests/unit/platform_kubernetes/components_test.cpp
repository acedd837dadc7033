// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "objects/object_json.hpp"
#include "platform/kubernetes/render.hpp"
#include "unit/platform_kubernetes/cluster_world.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

class KubernetesComponents : public ClusterWorld {
 protected:
  ComponentSeen seen_of(Component which) { return look().components.at(which); }
  ComponentSeen until_component(Component which,
                                const std::function<bool(const ComponentSeen&)>& holds) {
    return until([&](const PlatformSeen& seen) { return holds(seen.components.at(which)); })
        .components.at(which);
  }

  /// Everything stored, without what differs from run to run.
  json world() {
    json all = json::array();
    for (const char* kind : kubernetes_watched_kinds()) {
      for (const Object& object : cluster->all(kind)) {
        json one = to_json(object);
        for (const char* field : {"uid", "resourceVersion", "creationTimestamp", "generation"}) {
          one.erase(field);
        }
        all.push_back(std::move(one));
      }
    }
    return all;
  }
};

TEST_F(KubernetesComponents, AnAbsentStackIsNothing) {
  const PlatformSeen seen = look();
  for (const Component which : kAllComponents)
    EXPECT_EQ(seen.components.at(which), ComponentSeen{});
  EXPECT_FALSE(seen.gateway_open);
  EXPECT_TRUE(seen.tasks.empty());
  EXPECT_EQ(faulty->write_count(), 0);
  EXPECT_EQ(seen.endpoints.postgres_host, "crm-postgres.crm-ns.svc");
}

TEST_F(KubernetesComponents, WallsAndAnAccountComeBeforeAnythingElse) {
  ASSERT_TRUE(platform->prepare(stack, {}));
  EXPECT_TRUE(exists("ServiceAccount", "crm"));
  EXPECT_TRUE(exists("NetworkPolicy", "crm-default-deny"));
  const int written = faulty->write_count();
  ASSERT_TRUE(platform->prepare(stack, {}));
  EXPECT_EQ(faulty->write_count(), written);
  EXPECT_EQ(look().components.at(Component::Postgres), ComponentSeen{});
}

TEST_F(KubernetesComponents, AreMadeAndSeenReady) {
  install();
  const ComponentSeen server = seen_of(Component::Server);
  EXPECT_TRUE(server.exists);
  EXPECT_EQ(server.version, "v1.16.6");
  EXPECT_EQ(server.wanted, 1);
  EXPECT_EQ(server.running, 1);
  EXPECT_TRUE(server.message.empty()) << server.message;
}

TEST_F(KubernetesComponents, WhatIsNotThereYetIsMadeInOneRequestEach) {
  std::atomic<int> reads = 0;
  look();  // The lists of the beginning.
  faulty->plan_reads([&reads](int) {
    ++reads;
    return ReadFault{};
  });
  apply_everything();
  EXPECT_GT(faulty->write_count(), 10);
  EXPECT_EQ(reads, 0);
}

TEST_F(KubernetesComponents, ASettledStackCostsNoRequest) {
  install();
  std::atomic<int> reads = 0;
  faulty->plan_reads([&reads](int) {
    ++reads;
    return ReadFault{};
  });
  const int writes = faulty->write_count();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(all_ready(look()));
  EXPECT_EQ(reads, 0);
  EXPECT_EQ(faulty->write_count(), writes);
}

TEST_F(KubernetesComponents, AppliedAgainAreNotWrittenAgain) {
  install();
  const int writes = faulty->write_count();
  apply_everything();
  EXPECT_EQ(faulty->write_count(), writes);
  // Nor by a controller that knows nothing yet.
  restart();
  until([this](const PlatformSeen& seen) { return all_ready(seen); });
  apply_everything();
  EXPECT_EQ(faulty->write_count(), writes);
}

TEST_F(KubernetesComponents, ACrashAtAnyWriteEndsInTheSameObjects) {
  apply_everything();
  const int writes = faulty->write_count();
  const json reference = world();
  ASSERT_GT(writes, 20);
  for (const WriteFault fault :
       {WriteFault::Unavailable, WriteFault::LostReply, WriteFault::Conflict,
        WriteFault::CrashBefore, WriteFault::CrashAfter}) {
    for (int number = 1; number <= writes; ++number) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " at write " +
                   std::to_string(number));
      begin();
      faulty->plan_writes([&](int now, WriteVerb, const ObjectKey&) {
        return now == number ? fault : WriteFault::None;
      });
      for (const ComponentSpec& component : components_of(stack)) {
        Result<void> done;
        try {
          done = act(ApplyComponent{component});
        } catch (const Crash&) {
          restart();
          done = act(ApplyComponent{component});
        }
        if (!done) must(ApplyComponent{component});
      }
      ASSERT_EQ(world(), reference);
    }
  }
}

TEST_F(KubernetesComponents, ADeploymentEditedByHandIsPutBack) {
  install();
  const Object before = get("Deployment", "crm-server");
  const std::function<void(Object&)> edits[] = {
      [](Object& live) {
        json& container = live.content["spec"]["template"]["spec"]["containers"][0];
        container["image"] = "docker.io/twentycrm/twenty:latest";
      },
      [](Object& live) {
        json& env = live.content["spec"]["template"]["spec"]["containers"][0]["env"];
        std::erase_if(env.get_ref<json::array_t&>(),
                      [](const json& one) { return one.at("name") == "DISABLE_DB_MIGRATIONS"; });
      },
      [](Object& live) {
        live.content["spec"]["template"]["spec"]["containers"][0]["command"] = json::array({"sh"});
      },
      [](Object& live) { live.annotations.erase(kAppliedAnnotation); },
      [](Object& live) { live.annotations[kRevisionAnnotation] = "mine"; },
  };
  for (const auto& change : edits) {
    edit("Deployment", "crm-server", change);
    const std::string wanted = component_of(stack, Component::Server).revision;
    until_component(Component::Server,
                    [&](const ComponentSeen& seen) { return seen.revision != wanted; });
    must(ApplyComponent{component_of(stack, Component::Server)});
    const Object after = get("Deployment", "crm-server");
    EXPECT_EQ(after.content, before.content);
    EXPECT_EQ(after.annotations, before.annotations);
    EXPECT_EQ(seen_of(Component::Server).revision, wanted);
  }
}

TEST_F(KubernetesComponents, WhatTheServerAddsIsNoEdit) {
  install();
  edit("Deployment", "crm-server", [](Object& live) {
    live.content["spec"]["progressDeadlineSeconds"] = 600;
    json& container = live.content["spec"]["template"]["spec"]["containers"][0];
    container["imagePullPolicy"] = "IfNotPresent";
    container["terminationMessagePath"] = "/dev/termination-log";
    live.content["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst";
    live.annotations["deployment.kubernetes.io/revision"] = "1";
    live.labels["argocd.argoproj.io/instance"] = "somebody";
  });
  edit("Service", "crm-redis", [](Object& live) {
    live.content["spec"]["clusterIP"] = "10.0.0.7";
    live.content["spec"]["sessionAffinity"] = "None";
  });
  const int writes = faulty->write_count();
  must(ApplyComponent{component_of(stack, Component::Server)});
  EXPECT_TRUE(all_ready(look()));
  EXPECT_EQ(faulty->write_count(), writes);
}

TEST_F(KubernetesComponents, SomethingDeletedByHandIsMissed) {
  struct Case {
    const char *kind, *name;
    Component of;
  };
  const Case cases[] = {
      {"Service", "crm-server", Component::Server},
      {"Service", "crm-gateway", Component::Gateway},
      {"ConfigMap", "crm-gateway", Component::Gateway},
      {"NetworkPolicy", "crm-postgres", Component::Gateway},
      {"ServiceAccount", "crm", Component::Gateway},
      {"PersistentVolumeClaim", "crm-storage", Component::Worker},
      {"Deployment", "crm-worker", Component::Worker},
  };
  install();
  for (const Case& one : cases) {
    SCOPED_TRACE(std::string(one.kind) + " " + one.name);
    const Object live = get(one.kind, one.name);
    ASSERT_TRUE(objects->remove(live.key, live.uid, 0));
    const ComponentSpec wanted = component_of(stack, one.of);
    until_component(one.of,
                    [&](const ComponentSeen& seen) { return seen.revision != wanted.revision; });
    must(ApplyComponent{wanted});
    EXPECT_TRUE(exists(one.kind, one.name));
    EXPECT_EQ(seen_of(one.of).revision, wanted.revision);
    cluster->step();
    // The remaining ones that shared what was deleted.
    apply_everything();
  }
}

TEST_F(KubernetesComponents, AGatewayWhoseUpstreamMovedIsStartedAnew) {
  install();
  const std::string wanted = component_of(stack, Component::Gateway).revision;
  const auto pods_of_gateway = [this] {
    return get("Deployment", "crm-gateway").content.at("spec").at("template");
  };
  const json before = pods_of_gateway();
  // As a cluster gives the Service that is made anew another address.
  edit("Service", "crm-server",
       [](Object& live) { live.content["spec"]["clusterIP"] = "10.0.0.9"; });
  until_component(Component::Gateway,
                  [&](const ComponentSeen& seen) { return seen.revision != wanted; });
  must(ApplyComponent{component_of(stack, Component::Gateway)});
  EXPECT_NE(pods_of_gateway(), before);
  EXPECT_EQ(seen_of(Component::Gateway).revision, wanted);
}

TEST_F(KubernetesComponents, ScaledByHandIsSeen) {
  install();
  ComponentSpec worker = component_of(stack, Component::Worker, 0);
  must(ApplyComponent{worker});
  cluster->step();
  until_component(Component::Worker, [](const ComponentSeen& seen) { return seen.running == 0; });
  edit("Deployment", "crm-worker", [](Object& live) { live.content["spec"]["replicas"] = 2; });
  const auto seen =
      until_component(Component::Worker, [](const ComponentSeen& one) { return one.wanted == 2; });
  EXPECT_EQ(seen.running, 2);
  must(ApplyComponent{worker});
  EXPECT_EQ(get("Deployment", "crm-worker").content.at("spec").at("replicas"), 0);
}

TEST_F(KubernetesComponents, AreNotGoneBeforeTheirPodsAre) {
  install();
  must(ApplyComponent{component_of(stack, Component::Server, 0)});
  ComponentSeen seen = seen_of(Component::Server);
  EXPECT_EQ(seen.wanted, 0);
  EXPECT_EQ(seen.running, 1);
  cluster->step();
  seen =
      until_component(Component::Server, [](const ComponentSeen& one) { return one.running == 0; });
  EXPECT_EQ(seen.ready, 0);
  EXPECT_TRUE(exists("PersistentVolumeClaim", "crm-storage"));
}

TEST_F(KubernetesComponents, ThatWereNotNoticedByTheirControllerMayStillStart) {
  install();
  must(ApplyComponent{component_of(stack, Component::Worker, 0)});
  cluster->step();
  until_component(Component::Worker, [](const ComponentSeen& seen) { return seen.running == 0; });
  must(ApplyComponent{component_of(stack, Component::Worker, 1)});
  must(ApplyComponent{component_of(stack, Component::Worker, 0)});
  // Told 1 and then 0: until its controller has seen the 0, a pod may come.
  EXPECT_EQ(seen_of(Component::Worker).running, 1);
  cluster->step();
  until_component(Component::Worker, [](const ComponentSeen& seen) { return seen.running == 0; });
}

TEST_F(KubernetesComponents, PodsOfAnOldRevisionAreNotReady) {
  install();
  stack.spec.env["LOG_LEVEL"] = "debug";
  must(ApplyComponent{component_of(stack, Component::Server)});
  EXPECT_EQ(seen_of(Component::Server).ready, 0);
  cluster->step();
  until_component(Component::Server, [](const ComponentSeen& seen) { return seen.ready == 1; });
}

TEST_F(KubernetesComponents, SayWhyTheyDoNotRun) {
  cluster->lose_image("docker.io/library/redis:7");
  cluster->crash("server");
  cluster->refuse("postgres");
  apply_everything();
  cluster->step();
  const PlatformSeen seen = until([](const PlatformSeen& one) {
    return !one.components.at(Component::Redis).message.empty() &&
           !one.components.at(Component::Server).message.empty() &&
           !one.components.at(Component::Postgres).message.empty();
  });
  EXPECT_EQ(seen.components.at(Component::Redis).message,
            "ImagePullBackOff: image docker.io/library/redis:7");
  EXPECT_EQ(seen.components.at(Component::Server).message, "CrashLoopBackOff: exit code 1");
  EXPECT_EQ(seen.components.at(Component::Server).restarts, 3);
  EXPECT_EQ(seen.components.at(Component::Postgres).message,
            "Unschedulable: 0/1 nodes are available: no room");
  EXPECT_EQ(seen.components.at(Component::Postgres).ready, 0);
}

TEST_F(KubernetesComponents, AFirstStartWithAWrongImageCanBeMended) {
  stack.spec.images.postgres = "docker.io/library/postgres:wrong";
  cluster->lose_image(stack.spec.images.postgres);
  apply_everything();
  cluster->step();
  until_component(Component::Postgres, [](const ComponentSeen& seen) {
    return seen.running == 1 && !seen.message.empty();
  });
  // The planner leaves what runs alone during a journey: this does not.
  stack.spec.images.postgres = "docker.io/library/postgres:16";
  EXPECT_EQ(seen_of(Component::Postgres).running, 0);
  must(ApplyComponent{component_of(stack, Component::Postgres)});
  EXPECT_EQ(seen_of(Component::Postgres).running, 1);
  cluster->step();
  until_component(Component::Postgres, [](const ComponentSeen& seen) { return seen.ready == 1; });
  // What runs is never called down, whatever the spec wants by now.
  stack.spec.images.postgres = "docker.io/library/postgres:other";
  EXPECT_EQ(seen_of(Component::Postgres).running, 1);
}

TEST_F(KubernetesComponents, AQuotaThatForbidsPodsIsTold) {
  apply_everything();
  Object server = get("Deployment", "crm-server");
  server.status["conditions"] = json::array({json::object(
      {{"type", "ReplicaFailure"}, {"status", "True"}, {"message", "exceeded quota: pods"}})});
  ASSERT_TRUE(objects->update_status(server));
  until_component(Component::Server,
                  [](const ComponentSeen& seen) { return seen.message == "exceeded quota: pods"; });
}

TEST_F(KubernetesComponents, TheGatewayIsSwitchedByItsServiceAlone) {
  install();
  EXPECT_FALSE(look().gateway_open);
  const Object pods_before = get("Deployment", "crm-gateway");
  must(SwitchGateway{GatewayMode::Open, false});
  EXPECT_TRUE(look().gateway_open);
  EXPECT_TRUE(all_ready(look()));
  const int writes = faulty->write_count();
  must(SwitchGateway{GatewayMode::Open, false});
  must(ApplyComponent{component_of(stack, Component::Gateway)});
  EXPECT_EQ(faulty->write_count(), writes) << "applying the gateway must not close it";
  EXPECT_EQ(get("Deployment", "crm-gateway").resource_version, pods_before.resource_version);
  must(SwitchGateway{GatewayMode::Closed, false});
  EXPECT_FALSE(look().gateway_open);
  // Opened by hand: seen as open, and put back by whatever is applied next.
  edit("Service", "crm-gateway",
       [](Object& live) { live.content["spec"]["ports"][0]["targetPort"] = 4000; });
  until([](const PlatformSeen& seen) { return seen.gateway_open; });
  must(SwitchGateway{GatewayMode::Closed, false});
  EXPECT_FALSE(look().gateway_open);
}

TEST_F(KubernetesComponents, AnObjectOfSomebodyElseIsNotTaken) {
  Object foreign;
  foreign.key = {"Service", stack.key.ns, "crm-redis"};
  foreign.content["spec"] = json::object({{"type", "ExternalName"}});
  ASSERT_TRUE(objects->create(foreign));
  const auto done = act(ApplyComponent{component_of(stack, Component::Redis)});
  ASSERT_FALSE(done);
  // A conflict would be tried again at once, for ever and without a word.
  EXPECT_EQ(done.error().kind, ErrorKind::Invalid);
  EXPECT_NE(done.error().message.find("Service crm-ns/crm-redis was not made for this stack"),
            std::string::npos)
      << done.error().message;
  EXPECT_EQ(get("Service", "crm-redis").content, foreign.content);
}

TEST_F(KubernetesComponents, WhatAnEarlierStackOwnedIsNotTakenWhileItGoes) {
  install();
  stack.uid = "0d4b6f5e-0000-4000-8000-000000000002";
  const auto done = act(ApplyComponent{component_of(stack, Component::Redis)});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::Unavailable);
}

TEST_F(KubernetesComponents, AClaimGrowsAndNeverShrinks) {
  install();
  const auto size = [this] {
    return get("PersistentVolumeClaim", "crm-postgres")
        .content.at(json::json_pointer("/spec/resources/requests/storage"))
        .get<std::string>();
  };
  EXPECT_EQ(size(), "10Gi");
  stack.spec.database.managed.size = "20Gi";
  const ComponentSpec postgres = component_of(stack, Component::Postgres);
  must(ApplyComponent{postgres});
  EXPECT_EQ(size(), "20Gi");
  EXPECT_EQ(seen_of(Component::Postgres).revision, postgres.revision);
  stack.spec.database.managed.size = "1Gi";
  must(ApplyComponent{postgres});
  EXPECT_EQ(size(), "20Gi");
  EXPECT_EQ(seen_of(Component::Postgres).revision, postgres.revision);
}

TEST_F(KubernetesComponents, AnExistingClaimIsUsedAndNotTouched) {
  stack = adopted();
  install();
  EXPECT_FALSE(exists("PersistentVolumeClaim", "crm-postgres"));
  EXPECT_FALSE(exists("PersistentVolumeClaim", "crm-storage"));
  EXPECT_EQ(get("StatefulSet", "crm-postgres")
                .content.at(json::json_pointer(
                    "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName")),
            "old-db");
}

TEST_F(KubernetesComponents, AChangeOfAChildWakesItsStackOnce) {
  install();
  cluster->step();
  const auto news = [this](int milliseconds) {
    return platform->changed(std::chrono::milliseconds(milliseconds), {});
  };
  ASSERT_TRUE(eventually([&] { return news(0).empty(); }));
  cluster->crash("worker");
  cluster->step();
  EXPECT_EQ(news(60000), std::vector<StackKey>{stack.key});
  EXPECT_TRUE(eventually([&] { return news(0).empty(); }));
}

TEST_F(KubernetesComponents, RedisIsFlushedThroughTheHook) {
  must(FlushRedis{});
  EXPECT_EQ(flushed, std::vector<std::string>{"crm-redis.crm-ns.svc:6379/0"});
}

TEST_F(KubernetesComponents, OfARedisOfSomebodyElseOnlyTheStacksOwnDatabaseIsFlushed) {
  stack = with_external();
  EXPECT_FALSE(act(FlushRedis{})) << "without the Secret nothing is known of it";
  const SecretValues secrets = {{"crm-redis", {{"url", "redis://:pw@cache.example.org:6380/7"}}}};
  ASSERT_TRUE(platform->act(stack, FlushRedis{}, secrets, {}));
  EXPECT_EQ(flushed, std::vector<std::string>{"cache.example.org:6380/7"});
}

TEST_F(KubernetesComponents, NoSecretValueIsEverWritten) {
  stack = with_external();
  const SecretValues secrets = {
      {"crm-secrets", {{"APP_SECRET", "canary-canary"}}},
      {"crm-db", {{"url", "postgres://u:canary-canary@h/d"}, {"direct", "canary-canary"}}},
      {"crm-redis", {{"url", "redis://:canary-canary@h/0"}}}};
  for (const ComponentSpec& component : components_of(stack)) {
    ASSERT_TRUE(platform->act(stack, ApplyComponent{component}, secrets, {}));
  }
  ASSERT_TRUE(platform->act(
      stack, StartTask{task_of(stack, TaskKind::Install, "crm-1-0-install-1")}, secrets, {}));
  EXPECT_EQ(world().dump().find("canary-canary"), std::string::npos);
}

}  // namespace
}  // namespace stackspec::kubernetes
