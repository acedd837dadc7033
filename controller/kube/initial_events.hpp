// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "kube/kinds.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

/// Reads a watch that begins with all there is: its lines up to the one that says so.
class InitialEvents {
 public:
  InitialEvents(const KindInfo& kind, const std::function<void(Object&&)>& on_object)
      : kind_(kind), on_object_(on_object) {}

  /// False: no more is wanted, because it is complete or will never be.
  bool take(std::string_view line);

  /// An error came in place of the first object: it is not to be had from this server.
  bool is_refused() const { return refused_; }

  /// Objects that were handed out.
  int count() const { return count_; }

  /// To watch from; nothing when it was not complete.
  std::optional<std::int64_t> version() const { return version_; }

 private:
  const KindInfo& kind_;
  const std::function<void(Object&&)>& on_object_;
  int count_ = 0;
  std::optional<std::int64_t> version_;
  bool refused_ = false;
};

}  // namespace stackspec
