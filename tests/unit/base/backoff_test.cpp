// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToItsLongestAndTakesHalfOfItByChance) {
  const Backoff backoff{800ms, 30s};
  const struct {
    int failures;
    std::chrono::milliseconds least;
  } rows[] = {{1, 400ms}, {2, 800ms}, {3, 1600ms}, {6, 12800ms}, {7, 15s}, {1000, 15s}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.failures);
    EXPECT_EQ(backoff.delay(row.failures, 0.0), row.least);
    EXPECT_EQ(backoff.delay(row.failures, 0.5), row.least * 3 / 2);
    EXPECT_LT(backoff.delay(row.failures, 0.999), row.least * 2);
  }
}

TEST(Backoff, WhoMendsWhatFailedWaitsAMinuteAtMost) {
  EXPECT_LE(Backoff{}.delay(1000, 0.999), 1min);
}

}  // namespace
}  // namespace stackspec
