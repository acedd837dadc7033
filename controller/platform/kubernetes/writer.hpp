// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "platform/kubernetes/cache.hpp"

namespace stackspec::kubernetes {

/// The only place of this platform that writes. Every write is conditional on the state it was
/// decided on, and what it answered is in the cache before the next look. Any thread.
class Writer {
 public:
  Writer(ObjectApi& objects, ChildCache& cache) : objects_(objects), cache_(cache) {}

  /// Makes the object be as wanted; nothing is written when it is. `children` saves the look at
  /// objects that are known to be right.
  /// Errors: Conflict when somebody else's object has the name, or wrote at the same time.
  Result<void> ensure(const Stack& stack, const Children& children, Object wanted);

  /// Makes the claim, or grows it. A storage class that cannot grow is told once in the log.
  Result<void> ensure_claim(const Children& children, const Object& wanted);

  /// Creates an object whose name says all about it; one that is there is the same.
  Result<void> create_once(const Children& children, const Object& wanted);

  /// Reads, lets `change` change, writes when it did. Error: NotFound.
  Result<void> modify(const ObjectKey& key, const std::function<void(Object&)>& change);

  Result<Object> create(const Object& object);
  /// What is gone already is fine.
  Result<void> remove(const ObjectKey& key);

  /// The storage class refused to grow the claim to that size.
  bool refused(const ObjectKey& claim, const std::string& size) const;

 private:
  ObjectApi& objects_;
  ChildCache& cache_;
  mutable std::mutex mutex_;
  std::set<std::string> refused_;  // guarded by mutex_
};

/// The child says all that was wanted.
bool is_right(const Children& children, const Object& wanted);
/// The claim is there and big enough.
bool is_big_enough(const Children& children, const Object& wanted);

}  // namespace stackspec::kubernetes
