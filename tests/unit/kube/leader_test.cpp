// SPDX-License-Identifier: Apache-2.0
#include "kube/leader.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "base/log.hpp"
#include "fakes/eventually.hpp"
#include "fakes/faulty_objects.hpp"

namespace stackspec {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const ObjectKey kLease{"Lease", "stackspec-system", "stackspec-controller"};

class HandClock final : public Clock {
 public:
  WallTime wall_now() const override { return wall_; }
  SteadyTime steady_now() const override { return steady_; }
  void forward(milliseconds time) { steady_ += time; }
  void wall_jumps(seconds time) { wall_ += time; }

 private:
  WallTime wall_ = *parse_rfc3339("2026-01-02T03:04:05Z");
  SteadyTime steady_{seconds(1000)};
};

class LeadershipTest : public ::testing::Test {
 protected:
  void SetUp() override { log::set_level(log::Level::Error); }

  nlohmann::json record() { return objects_->get(kLease)->content.at("spec"); }

  HandClock clock_;
  std::unique_ptr<ObjectApi> objects_ = make_sqlite_objects(":memory:").value();
  FaultyObjects faulty_{*objects_};
};

TEST_F(LeadershipTest, TheFirstLeadsAndTheSecondWaits) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  second.step();
  EXPECT_TRUE(first.may_write());
  EXPECT_FALSE(second.may_write());
  EXPECT_EQ(second.holder(), "first");
  EXPECT_EQ(record().at("leaseDurationSeconds"), 15);
}

TEST_F(LeadershipTest, AHolderThatRenewsIsNeverReplaced) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  for (int i = 0; i < 100; ++i) {
    clock_.forward(seconds(2));
    clock_.wall_jumps(seconds(2));
    first.step();
    second.step();
    ASSERT_TRUE(first.may_write());
    ASSERT_FALSE(second.leads());
  }
}

TEST_F(LeadershipTest, AHolderThatStandsStillIsReplacedAfterItStoppedWriting) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  second.step();
  for (int waited = 0; !second.leads(); ++waited) {
    ASSERT_LT(waited, 60);
    clock_.forward(milliseconds(500));
    second.step();
    ASSERT_FALSE(first.may_write() && second.may_write()) << "two leaders at once";
    ASSERT_FALSE(waited < 28 && second.leads()) << "before the Lease ran out";
  }
  EXPECT_FALSE(first.may_write());
  EXPECT_EQ(record().at("leaseTransitions"), 1);
  first.step();
  EXPECT_FALSE(first.may_write());
  EXPECT_EQ(first.holder(), "second");
}

TEST_F(LeadershipTest, ClocksOfOthersDoNotMatter) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  clock_.wall_jumps(seconds(36000));
  second.step();
  EXPECT_FALSE(second.leads());
  EXPECT_TRUE(first.may_write());
}

TEST_F(LeadershipTest, StopsWritingWhenNobodyAnswers) {
  Leadership first(faulty_, kLease, "first", clock_);
  first.step();
  faulty_.plan_writes([](int, WriteVerb, const ObjectKey&) { return WriteFault::Unavailable; });
  for (int i = 0; i < 4; ++i) {
    clock_.forward(seconds(2));
    clock_.wall_jumps(seconds(2));
    first.step();
    EXPECT_TRUE(first.may_write());
  }
  clock_.forward(seconds(2));
  first.step();
  EXPECT_FALSE(first.may_write()) << "10 s after the last good renewal began";
}

TEST_F(LeadershipTest, ALostAnswerIsNoRenewalButTheNextStepIs) {
  Leadership first(faulty_, kLease, "first", clock_);
  faulty_.plan_writes([](int number, WriteVerb, const ObjectKey&) {
    return number == 1 ? WriteFault::LostReply : WriteFault::None;
  });
  first.step();
  EXPECT_FALSE(first.may_write());
  first.step();
  EXPECT_TRUE(first.may_write());
  EXPECT_EQ(record().value("leaseTransitions", 0), 0);
}

TEST_F(LeadershipTest, AReleasedLeaseIsTakenAtOnce) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  second.step();
  first.release();
  EXPECT_FALSE(first.may_write());
  second.step();
  EXPECT_TRUE(second.may_write());
}

TEST_F(LeadershipTest, WhoNeverLedReleasesNothing) {
  Leadership first(faulty_, kLease, "first", clock_), second(faulty_, kLease, "second", clock_);
  first.step();
  second.step();
  second.release();
  EXPECT_EQ(record().at("holderIdentity"), "first");
}

TEST_F(LeadershipTest, OfManyThatFindItFreeOneLeads) {
  std::vector<std::unique_ptr<Leadership>> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(std::make_unique<Leadership>(faulty_, kLease, std::to_string(i), clock_));
  }
  {
    std::vector<std::jthread> threads;
    for (auto& one : all) threads.emplace_back([&one] { one->step(); });
  }
  int leaders = 0;
  for (const auto& one : all) leaders += one->may_write() ? 1 : 0;
  EXPECT_EQ(leaders, 1);
}

TEST_F(LeadershipTest, TheGateLetsNoWriteOfOthersThrough) {
  Leadership first(faulty_, kLease, "first", clock_);
  const auto gated = make_gated_objects(*objects_, first);
  Object object;
  object.key = {"StackSpec", "default", "crm"};
  EXPECT_EQ(gated->create(object).error().kind, ErrorKind::Cancelled);
  first.step();
  const auto made = gated->create(object);
  ASSERT_TRUE(made);
  clock_.forward(seconds(11));  // As after kill -STOP and -CONT.
  Object late = *made;
  late.content["spec"] = {{"tag", "v1.16"}};
  EXPECT_EQ(gated->update(late).error().kind, ErrorKind::Cancelled);
  EXPECT_EQ(gated->update_status(late).error().kind, ErrorKind::Cancelled);
  EXPECT_EQ(gated->remove(late.key, "", 0).error().kind, ErrorKind::Cancelled);
  EXPECT_TRUE(gated->get(late.key));
  EXPECT_EQ(gated->list("StackSpec", "")->items.size(), 1U);
}

TEST_F(LeadershipTest, RunTellsThatItBeganAndThatItIsLost) {
  const LeaseTimes quick{milliseconds(300), milliseconds(200), milliseconds(20), milliseconds(20)};
  Leadership first(faulty_, kLease, "first", system_clock(), quick);
  std::atomic<int> begun{0};
  std::atomic<bool> lost{false};
  std::jthread thread([&](std::stop_token stop) { lost = first.run([&] { ++begun; }, stop); });
  ASSERT_TRUE(eventually([&] { return begun.load() == 1; }));
  auto stolen = *objects_->get(kLease);
  while (true) {
    stolen.content["spec"]["holderIdentity"] = "thief";
    if (objects_->update(stolen)) break;
    stolen = *objects_->get(kLease);
  }
  EXPECT_TRUE(eventually([&] { return lost.load(); }));
  EXPECT_FALSE(first.may_write());
  EXPECT_EQ(begun.load(), 1);
}

TEST_F(LeadershipTest, ARenewalIsOneRequest) {
  std::atomic<int> reads{0};
  faulty_.plan_reads([&](int) {
    ++reads;
    return ReadFault{};
  });
  Leadership first(faulty_, kLease, "first", clock_);
  first.step();
  const int before = reads, written = faulty_.write_count();
  for (int i = 0; i < 10; ++i) {
    clock_.forward(seconds(2));
    clock_.wall_jumps(seconds(2));
    first.step();
    ASSERT_TRUE(first.may_write());
  }
  EXPECT_EQ(reads, before);
  EXPECT_EQ(faulty_.write_count(), written + 10);
  first.release();
  EXPECT_EQ(reads, before);
  EXPECT_EQ(record().at("holderIdentity"), "");
}

TEST_F(LeadershipTest, WhatAnotherChangedIsReadAnewInTheSameStep) {
  Leadership first(faulty_, kLease, "first", clock_);
  first.step();
  auto touched = *objects_->get(kLease);
  touched.labels["seen"] = "by-a-person";
  ASSERT_TRUE(objects_->update(touched));
  clock_.forward(seconds(9));
  first.step();
  clock_.forward(seconds(9));
  EXPECT_TRUE(first.may_write()) << "18 s after the first, 9 s after the second renewal";
  first.release();
  EXPECT_EQ(record().at("holderIdentity"), "");
}

TEST_F(LeadershipTest, IsStuckWhenItNeitherRenewsNorEnds) {
  Leadership first(faulty_, kLease, "first", clock_);
  EXPECT_FALSE(first.is_stuck()) << "who waits for its turn is well";
  first.step();
  clock_.forward(seconds(25));
  EXPECT_FALSE(first.is_stuck());
  clock_.forward(seconds(1));
  EXPECT_TRUE(first.is_stuck());
  first.release();
  EXPECT_FALSE(first.is_stuck());
}

/// A standby at work, whose own looks are an hour apart.
struct Standby {
  explicit Standby(FaultyObjects& objects, std::chrono::milliseconds look_every = seconds(3600))
      : leadership(objects, kLease, "standby", system_clock(), times(look_every)) {
    objects.plan_reads([this](int) {
      ++reads;
      return ReadFault{};
    });
    thread = std::jthread([this](std::stop_token stop) { leadership.run([] {}, stop); });
  }
  static LeaseTimes times(std::chrono::milliseconds look_every) {
    LeaseTimes wanted;
    wanted.duration = seconds(3600);
    wanted.look_every = look_every;
    return wanted;
  }

  std::atomic<int> reads{0};
  Leadership leadership;
  std::jthread thread;  // the last member: ends first
};

TEST_F(LeadershipTest, AStandbyAsksNothingWhileTheLeaseIsRenewed) {
  Leadership first(*objects_, kLease, "first", clock_);
  first.step();
  Standby standby(faulty_);
  ASSERT_TRUE(eventually([&] { return standby.reads.load() == 2; }))
      << "one look, one for the watch";
  for (int i = 0; i < 50; ++i) {
    clock_.wall_jumps(seconds(2));
    first.step();
  }
  first.release();
  // It has heard all of it, and asked for none of it.
  EXPECT_TRUE(eventually([&] { return standby.leadership.may_write(); }));
  EXPECT_EQ(standby.reads.load(), 2);
  EXPECT_EQ(record().at("leaseTransitions"), 1);
}

TEST_F(LeadershipTest, AStandbyTakesALeaseThatWasDeleted) {
  Leadership first(*objects_, kLease, "first", clock_);
  first.step();
  Standby standby(faulty_);
  ASSERT_TRUE(eventually([&] { return standby.reads.load() == 2; }));
  ASSERT_TRUE(objects_->remove(kLease, "", 0));
  EXPECT_TRUE(eventually([&] { return standby.leadership.may_write(); }));
  EXPECT_EQ(record().at("holderIdentity"), "standby");
}

TEST_F(LeadershipTest, AStandbyThatHearsNothingLooksByItself) {
  Leadership first(*objects_, kLease, "first", clock_);
  first.step();
  Standby standby(faulty_, milliseconds(10));
  EXPECT_TRUE(eventually([&] { return standby.reads.load() > 5; }));
  EXPECT_FALSE(standby.leadership.leads());
}

}  // namespace
}  // namespace stackspec
