// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace stackspec {

/// How an API server calls a kind.
struct KindInfo {
  std::string_view kind;
  std::string_view group;  ///< Empty for the core group.
  std::string_view version;
  std::string_view plural;
  bool namespaced = true;
  bool has_status = false;  ///< We write its status; it is a subresource.

  std::string api_version() const;  ///< `apps/v1`, or `v1` for the core group.
  std::string resource() const;     ///< `deployments.apps`, as RBAC and kubectl write it.
};

/// Null for a kind that this program has nothing to do with.
const KindInfo* find_kind(std::string_view kind);

}  // namespace stackspec
