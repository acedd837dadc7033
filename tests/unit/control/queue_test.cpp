// SPDX-License-Identifier: Apache-2.0
#include "control/queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace stackspec {
namespace {

using namespace std::chrono_literals;
const SteadyTime kNow{1h};
const StackKey kCrm{"prod", "crm"};
const StackKey kAid{"prod", "aid"};

TEST(Queue, MergesRequestsAndKeepsTheEarliest) {
  Queue queue;
  queue.add(kCrm, kNow + 5s);
  queue.add(kCrm, kNow + 1s);
  queue.add(kCrm, kNow + 9s);
  EXPECT_EQ(queue.take_due(kNow), std::nullopt);
  EXPECT_EQ(queue.take_due(kNow + 1s), kCrm);
  queue.done(kCrm);
  EXPECT_EQ(queue.take_due(kNow + 1h), std::nullopt);
}

TEST(Queue, HoldsBackAStackBeingWorkedOn) {
  Queue queue;
  queue.add(kCrm, kNow);
  ASSERT_EQ(queue.take_due(kNow), kCrm);
  queue.add(kCrm, kNow);
  EXPECT_EQ(queue.take_due(kNow), std::nullopt);
  queue.add(kAid, kNow + 1s);
  EXPECT_EQ(queue.take_due(kNow + 1s), kAid) << "one busy stack must not block another";
  queue.done(kCrm);
  EXPECT_EQ(queue.take_due(kNow), kCrm);
}

TEST(Queue, WhatWasDueFirstGoesFirst) {
  Queue queue;
  queue.add(kAid, kNow);
  queue.add(kCrm, kNow - 1s);
  EXPECT_EQ(queue.take_due(kNow), kCrm);
  EXPECT_EQ(queue.take_due(kNow), kAid);
}

TEST(Queue, WhatChangedGoesBeforeWhatWasOnlyFound) {
  Queue queue;
  queue.add(kAid, kNow - 5s, Queue::Urgency::Found);
  queue.add(kCrm, kNow);
  EXPECT_EQ(queue.take_due(kNow), kCrm);
  EXPECT_EQ(queue.take_due(kNow), kAid);

  const StackKey late{"prod", "late"};
  queue.add(late, kNow, Queue::Urgency::Found);
  queue.add(kAid, kNow - 1s, Queue::Urgency::Found);
  queue.done(kAid);
  queue.add(late, kNow + 1h);
  EXPECT_EQ(queue.take_due(kNow), late) << "it has changed since, and is due as early as before";
}

TEST(Queue, WhatWasFoundIsNotPassedOverForEver) {
  Queue queue;
  queue.add(kAid, kNow - 5s, Queue::Urgency::Found);
  int turns = 0;
  for (std::optional<StackKey> next; next != kAid; ++turns) {
    ASSERT_LT(turns, 100);
    queue.add(kCrm, kNow);
    next = queue.take_due(kNow);
    queue.done(*next);
  }
  EXPECT_GT(turns, 12) << "what is in work is to be finished first";
}

TEST(Queue, ForgetsWhatIsGone) {
  Queue queue;
  queue.add(kCrm, kNow);
  queue.forget(kCrm);
  EXPECT_EQ(queue.take_due(kNow), std::nullopt);
  queue.add(kCrm, kNow);
  ASSERT_EQ(queue.take_due(kNow), kCrm);
  queue.forget(kCrm);
  queue.done(kCrm);
  queue.add(kCrm, kNow);
  EXPECT_EQ(queue.take_due(kNow), kCrm);
}

TEST(Queue, NumbersSayHowFarBehindItIs) {
  Queue queue;
  queue.add(kCrm, kNow - 7s);
  queue.add(kAid, kNow + 60s);
  auto numbers = queue.numbers(kNow);
  EXPECT_EQ(numbers.due, 1U);
  EXPECT_EQ(numbers.later, 1U);
  EXPECT_EQ(numbers.running, 0U);
  EXPECT_EQ(numbers.oldest_due, 7s);

  ASSERT_EQ(queue.take_due(kNow), kCrm);
  queue.add({"prod", "third"}, kNow);
  ASSERT_TRUE(queue.take_due(kNow + 2s));
  numbers = queue.numbers(kNow + 5s);
  EXPECT_EQ(numbers.due, 0U);
  EXPECT_EQ(numbers.oldest_due, 0s);
  EXPECT_EQ(numbers.running, 2U);
  EXPECT_EQ(numbers.longest_running, 5s);
  EXPECT_EQ(numbers.unfinished, 8s);
  queue.done(kCrm);
  EXPECT_EQ(queue.numbers(kNow + 5s).running, 1U);
}

TEST(Queue, NobodyOversleepsWhileAnotherWorks) {
  for (int round = 0; round < 20; ++round) {
    Queue queue;
    std::mutex mutex;
    std::condition_variable_any changed;
    std::set<StackKey> taken;
    const auto work = [&](const std::stop_token& stop) {
      const auto key = queue.take(stop);
      std::unique_lock lock(mutex);
      if (key) taken.insert(*key);
      changed.notify_all();
      changed.wait(lock, stop, [] { return false; });  // As long as it takes.
    };
    std::jthread one(work), two(work);
    queue.add(kAid, std::chrono::steady_clock::now() + 5ms);
    queue.add(kCrm, std::chrono::steady_clock::now());
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, 60s, [&] { return taken.size() == 2; })) << round;
  }
}

TEST(Queue, WaitsForWhatIsDueLaterAndForWhatIsAddedMeanwhile) {
  Queue queue;
  const auto soon = std::chrono::steady_clock::now() + 20ms;
  queue.add(kCrm, soon);
  EXPECT_EQ(queue.take(std::stop_token()), kCrm);
  EXPECT_GE(std::chrono::steady_clock::now(), soon);

  std::jthread adding([&] { queue.add(kAid, std::chrono::steady_clock::now()); });
  EXPECT_EQ(queue.take(std::stop_token()), kAid);
}

TEST(Queue, TakeWithAStopThatWasRequestedIsEmpty) {
  Queue queue;
  queue.add(kCrm, kNow);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(queue.take(stop.get_token()), std::nullopt);
}

TEST(Queue, ManyWorkersNeverShareAStackAndStopWakesThemAll) {
  Queue queue;
  constexpr int kStacks = 8;
  std::atomic<int> taken = 0;
  std::atomic<int> shared = 0;
  std::vector<std::atomic<int>> busy(kStacks);
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 4; ++i) {
      workers.emplace_back([&](std::stop_token stop) {
        while (auto key = queue.take(stop)) {
          auto& mine = busy[static_cast<std::size_t>(std::stoi(key->name))];
          if (mine.fetch_add(1) != 0) ++shared;
          std::this_thread::yield();
          mine.fetch_sub(1);
          queue.done(*key);
          ++taken;
        }
      });
    }
    for (int i = 0; i < 2000; ++i) {
      queue.add({"ns", std::to_string(i % kStacks)}, std::chrono::steady_clock::now());
      static_cast<void>(queue.numbers(std::chrono::steady_clock::now()));
    }
    while (queue.numbers(std::chrono::steady_clock::now() + 1h).due > 0) std::this_thread::yield();
  }
  EXPECT_EQ(shared, 0);
  EXPECT_GE(taken, kStacks);
}

}  // namespace
}  // namespace stackspec
