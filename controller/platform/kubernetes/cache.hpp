// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "objects/object_api.hpp"
#include "platform/kubernetes/children.hpp"

namespace stackspec::kubernetes {

/// Kinds of the children; an ObjectApi should serve them by kStackLabel alone, but for
/// StackBackup, which people make too.
std::span<const char* const> watched_kinds();

/// The children of all stacks in memory, kept true by one watch a kind. Own writes are put in at
/// once, so that nobody decides on a state older than them. Any thread.
class ChildCache {
 public:
  virtual ~ChildCache() = default;

  /// The children of one stack, once every kind was listed. Errors: Unavailable when that takes
  /// longer than a few seconds, Cancelled.
  virtual Result<Children> children_of(const StackKey& key, std::stop_token stop) = 0;

  /// What a write of ours answered.
  virtual void remember(const Object& written) = 0;
  /// What we deleted, in the state with that resourceVersion.
  virtual void forget(const ObjectKey& key, std::int64_t version) = 0;

  /// Stacks of which something changed by others since the last call, or was listed again. Waits
  /// for it, `patience` at most; called over and over, it also packs what nobody uses.
  virtual std::vector<StackKey> changed(std::chrono::milliseconds patience,
                                        std::stop_token stop) = 0;
};

/// Starts the watches; they end with the cache. `objects` must outlive it.
std::unique_ptr<ChildCache> make_child_cache(ObjectApi& objects);

}  // namespace stackspec::kubernetes
