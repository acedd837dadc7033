// SPDX-License-Identifier: Apache-2.0
#include "api/conditions.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

TEST(Conditions, KeepTheTimeOfTheirLastTransition) {
  const std::string now = "2026-11-21T10:00:00Z";
  const std::string earlier = "2026-11-20T09:00:00Z";
  const struct {
    const char* name;
    std::vector<Condition> before;
    std::string time;
  } rows[] = {
      {"there was none", {}, now},
      {"the same with another reason",
       {{"Ready", "False", "Starting", "1 of 2", 1, earlier}},
       earlier},
      {"another status", {{"Ready", "True", "Settled", "", 1, earlier}}, now},
      {"another type", {{"Stalled", "False", "Settled", "", 1, earlier}}, now},
      {"one of several",
       {{"Stalled", "True", "Latched", "", 1, "2026-11-19T08:00:00Z"},
        {"Ready", "False", "Latched", "", 1, earlier}},
       earlier},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<Condition> conditions;
    add_condition(conditions, {"Ready", "False", "Down", "none answers", 2, now}, row.before);
    ASSERT_EQ(conditions.size(), 1U);
    EXPECT_EQ(conditions[0], (Condition{"Ready", "False", "Down", "none answers", 2, row.time}));
  }
}

}  // namespace
}  // namespace stackspec
