// SPDX-License-Identifier: Apache-2.0
#include "objects/cached_reads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>

#include "fakes/eventually.hpp"
#include "fakes/faulty_objects.hpp"

namespace stackspec {
namespace {

class CachedReadsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = make_sqlite_objects(":memory:").value();
    server_ = std::make_unique<FaultyObjects>(*store_);
    server_->plan_reads([this](int) {
      ++reads_;
      return ReadFault{};
    });
    cached_ = make_cached_reads(*server_, {"StackSpec"});
    ASSERT_TRUE(store_->create(numbered("a", 1)));
  }
  void TearDown() override { watcher_ = {}; }

  static Object numbered(const std::string& name, int number) {
    Object object;
    object.key = {"StackSpec", "default", name};
    object.content["number"] = number;
    return object;
  }

  void watch() {
    const auto from = cached_->list("StackSpec", "")->resource_version;
    watcher_ = std::jthread([this, from](std::stop_token stop) {
      static_cast<void>(cached_->watch(
          "StackSpec", from, [this](const WatchEvent&) { ++events_; }, stop));
    });
    // Until the watch has begun, reads are not answered from memory.
    ASSERT_TRUE(eventually([&] {
      const int before = reads_;
      static_cast<void>(number_of("a"));
      return reads_ == before;
    }));
  }

  int number_of(const std::string& name) {
    const auto object = cached_->get({"StackSpec", "default", name});
    return object ? object->content.value("number", 0) : -1;
  }

  std::unique_ptr<ObjectApi> store_;
  std::unique_ptr<FaultyObjects> server_;  ///< Without faults: it only counts.
  std::atomic<int> reads_{0};
  std::unique_ptr<CachedReads> cached_;
  std::atomic<int> events_{0};
  std::jthread watcher_;
};

TEST_F(CachedReadsTest, AsksTheServerNothingWhileAWatchRuns) {
  watch();
  const int before = reads_;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(number_of("a"), 1);
    EXPECT_EQ(cached_->list("StackSpec", "default")->items.size(), 1U);
    EXPECT_TRUE(cached_->list("StackSpec", "other")->items.empty());
  }
  EXPECT_EQ(reads_, before);
}

TEST_F(CachedReadsTest, AsksTheServerWithoutAWatch) {
  EXPECT_EQ(number_of("a"), 1);
  auto object = *store_->get({"StackSpec", "default", "a"});
  object.content["number"] = 2;
  ASSERT_TRUE(store_->update(object));
  EXPECT_EQ(number_of("a"), 2);
  watch();
  watcher_ = {};
  object = *store_->get({"StackSpec", "default", "a"});
  object.content["number"] = 3;
  ASSERT_TRUE(store_->update(object));
  EXPECT_EQ(number_of("a"), 3) << "the watch has ended, memory is not kept true any more";
}

TEST_F(CachedReadsTest, SeesOwnWritesAtOnceAndThoseOfOthersByTheirEvent) {
  watch();
  auto object = *cached_->get({"StackSpec", "default", "a"});
  for (int number = 2; number < 50; ++number) {
    object.content["number"] = number;
    object = *cached_->update(object);
    ASSERT_EQ(number_of("a"), number);
  }
  object.content["number"] = 50;
  ASSERT_TRUE(store_->update(object));
  EXPECT_TRUE(eventually([&] { return number_of("a") == 50; }));
  ASSERT_TRUE(store_->create(numbered("b", 7)));
  EXPECT_TRUE(eventually([&] { return number_of("b") == 7; }));
}

TEST_F(CachedReadsTest, AListBeginsAnewAndForgetsWhatVanishedUnseen) {
  watch();
  watcher_ = {};
  ASSERT_TRUE(store_->remove({"StackSpec", "default", "a"}, "", 0));
  ASSERT_TRUE(store_->create(numbered("b", 2)));
  const auto from = cached_->list("StackSpec", "")->resource_version;
  watcher_ = std::jthread([this, from](std::stop_token stop) {
    static_cast<void>(cached_->watch(
        "StackSpec", from, [](const WatchEvent&) {}, stop));
  });
  ASSERT_TRUE(eventually([&] {
    const int before = reads_;
    EXPECT_EQ(number_of("b"), 2);
    return reads_ == before;
  }));
  const auto known = cached_->list("StackSpec", "default");
  ASSERT_EQ(known->items.size(), 1U);
  EXPECT_EQ(known->items.front().key.name, "b");
}

TEST_F(CachedReadsTest, OfTwoListsAtATimeNeitherLosesWhatTheOtherSaw) {
  ASSERT_TRUE(store_->create(numbered("b", 2)));
  bool nested = false;
  const auto version = cached_->each(
      "StackSpec", "", [] {},
      [&](Object&&) {
        if (std::exchange(nested, true)) return;
        ASSERT_TRUE(cached_->each(
            "StackSpec", "", [] {}, [](Object&&) {}));
      });
  ASSERT_TRUE(version);
  watcher_ = std::jthread([this, from = *version](std::stop_token stop) {
    static_cast<void>(cached_->watch(
        "StackSpec", from, [](const WatchEvent&) {}, stop));
  });
  ASSERT_TRUE(eventually([&] {
    const int before = reads_;
    static_cast<void>(number_of("a"));
    return reads_ == before;
  }));
  const int before = reads_;
  EXPECT_EQ(cached_->list("StackSpec", "default")->items.size(), 2U);
  EXPECT_EQ(reads_, before);
}

TEST_F(CachedReadsTest, ForgetsWhatWasDeleted) {
  watch();
  ASSERT_TRUE(store_->create(numbered("b", 7)));
  ASSERT_TRUE(eventually([&] { return number_of("b") == 7; }));
  ASSERT_TRUE(cached_->remove({"StackSpec", "default", "a"}, "", 0));
  EXPECT_EQ(number_of("a"), -1);
  ASSERT_TRUE(store_->remove({"StackSpec", "default", "b"}, "", 0));
  EXPECT_TRUE(eventually([&] { return number_of("b") == -1; }));
  EXPECT_TRUE(cached_->list("StackSpec", "default")->items.empty());
}

TEST_F(CachedReadsTest, TellsTheSameOfWhatIsInUseAndOfWhatIsPacked) {
  watch();
  constexpr int kMany = 100;  // more than are in use at a time
  for (int number = 2; number <= kMany; ++number) {
    ASSERT_TRUE(cached_->create(numbered("b" + std::to_string(number), number)));
  }
  const auto expect_all = [&](int first) {
    const int before = reads_;
    for (int number = first; number <= kMany; ++number) {
      const auto read = cached_->get({"StackSpec", "default", "b" + std::to_string(number)});
      ASSERT_TRUE(read);
      EXPECT_EQ(read->content["number"], number);
    }
    EXPECT_EQ(cached_->list("StackSpec", "default")->items.size(), kMany + 2U - first);
    EXPECT_EQ(reads_, before);
  };
  expect_all(2);
  cached_->rest();
  expect_all(2);
  ASSERT_TRUE(cached_->remove({"StackSpec", "default", "b2"}, "", 0));  // packed
  cached_->rest();
  ASSERT_TRUE(cached_->get({"StackSpec", "default", "b3"}));
  ASSERT_TRUE(cached_->remove({"StackSpec", "default", "b3"}, "", 0));  // in use
  cached_->rest();
  expect_all(4);
}

TEST_F(CachedReadsTest, WhatIsNotWorthHoldingIsAskedFor) {
  cached_ = make_cached_reads(*server_, {"StackSpec"},
                              [](const Object& object) { return object.key.name != "rare"; });
  ASSERT_TRUE(store_->create(numbered("rare", 3)));
  watch();
  int before = reads_;
  EXPECT_EQ(number_of("a"), 1);
  EXPECT_EQ(reads_, before);
  EXPECT_EQ(number_of("rare"), 3);
  EXPECT_EQ(reads_, before + 1);
  before = reads_;
  EXPECT_EQ(cached_->list("StackSpec", "default")->items.size(), 2U) << "a list is never half";
  EXPECT_EQ(reads_, before + 1);
}

}  // namespace
}  // namespace stackspec
