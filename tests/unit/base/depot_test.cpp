// SPDX-License-Identifier: Apache-2.0
#include "base/depot.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace stackspec {
namespace {

TEST(Depot, GivesBackWhatWasPutIn) {
  Depot depot;
  EXPECT_TRUE(depot.get(Depot::kNothing).empty());
  depot.drop(Depot::kNothing);
  const auto one = depot.put("one");
  const auto empty = depot.put("");
  const auto long_one = depot.put(std::string(1U << 20U, 'x'));
  EXPECT_NE(one, Depot::kNothing);
  EXPECT_NE(empty, Depot::kNothing);
  EXPECT_EQ(depot.get(one), "one");
  EXPECT_EQ(depot.get(empty), "");
  EXPECT_EQ(depot.get(long_one), std::string(1U << 20U, 'x'));
  depot.drop(one);
  EXPECT_EQ(depot.get(one), "");
}

TEST(Depot, KeepsTheRestWhileTextsComeAndGo) {
  Depot depot;
  std::map<Depot::Id, std::string> kept;
  std::mt19937 random(1);  // the same at every run
  std::size_t bytes = 0;
  std::size_t most = 0;
  for (int turn = 0; turn < 20000; ++turn) {
    if (kept.size() > 500) {
      const auto gone =
          std::next(kept.begin(), static_cast<std::ptrdiff_t>(random() % kept.size()));
      depot.drop(gone->first);
      bytes -= gone->second.size();
      kept.erase(gone);
    }
    std::string text(random() % 2000, static_cast<char>('a' + turn % 26));
    const auto id = depot.put(text);
    bytes += text.size();
    ASSERT_TRUE(kept.emplace(id, std::move(text)).second) << "a name that is in use";
    most = std::max(most, depot.held());
  }
  for (const auto& [id, text] : kept) ASSERT_EQ(depot.get(id), text);
  EXPECT_LT(most, 2 * bytes) << "20 MB were put in; what was dropped is given back";
}

}  // namespace
}  // namespace stackspec
