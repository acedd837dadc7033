// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "platform/kubernetes/cache.hpp"

namespace stackspec::kubernetes {

/// The only place of this platform that writes. Every write is conditional on the state it was
/// decided on, and what it answered is in the cache before the next look. Any thread.
class Writer {
 public:
  Writer(ObjectApi& objects, ChildCache& cache, const Clock& clock)
      : objects_(objects), cache_(cache), clock_(clock) {}

  /// Makes the object be as wanted; nothing is written when it is. `children` saves the look at
  /// objects that are known to be right.
  /// Errors: Invalid when somebody else's object has the name, Unavailable when it is one that
  /// goes, Conflict when somebody wrote at the same time.
  Result<void> ensure(const Stack& stack, const Children& children, Object wanted);

  /// Makes the claim, or grows it; takes up one without an owner. A storage class that cannot grow
  /// is asked again every minute.
  Result<void> ensure_claim(const Children& children, const Object& wanted);

  /// Creates an object whose name says all about it; one that is there is the same.
  Result<void> create_once(const Children& children, const Object& wanted);

  /// Writes parts of a child over, in the state with their resourceVersion or, when that is 0, in
  /// the one in `children`; in the newest when that was another. Error: NotFound.
  Result<void> set(const Children& children, ObjectPatch parts);

  /// Reads, lets `change` change, writes when it did. Error: NotFound.
  Result<void> modify(const ObjectKey& key, const std::function<void(Object&)>& change);

  Result<Object> create(const Object& object);
  /// What is gone already is fine.
  Result<void> remove(const Children& children, const ObjectKey& key);

  /// The storage class refused to grow the claim to that size, in the last minute.
  bool refused(const ObjectKey& claim, const std::string& size) const;
  /// Why a claim is smaller than wanted for good, for people; empty: it is not.
  std::string cannot_grow(const Children& children, const Object& wanted) const;

 private:
  /// The object as it is; nothing when it was made just now. `is_known`: there is one by that name.
  Result<std::optional<Object>> find_or_create(const Object& wanted, bool is_known);
  Result<void> patch(const ObjectPatch& parts);

  ObjectApi& objects_;
  ChildCache& cache_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, SteadyTime> refused_;  // guarded by mutex_
};

/// The child says all that was wanted.
bool is_right(const Children& children, const Object& wanted);
/// The claim is there and big enough.
bool is_big_enough(const Children& children, const Object& wanted);

}  // namespace stackspec::kubernetes
