// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/cache.hpp"

#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include "base/backoff.hpp"
#include "base/log.hpp"

namespace stackspec::kubernetes {
namespace {

constexpr const char* kKinds[] = {
    "Deployment",
    "StatefulSet",
    "Job",
    "Pod",
    "Service",
    "ConfigMap",
    "NetworkPolicy",
    "ServiceAccount",
    "Ingress",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "StackBackup",
};
constexpr std::chrono::seconds kFillPatience{10};
constexpr std::chrono::milliseconds kFirstRetry{800};
constexpr std::chrono::seconds kLongestRetry{30};

class Cache final : public ChildCache {
 public:
  explicit Cache(ObjectApi& objects) : objects_(objects) {
    for (const char* kind : kKinds) {
      threads_.emplace_back([this, kind](std::stop_token stop) { follow(kind, stop); });
    }
  }

  ~Cache() override {
    for (std::jthread& thread : threads_) thread.request_stop();
  }

  Result<Children> children_of(const StackKey& key, std::stop_token stop) override;
  void remember(const Object& written) override;
  void forget(const Object& removed) override;
  std::vector<StackKey> changed() override;

 private:
  /// One object: where it lies, and which of its states.
  struct Known {
    StackKey stack;
    Stored stored;
  };

  void follow(const char* kind, std::stop_token stop);
  Result<std::int64_t> fill(const char* kind);
  void take(const WatchEvent& event);
  void put_locked(const Object& object);
  void erase_locked(std::map<ObjectKey, Known>::iterator known);
  /// False when stopped.
  bool pause(std::chrono::milliseconds time, std::stop_token stop);

  ObjectApi& objects_;
  std::mutex mutex_;
  std::condition_variable_any woken_;
  std::map<StackKey, Children> stacks_;            // guarded by mutex_
  std::map<ObjectKey, Known> known_;               // guarded by mutex_
  std::map<std::size_t, std::string> tombstones_;  // guarded by mutex_; uid -> kind
  std::set<StackKey> changed_;                     // guarded by mutex_
  std::set<std::string> filled_;                   // guarded by mutex_
  std::vector<std::jthread> threads_;              // the last member: ends first
};

std::size_t hash_of(const std::string& uid) {
  return std::hash<std::string>{}(uid);
}

bool Cache::pause(std::chrono::milliseconds time, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  woken_.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

void Cache::follow(const char* kind, std::stop_token stop) {
  std::int64_t from = -1;
  std::chrono::milliseconds retry = kFirstRetry;
  while (!stop.stop_requested()) {
    Result<void> end;
    if (from < 0) {
      const auto filled = fill(kind);
      if (filled) {
        from = *filled;
        retry = kFirstRetry;
      } else {
        end = filled.error();
      }
    }
    if (from >= 0) {
      end = objects_.watch(
          kind, from,
          [&](const WatchEvent& event) {
            from = std::max(from, event.object.resource_version);
            retry = kFirstRetry;
            take(event);
          },
          stop);
    }
    if (end || end.error().kind == ErrorKind::Cancelled) continue;
    if (end.error().kind == ErrorKind::Expired) {
      from = -1;
      continue;
    }
    log::warn("watch ended", {{"kind", kind}, {"detail", end.error().message}});
    // A refused connection is no reason to list everything again: the watch goes on where it was.
    if (!pause(retry, stop)) return;
    retry = std::min<std::chrono::milliseconds>(retry * 2, kLongestRetry);
  }
}

Result<std::int64_t> Cache::fill(const char* kind) {
  const ObjectList list = TRY(objects_.list(kind, ""));
  const std::lock_guard lock(mutex_);
  std::set<ObjectKey> listed;
  for (const Object& object : list.items) {
    listed.insert(object.key);
    put_locked(object);
  }
  // What is newer than the list is a write of ours that the list has not seen.
  for (auto known = known_.begin(); known != known_.end();) {
    const auto next = std::next(known);
    const bool gone = known->first.kind == kind && !listed.contains(known->first) &&
                      known->second.stored.version <= list.resource_version;
    if (gone) erase_locked(known);
    known = next;
  }
  std::erase_if(tombstones_, [kind](const auto& one) { return one.second == kind; });
  filled_.insert(kind);
  woken_.notify_all();
  return list.resource_version;
}

void Cache::take(const WatchEvent& event) {
  const std::lock_guard lock(mutex_);
  if (event.type != WatchEvent::Type::Deleted) {
    put_locked(event.object);
    return;
  }
  const std::size_t uid = hash_of(event.object.uid);
  tombstones_.erase(uid);
  const auto known = known_.find(event.object.key);
  if (known != known_.end() && known->second.stored.uid == uid) erase_locked(known);
}

void Cache::put_locked(const Object& object) {
  const StackKey stack = stack_of(object);
  const std::size_t uid = hash_of(object.uid);
  if (tombstones_.contains(uid)) return;
  const auto known = known_.find(object.key);
  if (known != known_.end()) {
    if (object.resource_version < known->second.stored.version) return;
    if (known->second.stack != stack) erase_locked(known);
  }
  if (stack.name.empty()) return;
  known_[object.key] = {stack, {uid, object.resource_version}};
  if (put_child(stacks_[stack], object)) changed_.insert(stack);
}

void Cache::erase_locked(std::map<ObjectKey, Known>::iterator known) {
  const auto stack = stacks_.find(known->second.stack);
  if (stack != stacks_.end() && remove_child(stack->second, known->first)) {
    changed_.insert(stack->first);
  }
  known_.erase(known);
}

Result<Children> Cache::children_of(const StackKey& key, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const bool ready = woken_.wait_for(lock, stop, kFillPatience,
                                     [this] { return filled_.size() == std::size(kKinds); });
  if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "stopped"};
  if (!ready) {
    std::string missing;
    for (const char* kind : kKinds) {
      if (!filled_.contains(kind)) missing += (missing.empty() ? "" : ", ") + std::string(kind);
    }
    return Error{ErrorKind::Unavailable,
                 "not listed yet: " + missing + "; the log tells why, missing rights for instance"};
  }
  const auto found = stacks_.find(key);
  return found == stacks_.end() ? Children{} : found->second;
}

void Cache::remember(const Object& written) {
  const std::lock_guard lock(mutex_);
  put_locked(written);
}

void Cache::forget(const Object& removed) {
  const std::lock_guard lock(mutex_);
  const std::size_t uid = hash_of(removed.uid);
  const auto known = known_.find(removed.key);
  if (known == known_.end() || known->second.stored.uid != uid) return;
  // The event that tells of the deletion is still to come, and older ones may be before it.
  tombstones_[uid] = removed.key.kind;
  erase_locked(known);
}

std::vector<StackKey> Cache::changed() {
  const std::lock_guard lock(mutex_);
  std::vector<StackKey> all(changed_.begin(), changed_.end());
  changed_.clear();
  return all;
}

}  // namespace

std::span<const char* const> watched_kinds() {
  return kKinds;
}

std::unique_ptr<ChildCache> make_child_cache(ObjectApi& objects) {
  return std::make_unique<Cache>(objects);
}

}  // namespace stackspec::kubernetes
