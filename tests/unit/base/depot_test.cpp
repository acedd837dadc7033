// SPDX-License-Identifier: Apache-2.0
#include "base/depot.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace stackspec {
namespace {

/// The same at every run.
std::string noise_of(std::size_t size) {
  std::mt19937 random(7);
  std::string text;
  while (text.size() < size) text += static_cast<char>(random());
  return text;
}

/// As objects of many stacks are: the same words around a few that are its own.
std::string alike(int number) {
  std::string text;
  for (int field = 0; field < 60; ++field) {
    text += R"("a field that all have ")" + std::to_string(field) + R"(":")" +
            std::to_string(number * 7919 + field) + "\"";
  }
  return text;
}

TEST(Depot, TextsThatAreAlikeTakeLittle) {
  Depot depot;
  std::size_t bytes = 0;
  std::vector<Depot::Id> ids;
  for (int i = 0; i < 200; ++i) {
    bytes += alike(i).size();
    ids.push_back(depot.put(alike(i)));
  }
  EXPECT_LT(depot.held(), bytes / 3);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(depot.get(ids[static_cast<std::size_t>(i)]), alike(i));
}

TEST(Depot, WhatIsLongerBecomesTheDictionaryOfWhatFollows) {
  Depot depot;
  std::map<Depot::Id, std::string> kept;
  for (std::size_t size = 10; size < 200000; size = size * 5 / 4) {
    std::string text;
    for (int i = 0; text.size() < size; ++i) text += alike(i);
    text.resize(size);
    const auto id = depot.put(text);
    kept.emplace(id, std::move(text));
  }
  for (const auto& [id, text] : kept) ASSERT_EQ(depot.get(id), text);
}

TEST(Depot, GivesBackWhatWasPutIn) {
  Depot depot;
  EXPECT_TRUE(depot.get(Depot::kNothing).empty());
  depot.drop(Depot::kNothing);
  const auto one = depot.put("one");
  const auto noise = depot.put(noise_of(3000));
  const auto empty = depot.put("");
  const auto long_one = depot.put(std::string(1U << 20U, 'x'));
  EXPECT_NE(one, Depot::kNothing);
  EXPECT_NE(empty, Depot::kNothing);
  EXPECT_EQ(depot.get(one), "one");
  EXPECT_EQ(depot.get(empty), "");
  EXPECT_EQ(depot.get(noise), noise_of(3000)) << "what cannot be compressed";
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
  for (int turn = 0; turn < 4000; ++turn) {
    if (kept.size() > 500) {
      const auto gone =
          std::next(kept.begin(), static_cast<std::ptrdiff_t>(random() % kept.size()));
      depot.drop(gone->first);
      bytes -= gone->second.size();
      kept.erase(gone);
    }
    std::string text = noise_of(random() % 2000) + alike(turn);
    const auto id = depot.put(text);
    bytes += text.size();
    ASSERT_TRUE(kept.emplace(id, std::move(text)).second) << "a name that is in use";
    most = std::max(most, depot.held());
  }
  for (const auto& [id, text] : kept) ASSERT_EQ(depot.get(id), text);
  EXPECT_LT(most, 3 * bytes / 2) << "12 MB were put in; what was dropped is given back";
}

}  // namespace
}  // namespace stackspec
