// SPDX-License-Identifier: Apache-2.0
#include "control/event_budget.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

using namespace std::chrono_literals;
const SteadyTime kNow{1h};
const StackKey kCrm{"prod", "crm"};

std::vector<Event> events(int count, const std::string& reason) {
  return std::vector<Event>(static_cast<std::size_t>(count), {Event::Type::Warning, reason, "why"});
}

TEST(EventBudget, TellsTenOfAReasonAndThenHowManyItLeftOut) {
  EventBudget budget;
  EXPECT_EQ(budget.admit(kCrm, events(7, "Blocked"), kNow).size(), 7U);
  EXPECT_EQ(budget.admit(kCrm, events(7, "Blocked"), kNow).size(), 3U);
  EXPECT_EQ(budget.admit(kCrm, events(1, "Stalled"), kNow).front().message, "why");
  const auto later = budget.admit(kCrm, events(2, "Blocked"), kNow + 1min);
  ASSERT_EQ(later.size(), 1U);
  EXPECT_EQ(later.front().message, "why (and 4 more since the last one told)");
  const auto last = budget.admit(kCrm, events(1, "Blocked"), kNow + 1h);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last.front().message, "why (and 1 more since the last one told)");
}

TEST(EventBudget, OfAllReasonsOfAStackFiftyAreTold) {
  EventBudget budget;
  std::size_t told = 0;
  for (int i = 0; i < 10; ++i)
    told += budget.admit(kCrm, events(9, "r" + std::to_string(i)), kNow).size();
  EXPECT_EQ(told, 50U);
  EXPECT_EQ(budget.admit({"prod", "aid"}, events(5, "r1"), kNow).size(), 5U) << "another stack's";
  budget.forget(kCrm);
  EXPECT_EQ(budget.admit(kCrm, events(5, "r1"), kNow).size(), 5U) << "a new one of its name";
}

TEST(EventBudget, RemembersAStackNoLongerThanItMatters) {
  EventBudget budget;
  static_cast<void>(budget.admit(kCrm, events(2, "Ready"), kNow));
  static_cast<void>(budget.admit({"prod", "aid"}, events(11, "Blocked"), kNow));
  EXPECT_TRUE(budget.admit(kCrm, {}, kNow + 1min).empty());
  EXPECT_EQ(budget.size(), 2U) << "two of a reason take two minutes";
  EXPECT_TRUE(budget.admit(kCrm, {}, kNow + 10min).empty());
  EXPECT_EQ(budget.size(), 1U) << "of the other one was left out";
  const auto last = budget.admit({"prod", "aid"}, events(1, "Blocked"), kNow + 1h);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last.front().message, "why (and 1 more since the last one told)");
}

}  // namespace
}  // namespace stackspec
