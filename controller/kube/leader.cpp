// SPDX-License-Identifier: Apache-2.0
#include "kube/leader.hpp"

#include "base/log.hpp"
#include "kube/requests.hpp"

namespace stackspec {

namespace {

/// metav1.MicroTime
std::string micro_time(WallTime time) {
  std::string text = to_rfc3339(time);
  text.pop_back();
  return text + ".000000Z";
}

nlohmann::json spec_of(const Object& lease) {
  const auto spec = lease.content.find("spec");
  return spec != lease.content.end() && spec->is_object() ? *spec : nlohmann::json::object();
}

std::string holder_in(const nlohmann::json& spec) {
  const auto holder = spec.find("holderIdentity");
  return holder != spec.end() && holder->is_string() ? holder->get<std::string>() : "";
}

int number_in(const nlohmann::json& spec, const char* field) {
  const auto found = spec.find(field);
  return found != spec.end() && found->is_number_integer() ? found->get<int>() : 0;
}

Error not_leading() {
  return {ErrorKind::Cancelled, "not written: this controller may not be the leader any more"};
}

class GatedObjects final : public ObjectApi {
 public:
  GatedObjects(ObjectApi& inner, const Leadership& leadership)
      : inner_(inner), leadership_(leadership) {}

  Result<Object> get(const ObjectKey& key) override { return inner_.get(key); }
  Result<ObjectList> list(const std::string& kind, const std::string& ns) override {
    return inner_.list(kind, ns);
  }
  Result<Object> create(const Object& object) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.create(object);
  }
  Result<Object> update(const Object& object) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.update(object);
  }
  Result<Object> update_status(const Object& object) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.update_status(object);
  }
  Result<void> remove(const ObjectKey& key, const std::string& uid,
                      std::int64_t resource_version) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.remove(key, uid, resource_version);
  }
  Result<void> watch(const std::string& kind, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override {
    return inner_.watch(kind, from, on_event, std::move(stop));
  }

 private:
  ObjectApi& inner_;
  const Leadership& leadership_;
};

}  // namespace

Leadership::Leadership(ObjectApi& objects, ObjectKey lease, std::string identity,
                       const Clock& clock, LeaseTimes times)
    : objects_(objects),
      key_(std::move(lease)),
      identity_(std::move(identity)),
      clock_(clock),
      times_(times) {}

bool Leadership::may_write() const {
  if (!leads_.load()) return false;
  const SteadyTime renewed{SteadyTime::duration(renewed_.load())};
  return clock_.steady_now() - renewed < times_.renew_deadline;
}

void Leadership::won(const Object& lease, SteadyTime began) {
  renewed_.store(began.time_since_epoch().count());
  leads_.store(true);
  seen_holder_ = identity_;
  seen_record_ = spec_of(lease).dump();
  seen_at_ = began;
}

void Leadership::take(Object lease, SteadyTime began) {
  nlohmann::json spec = spec_of(lease);
  const bool ours = holder_in(spec) == identity_;
  const std::string now = micro_time(clock_.wall_now());
  if (!ours) {
    spec["leaseTransitions"] = number_in(spec, "leaseTransitions") + (lease.uid.empty() ? 0 : 1);
    spec["acquireTime"] = now;
  }
  spec["holderIdentity"] = identity_;
  spec["leaseDurationSeconds"] =
      std::chrono::duration_cast<std::chrono::seconds>(times_.duration).count();
  spec["renewTime"] = now;
  lease.content["spec"] = std::move(spec);
  const auto written = lease.uid.empty() ? objects_.create(lease) : objects_.update(lease);
  if (written) {
    won(*written, began);
  } else if (written.error().kind != ErrorKind::Conflict) {
    // A lost answer is no renewal: the next step reads what became of it.
    log::warn("lease not written", {{"lease", key_.name}, {"detail", written.error().message}});
  }
}

void Leadership::step() {
  const SteadyTime began = clock_.steady_now();
  auto lease = objects_.get(key_);
  if (!lease && lease.error().kind == ErrorKind::NotFound) {
    Object fresh;
    fresh.key = key_;
    take(std::move(fresh), began);
    return;
  }
  if (!lease) {
    log::warn("lease not read", {{"lease", key_.name}, {"detail", lease.error().message}});
    return;
  }
  const nlohmann::json spec = spec_of(*lease);
  const std::string holder = holder_in(spec);
  const std::string record = spec.dump();
  if (record != seen_record_) {
    seen_record_ = record;
    seen_at_ = began;
  }
  seen_holder_ = holder;
  if (holder != identity_) leads_.store(false);
  if (holder == identity_ || holder.empty()) {
    take(std::move(lease).value(), began);
    return;
  }
  // Another holds it. A clock on another machine says nothing: only that it stands still counts.
  const auto duration = std::max(
      times_.duration, std::chrono::milliseconds(1000 * number_in(spec, "leaseDurationSeconds")));
  if (began - seen_at_ > duration) take(std::move(lease).value(), began);
}

bool Leadership::run(const std::function<void()>& on_started, std::stop_token stop) {
  bool started = false;
  while (!stop.stop_requested()) {
    step();
    if (may_write() && !started) {
      started = true;
      on_started();
    }
    // Another may have taken it while we stood still, or nobody answers: both mean that it is lost.
    if (started && (!may_write() || seen_holder_ != identity_)) {
      leads_.store(false);
      return true;
    }
    pause_for(started ? times_.renew_every : times_.look_every, stop);
    if (started && !may_write()) {
      leads_.store(false);
      return true;
    }
  }
  return false;
}

void Leadership::release() {
  if (!leads_.exchange(false)) return;
  auto lease = objects_.get(key_);
  if (!lease || holder_in(spec_of(*lease)) != identity_) return;
  lease->content["spec"]["holderIdentity"] = "";
  lease->content["spec"]["leaseDurationSeconds"] = 1;
  lease->content["spec"]["renewTime"] = micro_time(clock_.wall_now());
  const auto written = objects_.update(*lease);
  if (!written) log::warn("lease not released", {{"detail", written.error().message}});
}

std::unique_ptr<ObjectApi> make_gated_objects(ObjectApi& inner, const Leadership& leadership) {
  return std::make_unique<GatedObjects>(inner, leadership);
}

}  // namespace stackspec
