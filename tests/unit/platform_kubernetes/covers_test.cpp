// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/covers.hpp"

#include <gtest/gtest.h>

#include "platform/kubernetes/render.hpp"
#include "unit/platform_kubernetes/stacks.hpp"

namespace stackspec::kubernetes {
namespace {

using nlohmann::json;

struct Case {
  const char* what;
  const char* live;
  const char* wanted;
  bool covered;
};

TEST(Covers, IgnoresDefaultsAndNothingElse) {
  const Case cases[] = {
      {"equal", R"({"a":1})", R"({"a":1})", true},
      {"default added", R"({"a":1,"protocol":"TCP"})", R"({"a":1})", true},
      {"value changed", R"({"a":2})", R"({"a":1})", false},
      {"value gone", R"({})", R"({"a":1})", false},
      {"empty text is none", R"({})", R"({"value":""})", true},
      {"empty list is none", R"({})", R"({"a":[]})", true},
      {"false is none", R"({})", R"({"a":false})", true},
      {"true is not", R"({})", R"({"a":true})", false},
      {"false made true", R"({"a":true})", R"({"a":false})", false},
      {"zero is a number", R"({})", R"({"replicas":0})", false},
      {"element added", R"({"a":[1,2]})", R"({"a":[1]})", false},
      {"element gone", R"({"a":[1]})", R"({"a":[1,2]})", false},
      {"order", R"({"a":[2,1]})", R"({"a":[1,2]})", false},
      {"default in an element", R"({"a":[{"n":1,"d":2}]})", R"({"a":[{"n":1}]})", true},
      {"list emptied", R"({"a":[1]})", R"({"a":[]})", false},
      {"quantity written differently", R"({"limits":{"cpu":"500m","memory":"1Gi"}})",
       R"({"limits":{"cpu":"0.5","memory":"1024Mi"}})", true},
      {"quantity as a number", R"({"limits":{"cpu":"2"}})", R"({"limits":{"cpu":2}})", true},
      {"another quantity", R"({"limits":{"cpu":"501m"}})", R"({"limits":{"cpu":"0.5"}})", false},
      {"a limit added", R"({"limits":{"cpu":"1","memory":"1Gi"}})", R"({"limits":{"cpu":"1"}})",
       false},
      {"command added", R"({"image":"x","command":["sh"]})", R"({"image":"x"})", false},
      {"envFrom added", R"({"image":"x","envFrom":[{}]})", R"({"image":"x"})", false},
      {"paused", R"({"replicas":1,"paused":true})", R"({"replicas":1})", false},
      {"not paused", R"({"replicas":1,"paused":false})", R"({"replicas":1})", true},
      {"another type", R"({"a":"1"})", R"({"a":1})", false},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    EXPECT_EQ(covers(json::parse(one.live), json::parse(one.wanted)), one.covered);
  }
}

TEST(Covers, SeesEveryEditOfADeployment) {
  const Stack stack = complete();
  const json wanted = render_workload(stack, component_of(stack, Component::Server)).content;
  ASSERT_TRUE(covers(wanted, wanted));
  const json flat = wanted.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (value.is_null() || value == "" || value.is_structured()) continue;
    SCOPED_TRACE(pointer);
    json edited = wanted;
    edited[json::json_pointer(pointer)] = "edited by hand";
    EXPECT_FALSE(covers(edited, wanted));
  }
}

TEST(Quantities, AreComparedByValue) {
  const std::pair<const char*, long double> cases[] = {
      {"1", 1},      {"100m", 0.1L}, {"0.1", 0.1L},
      {"1Ki", 1024}, {"1k", 1000},   {"1.5Gi", 1610612736},
      {"1e3", 1000}, {"2E", 2e18L},  {"1u", 1e-6L},
      {"-1", -1},
  };
  for (const auto& [text, value] : cases) {
    ASSERT_TRUE(quantity(text)) << text;
    EXPECT_EQ(*quantity(text), value) << text;
  }
  for (const char* text : {"", "Gi", "1Qi", "1 Gi", "x", "1Gi "}) {
    EXPECT_FALSE(quantity(text)) << text;
  }
}

}  // namespace
}  // namespace stackspec::kubernetes
