// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/known_objects.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace stackspec::kubernetes {
namespace {

TEST(KnownObjects, FindWhatWasPutAndNothingElse) {
  KnownObjects known;
  std::map<std::size_t, std::int64_t> expected;
  std::mt19937_64 random(1);  // the same at every run
  for (std::int64_t version = 1; version <= 3000; ++version) {
    const std::size_t key = random() % 1000 * 0x9E3779B97F4A7C15U;
    if (version % 3 == 0) {
      known.erase(key);
      expected.erase(key);
    } else {
      known.put({.key = key, .version = version});
      expected[key] = version;
    }
  }
  std::size_t count = 0;
  known.for_each([&](const Known& one) {
    ++count;
    EXPECT_EQ(expected.at(one.key), one.version);
  });
  EXPECT_EQ(count, expected.size());
  for (const auto& [key, version] : expected) {
    ASSERT_NE(known.find(key), nullptr);
    EXPECT_EQ(known.find(key)->version, version);
    EXPECT_EQ(known.find(key + 1), nullptr);
  }
}

TEST(KnownObjects, StayListedWhenWritten) {
  KnownObjects known;
  known.put({.key = 7, .version = 1});
  known.find(7)->listed = true;
  known.put({.key = 7, .version = 2});
  EXPECT_TRUE(known.find(7)->listed);
  EXPECT_EQ(known.find(7)->version, 2);
}

}  // namespace
}  // namespace stackspec::kubernetes
