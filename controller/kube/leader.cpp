// SPDX-License-Identifier: Apache-2.0
#include "kube/leader.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "base/pause.hpp"

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

/// What a watch tells of one Lease, for a thread that waits.
class LeaseNews {
 public:
  LeaseNews(ObjectApi& objects, ObjectKey key, std::chrono::milliseconds again)
      : objects_(objects),
        key_(std::move(key)),
        again_(again),
        watching_([this](const std::stop_token& stop) { watch(stop); }) {}

  /// The newest since the last call; waits for it. Nothing: none came, or stopped.
  std::optional<WatchEvent> wait(std::chrono::milliseconds time, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, stop, time, [this] { return news_.has_value(); });
    return std::exchange(news_, std::nullopt);
  }

 private:
  void watch(const std::stop_token& stop) {
    do {
      auto lease = objects_.get(key_);
      if (!lease) continue;
      const std::int64_t from = lease->resource_version;
      tell({WatchEvent::Type::Modified, std::move(lease).value()});
      // However it ends: it begins again with what is there then.
      static_cast<void>(objects_.watch(
          key_.kind, from, [this](const WatchEvent& event) { tell(event); }, stop));
    } while (pause_for(again_, stop));
  }

  void tell(const WatchEvent& event) {
    if (event.object.key != key_) return;
    const std::lock_guard lock(mutex_);
    news_ = event;
    came_.notify_all();
  }

  ObjectApi& objects_;
  const ObjectKey key_;
  const std::chrono::milliseconds again_;
  std::mutex mutex_;
  std::condition_variable_any came_;
  std::optional<WatchEvent> news_;  // guarded by mutex_
  std::jthread watching_;           // the last member: ends first
};

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
  Result<std::int64_t> each(const std::string& kind, const std::string& ns,
                            const std::function<void()>& begin,
                            const std::function<void(Object&&)>& take) override {
    return inner_.each(kind, ns, begin, take);
  }
  Result<Object> create(const Object& object) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.create(object);
  }
  Result<Object> update(const Object& object) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.update(object);
  }
  Result<Object> patch(const ObjectPatch& patch) override {
    if (!leadership_.may_write()) return not_leading();
    return inner_.patch(patch);
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

bool Leadership::is_stuck() const {
  const SteadyTime renewed{SteadyTime::duration(renewed_.load())};
  return leads_.load() && clock_.steady_now() - renewed > times_.duration + times_.renew_deadline;
}

void Leadership::won(Object lease, SteadyTime began) {
  renewed_.store(began.time_since_epoch().count());
  leads_.store(true);
  seen_holder_ = identity_;
  seen_record_ = spec_of(lease).dump();
  seen_at_ = began;
  seen_version_ = lease.resource_version;
  held_ = std::move(lease);
}

bool Leadership::take(Object lease, SteadyTime began) {
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
  auto written = lease.uid.empty() ? objects_.create(lease) : objects_.update(lease);
  if (written) {
    won(std::move(written).value(), began);
  } else if (written.error().kind != ErrorKind::Conflict) {
    // A lost answer is no renewal: the next step reads what became of it.
    log::warn("lease not written", {{"lease", key_.name}, {"detail", written.error().message}});
  }
  return written.has_value();
}

void Leadership::step() {
  const SteadyTime began = clock_.steady_now();
  auto held = std::exchange(held_, std::nullopt);
  if (leads_.load() && held && take(std::move(*held), began)) return;
  auto lease = objects_.get(key_);
  if (lease) {
    judge(std::move(lease).value(), began);
  } else if (lease.error().kind == ErrorKind::NotFound) {
    Object fresh;
    fresh.key = key_;
    take(std::move(fresh), began);
  } else {
    log::warn("lease not read", {{"lease", key_.name}, {"detail", lease.error().message}});
  }
}

void Leadership::judge(Object lease, SteadyTime began) {
  const nlohmann::json spec = spec_of(lease);
  const std::string record = spec.dump();
  if (record != seen_record_) {
    seen_record_ = record;
    seen_at_ = began;
  }
  seen_version_ = lease.resource_version;
  seen_holder_ = holder_in(spec);
  seen_duration_ = std::max(
      times_.duration, std::chrono::milliseconds(1000 * number_in(spec, "leaseDurationSeconds")));
  if (seen_holder_ != identity_) leads_.store(false);
  // Where another holds it, a clock on another machine says nothing: only that it stands still
  // counts.
  const bool ours = seen_holder_ == identity_ || seen_holder_.empty();
  if (ours || began - seen_at_ > seen_duration_) take(std::move(lease), began);
}

std::chrono::milliseconds Leadership::patience() const {
  if (seen_holder_.empty() || seen_holder_ == identity_) return times_.renew_every;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(seen_at_ + seen_duration_ - clock_.steady_now());
  return std::clamp(left + std::chrono::milliseconds(1), std::chrono::milliseconds(1),
                    times_.look_every);
}

bool Leadership::run(const std::function<void()>& on_started, std::stop_token stop) {
  bool started = false;
  std::optional<LeaseNews> news;
  std::optional<WatchEvent> told;
  bool lost = false;
  while (!stop.stop_requested() && !lost) {
    if (!told || told->type == WatchEvent::Type::Deleted) {
      step();
    } else if (told->object.resource_version > seen_version_) {
      judge(std::move(told->object), clock_.steady_now());
    }
    if (may_write() && !started) {
      started = true;
      on_started();
      news.reset();
    }
    told.reset();
    if (started) {
      // Another may have taken it while we stood still, or nobody answers: both mean it is lost.
      if (may_write()) pause_for(times_.renew_every, stop);
      lost = !may_write();
    } else {
      if (!news) news.emplace(objects_, key_, times_.renew_every);
      told = news->wait(patience(), stop);
    }
  }
  if (lost) leads_.store(false);
  return lost;
}

bool Leadership::give_back(Object lease) {
  lease.content["spec"]["holderIdentity"] = "";
  lease.content["spec"]["leaseDurationSeconds"] = 1;
  lease.content["spec"]["renewTime"] = micro_time(clock_.wall_now());
  const auto written = objects_.update(lease);
  if (!written) log::warn("lease not released", {{"detail", written.error().message}});
  return written.has_value();
}

void Leadership::release() {
  if (!leads_.exchange(false)) return;
  auto held = std::exchange(held_, std::nullopt);
  if (held && give_back(std::move(*held))) return;
  auto lease = objects_.get(key_);
  if (lease && holder_in(spec_of(*lease)) == identity_) give_back(std::move(lease).value());
}

std::unique_ptr<ObjectApi> make_gated_objects(ObjectApi& inner, const Leadership& leadership) {
  return std::make_unique<GatedObjects>(inner, leadership);
}

}  // namespace stackspec
