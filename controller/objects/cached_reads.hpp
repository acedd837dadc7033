// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "objects/object_api.hpp"

namespace stackspec {

/// Which objects are worth holding.
using Keeps = std::function<bool(const Object&)>;

class CachedReads : public ObjectApi {
 public:
  /// There is no work for now: everything is packed.
  virtual void rest() = 0;
};

/// Answers reads from memory where a watch keeps it true, so that a pass over a settled stack asks
/// an API server nothing. For each of `kinds`: listing all namespaces asks `inner` and fills the
/// memory; while a watch that began there runs, get() and the list of one namespace are answered
/// from it; without one, and for whatever is not in it, `inner` is asked. Own writes are seen at
/// once; writes of others when their event came. Objects lie packed in memory, but for those read
/// or written last. What `keeps` says no to is not held, and asked for at `inner`. Any thread.
/// `inner` must outlive it.
std::unique_ptr<CachedReads> make_cached_reads(ObjectApi& inner, std::set<std::string> kinds,
                                               Keeps keeps = {});

}  // namespace stackspec
