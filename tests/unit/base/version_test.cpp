// SPDX-License-Identifier: Apache-2.0
#include "base/version.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

TEST(Version, ParsesReleasesAndNothingElse) {
  const struct {
    const char* text;
    const char* canonical;  // nullptr: refused
  } rows[] = {
      {"v1.16.6", "v1.16.6"}, {"1.16.6", "v1.16.6"}, {"v1.16", "v1.16"},    {"v0.53.8", "v0.53.8"},
      {"latest", nullptr},    {"v1", nullptr},       {"v1.", nullptr},      {"v1.16.", nullptr},
      {"v1.016", nullptr},    {"v-1.2", nullptr},    {"v1.2.3.4", nullptr}, {"", nullptr},
      {"v1.99999", nullptr},  {"vv1.2", nullptr},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    const auto version = parse_version(row.text);
    ASSERT_EQ(version.has_value(), row.canonical != nullptr);
    if (row.canonical != nullptr) {
      EXPECT_EQ(to_string(*version), row.canonical);
    }
  }
}

TEST(Version, OrdersByNumberNotByText) {
  EXPECT_LT(*parse_version("v1.9.9"), *parse_version("v1.10.0"));
  EXPECT_LT(*parse_version("v1.23.9"), *parse_version("v2.0.0"));
}

}  // namespace
}  // namespace stackspec
