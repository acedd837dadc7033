// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace stackspec {

/// One rule of x-kubernetes-validations, in C++.
struct RuleTwin {
  std::string_view where;    ///< Kind and place in the schema: `StackSpec.spec.envFrom[]`.
  std::string_view message;  ///< Of the rule in the CRD; with `where` it is the rule's identity.
  /// `old` is never null for a rule that reads oldSelf.
  bool (*holds)(const nlohmann::json& self, const nlohmann::json* old) = nullptr;
  /// Twin of messageExpression; null when the rule has none.
  std::string (*explain)(const nlohmann::json& self, const nlohmann::json* old) = nullptr;
};

std::span<const RuleTwin> rule_twins();
const RuleTwin* find_rule_twin(std::string_view where, std::string_view message);

}  // namespace stackspec
