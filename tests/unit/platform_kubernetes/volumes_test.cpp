// SPDX-License-Identifier: Apache-2.0
#include "unit/platform_kubernetes/cluster_world.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

const json::json_pointer kSize("/spec/resources/requests/storage");

/// A cluster whose storage classes do not let claims grow.
class FixedVolumes final : public ObjectApi {
 public:
  explicit FixedVolumes(ObjectApi& inner) : inner_(inner) {}

  Result<Object> update(const Object& object) override {
    const bool claim = object.key.kind == "PersistentVolumeClaim";
    if (claim && !grows && TRY(inner_.get(object.key)).content != object.content) {
      ++refusals;
      return Error{ErrorKind::Forbidden, "the storageclass must support resize"};
    }
    return inner_.update(object);
  }
  Result<Object> get(const ObjectKey& key) override { return inner_.get(key); }
  Result<ObjectList> list(const std::string& kind, const std::string& ns) override {
    return inner_.list(kind, ns);
  }
  Result<Object> create(const Object& object) override { return inner_.create(object); }
  Result<Object> update_status(const Object& object) override {
    return inner_.update_status(object);
  }
  Result<void> remove(const ObjectKey& key, const std::string& uid, std::int64_t version) override {
    return inner_.remove(key, uid, version);
  }
  Result<void> watch(const std::string& kind, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override {
    return inner_.watch(kind, from, on_event, std::move(stop));
  }

  std::atomic<int> refusals = 0;
  std::atomic<bool> grows = false;

 private:
  ObjectApi& inner_;
};

class KubernetesVolumes : public ClusterWorld {
 protected:
  std::string size_of(const std::string& claim) {
    return get("PersistentVolumeClaim", claim).content.at(kSize).get<std::string>();
  }

  void make_claim(const std::string& name, std::map<std::string, std::string> labels) {
    Object claim;
    claim.key = {"PersistentVolumeClaim", stack.key.ns, name};
    claim.labels = std::move(labels);
    claim.content["spec"]["resources"]["requests"]["storage"] = "10Gi";
    ASSERT_TRUE(objects->create(claim));
  }
};

TEST_F(KubernetesVolumes, GrowWithoutWaitingForAnybodyToApplyThem) {
  install();
  run(TaskKind::Backup, "crm-1234abcd-0-backup-1");
  stack.spec.database.managed.size = "20Gi";
  stack.spec.backup.pvc_size = "40Gi";
  look();
  EXPECT_EQ(size_of("crm-postgres"), "20Gi");
  EXPECT_EQ(size_of("crm-backups"), "40Gi");
  EXPECT_EQ(size_of("crm-redis"), "1Gi");
}

TEST_F(KubernetesVolumes, AreLeftAloneAtAGlance) {
  install();
  stack.spec.database.managed.size = "20Gi";
  const auto seen = platform->glance(stack, {});
  ASSERT_TRUE(seen);
  EXPECT_TRUE(all_ready(*seen)) << "only what runs is looked at";
  EXPECT_EQ(size_of("crm-postgres"), "10Gi");
}

TEST_F(KubernetesVolumes, MadeByAPersonUnderOurNameAreTakenUp) {
  make_claim("crm-postgres", {{"team", "shop"}});
  install();
  const auto labels = get("PersistentVolumeClaim", "crm-postgres").labels;
  EXPECT_EQ(labels.at(kStackLabel), "crm");
  EXPECT_EQ(labels.at("team"), "shop");
  EXPECT_TRUE(get("PersistentVolumeClaim", "crm-postgres").owners.empty());
  const int writes = faulty->write_count();
  EXPECT_TRUE(all_ready(look())) << "unlabelled it would be applied again for ever";
  EXPECT_EQ(faulty->write_count(), writes);
}

TEST_F(KubernetesVolumes, OfAnotherStackAreNotTaken) {
  make_claim("crm-postgres", {{kStackLabel, "other"}});
  const auto done = act(ApplyComponent{component_of(stack, Component::Postgres)});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::Invalid);
  EXPECT_NE(done.error().message.find("belongs to stack other"), std::string::npos);
}

TEST_F(KubernetesVolumes, ThatCannotGrowAreNamedAndAskedForAgainAfterAMinute) {
  install();
  FixedVolumes fixed(*faulty);
  platform = make_kubernetes_platform(fixed, {}, clock);
  until([this](const PlatformSeen& seen) { return all_ready(seen); });
  stack.spec.redis.size = "2Gi";
  const auto redis = [this] { return look().components.at(Component::Redis); };
  for (int i = 0; i < 3; ++i) {
    const ComponentSeen seen = redis();
    EXPECT_EQ(seen.message,
              "claim crm-redis cannot grow from 1Gi to 2Gi: its storage class does not allow it");
    EXPECT_EQ(seen.ready, 1);
    EXPECT_EQ(seen.revision, component_of(stack, Component::Redis).revision);
  }
  EXPECT_EQ(fixed.refusals, 1);
  EXPECT_EQ(look().components.at(Component::Postgres).message, "");
  clock.advance(std::chrono::seconds(61));
  fixed.grows = true;
  EXPECT_EQ(redis().message, "");
  EXPECT_EQ(size_of("crm-redis"), "2Gi");
  platform.reset();
}

TEST_F(KubernetesVolumes, ThatAreFullAreNamedByWhatEndedForIt) {
  install();
  Object pod = cluster->all("Pod").front();
  for (const Object& one : cluster->all("Pod")) {
    if (one.labels.at(kComponentLabel) == "postgres") pod = one;
  }
  json& container = pod.status["containerStatuses"][0];
  container["state"] = json::object({{"waiting", json::object({{"reason", "CrashLoopBackOff"}})}});
  container["lastState"]["terminated"] = json::object(
      {{"exitCode", 1}, {"reason", "Error"}, {"message", "the volume is full\nsecond line\n"}});
  ASSERT_TRUE(objects->update_status(pod));
  until([](const PlatformSeen& seen) {
    return seen.components.at(Component::Postgres).message ==
           "CrashLoopBackOff: exit code 1: the volume is full";
  });
}

}  // namespace
}  // namespace stackspec::kubernetes
