// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace stackspec {

struct ObjectKey {
  std::string kind;  ///< StackSpec, Secret, Deployment, …: on a cluster those of kube/kinds.hpp.
  std::string ns;    ///< Empty for a kind that lies in no namespace.
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

/// An object whose deletion takes this one with it, where something collects garbage.
struct Owner {
  std::string api_version;
  std::string kind;
  std::string name;
  std::string uid;
  bool controller = true;
  bool block_deletion = false;  ///< Not for owners of ours: it needs a right on their finalizers.
  friend bool operator==(const Owner&, const Owner&) = default;
};

/// One object in the words of the Kubernetes API.
struct Object {
  ObjectKey key;
  std::string uid;                    ///< Given by create().
  std::int64_t resource_version = 0;  ///< One counter for all kinds; grows with every write.
  std::int64_t generation = 0;     ///< Grows when `content` changes, not with status or metadata.
  std::string creation_timestamp;  ///< RFC 3339
  std::string deletion_timestamp;  ///< Empty unless being deleted.
  std::vector<std::string> finalizers;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  std::vector<Owner> owners;
  nlohmann::json content =
      nlohmann::json::object();  ///< All but apiVersion, kind, metadata, status.
  nlohmann::json status = nlohmann::json::object();
};

/// Parts of an object that are written over; the rest stays as it is.
struct ObjectPatch {
  ObjectKey key = {};
  std::int64_t resource_version = 0;                    ///< Of the state that is written over.
  std::map<std::string, std::string> labels = {};       ///< Added, or replaced.
  std::map<std::string, std::string> annotations = {};  ///< Added, or replaced.
  std::vector<Owner> owners = {};                       ///< All of them, unless empty.
  /// By JSON pointer, as `/spec/suspend`. What holds the last name must be there.
  std::map<std::string, nlohmann::json> content = {};
};

struct ObjectList {
  std::vector<Object> items;          ///< By namespace and name.
  std::int64_t resource_version = 0;  ///< Watch from here to miss nothing.
};

struct WatchEvent {
  enum class Type { Added, Modified, Deleted };
  Type type = Type::Added;
  Object object;  ///< As of this event; for Deleted the last state.
};

/// Where objects live, in the semantics of the Kubernetes API: every write conditional, watches
/// from a version. All members may be called from any thread.
class ObjectApi {
 public:
  virtual ~ObjectApi() = default;

  /// Error: NotFound.
  virtual Result<Object> get(const ObjectKey& key) = 0;

  /// All of a kind; of every namespace when `ns` is empty.
  virtual Result<ObjectList> list(const std::string& kind, const std::string& ns) = 0;

  /// As list(), one object after the other and in no order, so that nobody has to hold them all.
  /// `begin` is called first, and again when it has to begin anew: what came before is void then.
  /// Both on the calling thread. Returns the version to watch from.
  virtual Result<std::int64_t> each(const std::string& kind, const std::string& ns,
                                    const std::function<void()>& begin,
                                    const std::function<void(Object&&)>& take) {
    auto all = list(kind, ns);
    if (!all) return std::move(all).error();
    begin();
    for (Object& object : all->items) take(std::move(object));
    return all->resource_version;
  }

  /// Stores `object` (its status too) and returns it with uid, versions and times.
  /// Error: Conflict when it exists.
  virtual Result<Object> create(const Object& object) = 0;

  /// Replaces content, labels, annotations, owners and finalizers; status is kept as stored.
  /// Generation grows only if content changed; nothing is written when nothing changed. An object
  /// being deleted goes when its last finalizer goes. Errors: NotFound, Conflict (resource_version
  /// is not the stored).
  virtual Result<Object> update(const Object& object) = 0;

  /// Writes parts of an object without reading it first, where it lies on a server. Errors as
  /// update(), and Invalid for a path into nothing.
  virtual Result<Object> patch(const ObjectPatch& patch);

  /// Replaces status alone. Errors as update().
  virtual Result<Object> update_status(const Object& object) = 0;

  /// Deletes, or marks as being deleted while finalizers remain. `resource_version` 0:
  /// whatever is stored. Errors: NotFound, Conflict (uid or version differ).
  virtual Result<void> remove(const ObjectKey& key, const std::string& uid,
                              std::int64_t resource_version) = 0;

  /// Hands every change of a kind (all namespaces) after `from` to `on_event`, in order, on the
  /// calling thread, until `stop`. Errors: Expired (list again), Cancelled when stopped.
  virtual Result<void> watch(const std::string& kind, std::int64_t from,
                             const std::function<void(const WatchEvent&)>& on_event,
                             std::stop_token stop) = 0;
};

/// list() made of each().
Result<ObjectList> list_by_each(ObjectApi& objects, const std::string& kind, const std::string& ns);

/// On SQLite: WAL, synchronous=FULL; an acknowledged write survives kill -9 and power loss. The
/// file is made with mode 0600. ":memory:" gives a store for tests.
/// Error: Unavailable with the path and SQLite's words.
Result<std::unique_ptr<ObjectApi>> make_sqlite_objects(const std::string& path);

}  // namespace stackspec
