// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "api/rules.hpp"
#include "api/schema.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

/// Calls `visit(schema, where)` for every place of a schema.
template <class Visit>
void each_place(const json& schema, const std::string& where, const Visit& visit) {
  visit(schema, where);
  if (schema.contains("properties")) {
    for (const auto& [name, child] : schema["properties"].items()) {
      each_place(child, where + "." + name, visit);
    }
  }
  if (schema.contains("items")) each_place(schema["items"], where + "[]", visit);
  if (schema.contains("additionalProperties")) {
    each_place(schema["additionalProperties"], where + ".*", visit);
  }
}

TEST(Crds, AreReadableAndSmallEnoughToApply) {
  for (const EmbeddedFile& file : embedded_crds()) {
    SCOPED_TRACE(file.name);
    const auto documents = parse_yaml(file.text);
    ASSERT_TRUE(documents.has_value()) << documents.error().message;
    ASSERT_EQ(documents->size(), 1U);
    EXPECT_LT((*documents)[0].json.size(), 262144U);
  }
  EXPECT_EQ(crd_kinds().size(), 3U);
}

TEST(Crds, HaveATwinForEveryRuleAndNoOther) {
  std::set<std::string> rules;
  for (const std::string& kind : crd_kinds()) {
    each_place(*crd_schema(kind), kind, [&](const json& schema, const std::string& where) {
      if (!schema.contains("x-kubernetes-validations")) return;
      for (const json& rule : schema["x-kubernetes-validations"]) {
        const auto message = rule["message"].get<std::string>();
        rules.insert(where + " " + message);
        const RuleTwin* twin = find_rule_twin(where, message);
        ASSERT_NE(twin, nullptr) << where << ": " << message;
        EXPECT_EQ(twin->explain != nullptr, rule.contains("messageExpression")) << where;
      }
    });
  }
  EXPECT_EQ(rules.size(), rule_twins().size());
}

TEST(Crds, DescribeEveryFieldAndLimitEveryText) {
  for (const std::string& kind : crd_kinds()) {
    each_place(*crd_schema(kind), kind, [&](const json& schema, const std::string& where) {
      const bool standard = where.find(".metadata") != std::string::npos;
      if (standard || where.ends_with("[]") || where.ends_with(".*")) return;
      EXPECT_TRUE(schema.contains("description")) << where;
      const bool head = where == kind + ".apiVersion" || where == kind + ".kind";
      if (schema.value("type", "") != "string" || head) return;
      EXPECT_TRUE(schema.contains("maxLength") || schema.contains("enum") ||
                  schema.contains("format"))
          << where;
    });
  }
}

}  // namespace
}  // namespace stackspec
