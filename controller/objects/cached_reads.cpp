// SPDX-License-Identifier: Apache-2.0
#include "objects/cached_reads.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "base/depot.hpp"
#include "objects/object_json.hpp"

namespace stackspec {

namespace {

/// Of each kind, while there is work: what is in use is read and written many times a second.
constexpr std::size_t kMostOpen = 8;

/// What is known of one kind.
class Store {
 public:
  explicit Store(const Keeps& keeps) : keeps_(keeps) {}

  /// A list of all: this gives its number for put_listed() of each object and for end_list().
  /// There may be several at a time.
  int begin_list() {
    const std::lock_guard lock(mutex_);
    return ++list_;
  }
  void put_listed(const Object& object, int list) {
    const std::lock_guard lock(mutex_);
    if (Stored* stored = put_locked(object)) stored->list = std::max(stored->list, list);
  }
  void end_list(int list, std::int64_t version) {
    const std::lock_guard lock(mutex_);
    // What is newer than the list is a write of ours that the list has not seen.
    for (auto one = objects_.begin(); one != objects_.end();) {
      const bool gone = one->second.list < list && one->second.version <= version;
      if (gone) drop_locked(one->second);
      one = gone ? objects_.erase(one) : std::next(one);
    }
    version_ = std::max(version_, version);
    complete_ = true;
  }

  void put(const Object& object) {
    const std::lock_guard lock(mutex_);
    put_locked(object);
  }

  void erase(const ObjectKey& key) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find({key.ns, key.name});
    if (found == objects_.end()) return;
    drop_locked(found->second);
    objects_.erase(found);
  }

  /// Reads are answered from here between these two, when all before `from` is known. They nest
  /// when watches of a kind overlap.
  void begin_watch(std::int64_t from) {
    const std::lock_guard lock(mutex_);
    complete_ = complete_ && from <= version_;
    ++watches_;
  }
  void end_watch() {
    const std::lock_guard lock(mutex_);
    if (--watches_ == 0) complete_ = false;
  }

  /// What is read is read again soon.
  std::optional<Result<Object>> get(const ObjectKey& key) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find({key.ns, key.name});
    if (!is_live() || found == objects_.end()) return std::nullopt;
    auto object = read_locked(found->second);
    if (object && !found->second.open) open_locked(found->second, *object);
    return object;
  }

  void rest() {
    const std::lock_guard lock(mutex_);
    while (!open_.empty()) pack_oldest_locked();
  }

  std::optional<Result<ObjectList>> list(const std::string& ns) const {
    const std::lock_guard lock(mutex_);
    if (!is_live() || !whole_) return std::nullopt;
    ObjectList list;
    list.resource_version = version_;
    for (auto one = objects_.lower_bound({ns, ""}); one != objects_.end() && one->first.first == ns;
         ++one) {
      auto object = read_locked(one->second);
      if (!object) return std::move(object).error();
      list.items.push_back(std::move(object).value());
    }
    return list;
  }

 private:
  struct Stored {
    std::int64_t version = 0;
    int list = 0;                        ///< The newest that had it.
    std::unique_ptr<Object> open;        ///< While it is in use; then it is not packed.
    Depot::Id packed = Depot::kNothing;  ///< MessagePack: less than text, and sooner read.
  };

  bool is_live() const { return complete_ && watches_ > 0; }

  Result<Object> read_locked(const Stored& stored) const {
    if (stored.open) return *stored.open;
    return object_from_json(nlohmann::json::from_msgpack(packed_.get(stored.packed), true, false));
  }

  /// Until the next change; nothing when it is not kept.
  Stored* put_locked(const Object& object) {
    version_ = std::max(version_, object.resource_version);
    if (keeps_ && !keeps_(object)) {
      whole_ = false;
      return nullptr;
    }
    Stored& stored = objects_[{object.key.ns, object.key.name}];
    // The event of an older write may come after the answer to our own newer one.
    if (object.resource_version <= stored.version) return &stored;
    stored.version = object.resource_version;
    drop_locked(stored);
    open_locked(stored, object);
    return &stored;
  }

  void open_locked(Stored& stored, const Object& object) {
    packed_.drop(std::exchange(stored.packed, Depot::kNothing));
    stored.open = std::make_unique<Object>(object);
    open_.push_back(&stored);
    if (open_.size() > kMostOpen) pack_oldest_locked();
  }

  void pack_oldest_locked() {
    Stored& stored = *open_.front();
    const auto packed = nlohmann::json::to_msgpack(to_json(*stored.open));
    stored.packed = packed_.put({reinterpret_cast<const char*>(packed.data()), packed.size()});
    stored.open.reset();
    open_.pop_front();
  }

  void drop_locked(Stored& stored) {
    packed_.drop(std::exchange(stored.packed, Depot::kNothing));
    if (stored.open) std::erase(open_, &stored);
    stored.open.reset();
  }

  const Keeps& keeps_;
  mutable std::mutex mutex_;
  /// By namespace and name.
  std::map<std::pair<std::string, std::string>, Stored>
      objects_;               // guarded by mutex_, as all below
  std::deque<Stored*> open_;  ///< The newest at the end.
  Depot packed_;
  std::int64_t version_ = 0;
  int list_ = 0;           ///< Number of the newest list.
  bool complete_ = false;  ///< Nothing of the kind is unknown as of `version_`.
  bool whole_ = true;      ///< Nothing was left out.
  int watches_ = 0;
};

class Reads final : public CachedReads {
 public:
  Reads(ObjectApi& inner, const std::set<std::string>& kinds, Keeps keeps)
      : inner_(inner), keeps_(std::move(keeps)) {
    for (const std::string& kind : kinds) stores_.try_emplace(kind, keeps_);
  }

  Result<Object> get(const ObjectKey& key) override {
    if (Store* store = of(key.kind)) {
      if (auto known = store->get(key)) return std::move(*known);
    }
    return inner_.get(key);
  }

  Result<ObjectList> list(const std::string& kind, const std::string& ns) override {
    Store* store = of(kind);
    if (store != nullptr && !ns.empty()) {
      if (auto known = store->list(ns)) return std::move(*known);
    }
    if (store != nullptr && ns.empty()) return list_by_each(*this, kind, ns);
    return inner_.list(kind, ns);
  }

  Result<std::int64_t> each(const std::string& kind, const std::string& ns,
                            const std::function<void()>& begin,
                            const std::function<void(Object&&)>& take) override {
    Store* store = of(kind);
    if (store == nullptr || !ns.empty()) return inner_.each(kind, ns, begin, take);
    int list = 0;
    const auto version = inner_.each(
        kind, ns,
        [&] {
          list = store->begin_list();
          begin();
        },
        [&](Object&& object) {
          store->put_listed(object, list);
          take(std::move(object));
        });
    if (version) store->end_list(list, *version);
    return version;
  }

  Result<Object> create(const Object& object) override { return kept(inner_.create(object)); }
  Result<Object> update(const Object& object) override { return kept(inner_.update(object)); }
  Result<Object> patch(const ObjectPatch& patch) override { return kept(inner_.patch(patch)); }
  Result<Object> update_status(const Object& object) override {
    return kept(inner_.update_status(object));
  }

  Result<void> remove(const ObjectKey& key, const std::string& uid,
                      std::int64_t resource_version) override {
    TRY(inner_.remove(key, uid, resource_version));
    // Gone, or marked: whoever asks next asks the server.
    if (Store* store = of(key.kind)) store->erase(key);
    return {};
  }

  Result<void> watch(const std::string& kind, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override {
    Store* store = of(kind);
    if (store == nullptr) return inner_.watch(kind, from, on_event, std::move(stop));
    store->begin_watch(from);
    const auto ended = inner_.watch(
        kind, from,
        [&](const WatchEvent& event) {
          if (event.type == WatchEvent::Type::Deleted) {
            store->erase(event.object.key);
          } else {
            store->put(event.object);
          }
          on_event(event);
        },
        std::move(stop));
    store->end_watch();
    return ended;
  }

  void rest() override {
    for (auto& [kind, store] : stores_) store.rest();
  }

 private:
  Store* of(const std::string& kind) {
    const auto found = stores_.find(kind);
    return found == stores_.end() ? nullptr : &found->second;
  }

  Result<Object> kept(Result<Object> written) {
    if (written) {
      if (Store* store = of(written->key.kind)) store->put(*written);
    }
    return written;
  }

  ObjectApi& inner_;
  const Keeps keeps_;
  std::map<std::string, Store> stores_;  // The map itself never changes.
};

}  // namespace

std::unique_ptr<CachedReads> make_cached_reads(ObjectApi& inner, std::set<std::string> kinds,
                                               Keeps keeps) {
  return std::make_unique<Reads>(inner, kinds, std::move(keeps));
}

}  // namespace stackspec
