// SPDX-License-Identifier: Apache-2.0
#include "base/token_bucket.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

using namespace std::chrono_literals;
const SteadyTime kNow{1h};

TEST(TokenBucket, GivesItsBurstAndThenOneEachTime) {
  TokenBucket bucket(3, 10s);
  EXPECT_TRUE(bucket.is_full(kNow));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(kNow));
  EXPECT_FALSE(bucket.take(kNow));
  EXPECT_FALSE(bucket.is_full(kNow));
  EXPECT_FALSE(bucket.take(kNow + 9999ms));
  EXPECT_TRUE(bucket.take(kNow + 10s));
  EXPECT_FALSE(bucket.take(kNow + 10s)) << "what was refused cost nothing, what was given did";
  EXPECT_TRUE(bucket.is_full(kNow + 40s));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(kNow + 1h));
  EXPECT_FALSE(bucket.take(kNow + 1h)) << "a long rest saves up no more than the burst";
}

TEST(TokenBucket, GivesInAdvanceAndSaysHowLongToWait) {
  TokenBucket bucket(2, 100ms);
  const int waits[] = {0, 0, 100, 200, 300};
  for (const int wait : waits) EXPECT_EQ(bucket.reserve(kNow).count(), wait);
  EXPECT_EQ(bucket.reserve(kNow + 400ms).count(), 0);
}

}  // namespace
}  // namespace stackspec
