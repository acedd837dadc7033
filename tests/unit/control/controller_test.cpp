// SPDX-License-Identifier: Apache-2.0
#include "control/controller.hpp"

#include <gtest/gtest.h>

#include <semaphore>
#include <thread>

#include "base/log.hpp"
#include "fakes/eventually.hpp"
#include "fakes/faulty_objects.hpp"
#include "fakes/world_platform.hpp"

namespace stackspec {
namespace {

using std::chrono::seconds;

/// Sees nothing while it is blind: a database that does not answer keeps a look for seconds.
class BlindableObserver final : public Observer {
 public:
  explicit BlindableObserver(Observer& inner) : inner_(inner) {}
  std::atomic<bool> blind{false};

  Result<Seen> observe(const Stack& stack, const SecretValues& secrets, const Catalog& catalog,
                       std::stop_token stop) override {
    if (blind) return Error{ErrorKind::Unavailable, "no answer"};
    return inner_.observe(stack, secrets, catalog, std::move(stop));
  }

 private:
  Observer& inner_;
};

/// The whole controller with its threads, on worlds; stopped and joined when it goes.
class ControllerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::Error);
    auto made = make_sqlite_objects(":memory:");
    ASSERT_TRUE(made);
    objects_ = std::move(made).value();
    start();
  }

  void start() {
    thread_ = std::jthread([this](std::stop_token stop) {
      Controller({*objects_, platform_, observer_, Catalog::builtin(), telemetry_, system_clock(),
                  system_random()},
                 {.workers = 3})
          .run(stop);
    });
  }
  void stop() { thread_ = {}; }

  void create(const std::string& name) {
    Object object;
    object.key = {"StackSpec", "default", name};
    object.content["spec"] = {{"tag", "v1.15.4"}, {"upgrade", {{"soakSeconds", 0}}}};
    ASSERT_TRUE(objects_->create(object));
  }

  void edit(const std::string& name, const std::function<void(nlohmann::json& spec)>& change) {
    ASSERT_TRUE(eventually(
        [&] {
          auto object = objects_->get({"StackSpec", "default", name});
          change(object->content["spec"]);
          return objects_->update(*object).has_value();  // the controller writes status meanwhile
        },
        seconds(10)));
  }
  void set_tag(const std::string& name, const std::string& tag) {
    edit(name, [&](nlohmann::json& spec) { spec["tag"] = tag; });
  }

  bool becomes_ready(const std::string& name, const std::string& version) {
    return eventually(
        [&] {
          const auto object = objects_->get({"StackSpec", "default", name});
          return object && object->status.value("phase", "") == "Ready" &&
                 object->status.value("version", "") == version;
        },
        seconds(60));
  }

  std::unique_ptr<ObjectApi> objects_;
  WorldPlatform platform_{Catalog::builtin()};
  BlindableObserver observer_{platform_};
  Telemetry telemetry_{"test", "test"};
  std::jthread thread_;
};

TEST_F(ControllerTest, BringsEveryStackToItsSpecAndFollowsEveryChange) {
  for (const char* name : {"a", "b", "c", "d"}) create(name);
  for (const char* name : {"a", "b", "c", "d"}) EXPECT_TRUE(becomes_ready(name, "v1.15.4")) << name;
  set_tag("b", "v1.17.4");
  set_tag("c", "v1.16.6");
  EXPECT_TRUE(becomes_ready("b", "v1.17.4"));
  EXPECT_TRUE(becomes_ready("c", "v1.16.6"));
  EXPECT_TRUE(becomes_ready("a", "v1.15.4"));
  const std::string page = telemetry_.page();
  EXPECT_NE(page.find("controller_runtime_reconcile_total"), std::string::npos);
}

TEST_F(ControllerTest, GoesOnWhereAnEarlierOneStopped) {
  create("a");
  ASSERT_TRUE(becomes_ready("a", "v1.15.4"));
  set_tag("a", "v1.17.4");
  for (int i = 0; i < 5; ++i) {
    stop();
    start();
  }
  EXPECT_TRUE(becomes_ready("a", "v1.17.4"));
  EXPECT_TRUE(platform_.world({"default", "a"}).violations.empty());
}

TEST_F(ControllerTest, ALostRaceIsNoFailedActionAndAnAbsentPlatformIs) {
  for (const auto& [name, fault] :
       {std::pair{"raced", CallFault::LostRace}, {"refused", CallFault::Unavailable}}) {
    SCOPED_TRACE(name);
    stop();
    std::atomic<int> left{3};
    platform_.fault_of_act = [&left, fault = fault] {
      return left-- > 0 ? fault : CallFault::None;
    };
    start();
    create(name);
    ASSERT_TRUE(becomes_ready(name, "v1.15.4"));
    const auto events = objects_->list("Event", "default");
    ASSERT_TRUE(events);
    int told = 0;
    for (const Object& event : events->items) {
      const bool ours = event.content["regarding"]["name"] == name;
      if (ours && event.content["reason"] == "ActionFailed") ++told;
    }
    EXPECT_EQ(told > 0, fault == CallFault::Unavailable);
    stop();
    platform_.fault_of_act = [] { return CallFault::None; };
  }
}

TEST_F(ControllerTest, AnEditOfAReadyStackIsDoneBeforeItsDatabaseAnswers) {
  create("a");
  ASSERT_TRUE(becomes_ready("a", "v1.15.4"));
  observer_.blind = true;
  edit("a", [](nlohmann::json& spec) { spec["worker"]["replicas"] = 2; });
  Stack stack;
  stack.key = {"default", "a"};
  EXPECT_TRUE(eventually([&] {
    const auto seen = platform_.observe(stack, {});
    return seen && seen->components.at(Component::Worker).wanted == 2;
  }));
  const auto object = objects_->get({"StackSpec", "default", "a"});
  EXPECT_LT(object->status["observedGeneration"], object->generation) << "nobody has looked yet";
  observer_.blind = false;
  EXPECT_TRUE(eventually(
      [&] {
        const auto now = objects_->get({"StackSpec", "default", "a"});
        return now->status["observedGeneration"] == now->generation &&
               now->status["phase"] == "Ready";
      },
      seconds(60)));
}

TEST_F(ControllerTest, WhatThePlatformTellsIsLookedAtWithoutWaiting) {
  std::atomic<int> looks{0};
  stop();
  platform_.fault_of_look = [&looks] {
    ++looks;
    return CallFault::None;
  };
  start();
  create("a");
  ASSERT_TRUE(becomes_ready("a", "v1.15.4"));
  // It would be looked at again in nine minutes.
  for (int i = 0; i < 3; ++i) {
    const int before = looks;
    platform_.tell({"default", "a"});
    EXPECT_TRUE(eventually([&] { return looks > before; }));
  }
  stop();
}

TEST_F(ControllerTest, ANewStackIsPreparedOnceBeforeItHasSecrets) {
  std::atomic<int> times{0};
  std::atomic<bool> had_secrets{false};
  stop();
  platform_.on_prepare = [&](const StackKey& key) {
    ++times;
    had_secrets = objects_->get({"Secret", key.ns, key.name + "-secrets"}).has_value();
  };
  start();
  create("a");
  EXPECT_TRUE(becomes_ready("a", "v1.15.4"));
  set_tag("a", "v1.16.6");
  EXPECT_TRUE(becomes_ready("a", "v1.16.6"));
  stop();
  EXPECT_EQ(times, 1);
  EXPECT_FALSE(had_secrets);
}

TEST_F(ControllerTest, BeforeItsTurnItReadsAndWritesNothing) {
  stop();
  FaultyObjects counted(*objects_);
  std::atomic<int> reads{0};
  counted.plan_reads([&](int) {
    ++reads;
    return ReadFault{};
  });
  std::binary_semaphore turn(0);
  create("a");
  {
    std::jthread waiting([&](std::stop_token stop) {
      Controller({counted, platform_, platform_, Catalog::builtin(), telemetry_, system_clock(),
                  system_random()},
                 {.workers = 1,
                  .wait_for_turn =
                      [&](const std::stop_token&) {
                        turn.acquire();
                        return true;
                      }})
          .run(stop);
    });
    EXPECT_TRUE(eventually([&] { return reads.load() >= 5; })) << "five kinds are listed";
    EXPECT_EQ(counted.write_count(), 0);
    turn.release();
    EXPECT_TRUE(becomes_ready("a", "v1.15.4"));
  }
}

TEST_F(ControllerTest, StopsPromptlyInTheMiddleOfWork) {
  for (int i = 0; i < 20; ++i) create("s" + std::to_string(i));
  stop();  // A hang here is the failure: the test's own time limit ends it.
}

}  // namespace
}  // namespace stackspec
