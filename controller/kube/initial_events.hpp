// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "kube/kinds.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

/// Makes a list of a watch that begins with all there is: its lines up to the one that says so.
class InitialEvents {
 public:
  explicit InitialEvents(const KindInfo& kind) : kind_(kind) {}

  /// False: no more is wanted, because it is complete or will never be.
  bool take(std::string_view line);

  /// An error came in place of the first object: it is not to be had from this server.
  bool is_refused() const { return refused_; }

  /// Nothing when it is not complete. Call once.
  std::optional<ObjectList> all();

 private:
  const KindInfo& kind_;
  ObjectList all_;
  bool complete_ = false;
  bool refused_ = false;
};

}  // namespace stackspec
