// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/cache.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/depot.hpp"
#include "base/log.hpp"
#include "platform/kubernetes/known_objects.hpp"
#include "platform/kubernetes/packed_children.hpp"
#include "platform/kubernetes/render.hpp"

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
constexpr std::chrono::seconds kPackAfter{5};
constexpr std::size_t kMostOpen = 128;
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
  void forget(const ObjectKey& key, std::int64_t version) override;
  std::vector<StackKey> changed(std::chrono::milliseconds patience, std::stop_token stop) override;

 private:
  /// One stack: its children, packed while nobody needs them.
  struct Shelf {
    std::unique_ptr<Children> open;
    Depot::Id packed = Depot::kNothing;
    std::chrono::steady_clock::time_point used;
  };

  void follow(const char* kind, std::stop_token stop);
  Result<std::int64_t> fill(const char* kind);
  void take(const WatchEvent& event, const char* kind);
  /// The stack, a key of stacks_, of which something changed; else nothing.
  const StackKey* put_locked(const Object& object, const char* kind);
  const StackKey* erase_locked(const Known& known);
  void tell_locked(const StackKey* stack);
  /// Until the next call.
  Children& open_locked(Shelf& shelf);
  std::vector<Shelf*>::iterator pack_locked(std::vector<Shelf*>::iterator shelf);
  void pack_unused_locked();
  std::string missing_locked() const;
  /// False when stopped.
  bool pause(std::chrono::milliseconds time, std::stop_token stop);

  ObjectApi& objects_;
  std::mutex mutex_;
  std::condition_variable_any woken_;
  std::condition_variable_any news_;                 ///< For changed_.
  std::map<StackKey, Shelf> stacks_;                 // guarded by mutex_
  std::vector<Shelf*> open_;                         // guarded by mutex_; those that are open
  Depot packed_;                                     // guarded by mutex_; children of the others
  KnownObjects known_;                               // guarded by mutex_
  std::map<std::uint32_t, std::string> tombstones_;  // guarded by mutex_; uid -> kind
  std::set<StackKey> changed_;                       // guarded by mutex_
  std::set<std::string> filled_;                     // guarded by mutex_
  std::map<std::string, std::string> trouble_;       // guarded by mutex_; why a kind is not filled
  std::vector<std::jthread> threads_;                // the last member: ends first
};

std::uint32_t hash_of(const std::string& uid) {
  return static_cast<std::uint32_t>(std::hash<std::string>{}(uid));
}

/// `kind` is one of the pointers in kKinds.
std::uint8_t index_of(const char* kind) {
  return static_cast<std::uint8_t>(std::find(std::begin(kKinds), std::end(kKinds), kind) -
                                   std::begin(kKinds));
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
            take(event, kind);
          },
          stop);
    }
    if (end || end.error().kind == ErrorKind::Cancelled) continue;
    if (end.error().kind == ErrorKind::Expired) {
      from = -1;
      continue;
    }
    log::warn("watch ended", {{"kind", kind}, {"detail", end.error().message}});
    {
      const std::lock_guard lock(mutex_);
      if (!filled_.contains(kind)) trouble_[kind] = end.error().message;
    }
    // A refused connection is no reason to list everything again: the watch goes on where it was.
    if (!pause(retry, stop)) return;
    retry = std::min<std::chrono::milliseconds>(retry * 2, kLongestRetry);
  }
}

Result<std::int64_t> Cache::fill(const char* kind) {
  const std::int64_t version = TRY(objects_.each(
      kind, "",
      [&] {
        const std::lock_guard lock(mutex_);
        known_.for_each([&](Known& known) { known.listed &= kKinds[known.kind] != kind; });
      },
      [&](Object&& object) {
        const std::lock_guard lock(mutex_);
        const StackKey* stack = put_locked(object, kind);
        // Of the first list every stack hears by the list of stacks.
        if (filled_.contains(kind)) tell_locked(stack);
        if (Known* known = known_.find(key_hash(object.key))) known->listed = true;
      }));
  const std::lock_guard lock(mutex_);
  // What is newer than the list is a write of ours that the list has not seen.
  std::vector<Known> gone;
  known_.for_each([&](const Known& known) {
    if (kKinds[known.kind] == kind && !known.listed && known.version <= version) {
      gone.push_back(known);
    }
  });
  for (const Known& known : gone) tell_locked(erase_locked(known));
  std::erase_if(tombstones_, [kind](const auto& one) { return one.second == kind; });
  filled_.insert(kind);
  trouble_.erase(kind);
  woken_.notify_all();
  return version;
}

void Cache::take(const WatchEvent& event, const char* kind) {
  const std::lock_guard lock(mutex_);
  if (event.type != WatchEvent::Type::Deleted) {
    tell_locked(put_locked(event.object, kind));
    return;
  }
  const std::uint32_t uid = hash_of(event.object.uid);
  tombstones_.erase(uid);
  const Known* known = known_.find(key_hash(event.object.key));
  if (known != nullptr && known->uid == uid) tell_locked(erase_locked(Known(*known)));
}

void Cache::tell_locked(const StackKey* stack) {
  if (stack != nullptr && changed_.insert(*stack).second) news_.notify_one();
}

const StackKey* Cache::put_locked(const Object& object, const char* kind) {
  const StackKey stack = stack_of(object);
  const std::uint32_t uid = hash_of(object.uid);
  if (tombstones_.contains(uid)) return nullptr;
  const std::size_t key = key_hash(object.key);
  if (const Known* known = known_.find(key)) {
    if (object.resource_version <= known->version) return nullptr;
    if (*known->stack != stack) tell_locked(erase_locked(Known(*known)));
  }
  if (stack.name.empty()) return nullptr;
  const auto place = stacks_.try_emplace(stack).first;
  known_.put({key, object.resource_version, &place->first, uid, index_of(kind)});
  return put_child(open_locked(place->second), object) ? &place->first : nullptr;
}

const StackKey* Cache::erase_locked(const Known& known) {
  Children& children = open_locked(stacks_.at(*known.stack));
  const bool changes = remove_child(children, *known.stack, kKinds[known.kind], known.key);
  known_.erase(known.key);
  return changes ? known.stack : nullptr;
}

Children& Cache::open_locked(Shelf& shelf) {
  if (!shelf.open) {
    if (open_.size() >= kMostOpen) {
      pack_locked(std::min_element(open_.begin(), open_.end(),
                                   [](auto* one, auto* other) { return one->used < other->used; }));
    }
    shelf.open = std::make_unique<Children>(
        shelf.packed == Depot::kNothing ? Children{} : unpack(packed_.get(shelf.packed)));
    packed_.drop(std::exchange(shelf.packed, Depot::kNothing));
    open_.push_back(&shelf);
  }
  shelf.used = std::chrono::steady_clock::now();
  return *shelf.open;
}

std::vector<Cache::Shelf*>::iterator Cache::pack_locked(std::vector<Shelf*>::iterator shelf) {
  (*shelf)->packed = packed_.put(pack(*(*shelf)->open));
  (*shelf)->open.reset();
  return open_.erase(shelf);
}

void Cache::pack_unused_locked() {
  const auto now = std::chrono::steady_clock::now();
  for (auto shelf = open_.begin(); shelf != open_.end();) {
    shelf = now - (*shelf)->used < kPackAfter ? std::next(shelf) : pack_locked(shelf);
  }
}

std::string Cache::missing_locked() const {
  std::string missing;
  for (const char* kind : kKinds) {
    if (filled_.contains(kind)) continue;
    const auto trouble = trouble_.find(kind);
    missing += (missing.empty() ? "" : "; ") + std::string(kind);
    if (trouble != trouble_.end()) missing += " (" + trouble->second + ")";
  }
  return missing;
}

Result<Children> Cache::children_of(const StackKey& key, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const bool ready = woken_.wait_for(lock, stop, kFillPatience,
                                     [this] { return filled_.size() == std::size(kKinds); });
  if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "stopped"};
  if (!ready) return Error{ErrorKind::Unavailable, "not listed yet: " + missing_locked()};
  const auto found = stacks_.find(key);
  if (found == stacks_.end()) return Children{};
  Children children = open_locked(found->second);
  const auto add_version = [&](std::size_t hash) {
    if (const Known* known = known_.find(hash)) children.versions[hash] = known->version;
  };
  for (const auto& [hash, child] : children.plain) add_version(hash);
  for (const auto& [name, job] : children.jobs) add_version(key_hash({"Job", key.ns, name}));
  for (const auto& [component, child] : children.workloads) {
    add_version(key_hash(workload_key(key, component)));
  }
  return children;
}

void Cache::remember(const Object& written) {
  const std::lock_guard lock(mutex_);
  const auto kind = std::find(std::begin(kKinds), std::end(kKinds), written.key.kind);
  if (kind != std::end(kKinds)) put_locked(written, *kind);
}

void Cache::forget(const ObjectKey& key, std::int64_t version) {
  const std::lock_guard lock(mutex_);
  const Known* known = known_.find(key_hash(key));
  // What is newer has heard of the deletion.
  if (known == nullptr || known->version > version) return;
  // The event that tells of the deletion is still to come, and older ones may be before it.
  tombstones_[known->uid] = key.kind;
  erase_locked(Known(*known));
}

std::vector<StackKey> Cache::changed(std::chrono::milliseconds patience, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, stop, patience, [this] { return !changed_.empty(); });
  pack_unused_locked();
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
