// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "fakes/faulty_objects.hpp"

namespace stackspec {
namespace {

Object numbered(const std::string& name, int number) {
  Object object;
  object.key = {"StackSpec", "default", name};
  object.content["number"] = number;
  return object;
}

struct World {
  std::unique_ptr<ObjectApi> inner = make_sqlite_objects(":memory:").value();
  FaultyObjects faulty{*inner};

  void fail_write(int wanted, WriteFault fault) {
    faulty.plan_writes([=](int number, WriteVerb, const ObjectKey&) {
      return number == wanted ? fault : WriteFault::None;
    });
  }
};

TEST(FaultyObjects, EachFaultWritesAndAnswersAsItsNameSays) {
  const struct {
    WriteFault fault;
    bool written;
    const char* answer;
  } rows[] = {
      {WriteFault::None, true, "success"},          {WriteFault::Unavailable, false, "Unavailable"},
      {WriteFault::LostReply, true, "Unavailable"}, {WriteFault::Conflict, false, "Conflict"},
      {WriteFault::CrashBefore, false, "crash"},    {WriteFault::CrashAfter, true, "crash"},
  };
  static_assert(std::size(rows) == std::size(kAllWriteFaults));
  for (const auto& row : rows) {
    SCOPED_TRACE(static_cast<int>(row.fault));
    World world;
    world.fail_write(2, row.fault);
    ASSERT_TRUE(world.faulty.create(numbered("first", 1)));
    std::string answer;
    try {
      const auto made = world.faulty.create(numbered("second", 2));
      answer = made ? "success" : to_string(made.error().kind);
    } catch (const Crash&) {
      answer = "crash";
    }
    EXPECT_EQ(answer, row.answer);
    EXPECT_EQ(world.inner->get(numbered("second", 0).key).has_value(), row.written);
    const auto writes = world.faulty.writes();
    ASSERT_EQ(writes.size(), 2U);
    EXPECT_EQ(writes[1].number, 2);
    EXPECT_EQ(writes[1].fault, row.fault);
    EXPECT_EQ(writes[1].wrote, row.written);
    ASSERT_TRUE(world.faulty.create(numbered("third", 3))) << "only the second was to fail";
  }
}

TEST(FaultyObjects, LogSaysWhatEachWriteChanged) {
  World world;
  Object object = *world.faulty.create(numbered("crm", 1));
  object.status["phase"] = "Ready";
  object = *world.faulty.update_status(object);
  EXPECT_TRUE(world.faulty.update_status(object)) << "the same again";
  object.content["number"] = 2;
  object = *world.faulty.update(object);
  object.resource_version = 1;
  EXPECT_FALSE(world.faulty.update(object));
  EXPECT_TRUE(world.faulty.remove(object.key, "", 0));

  const auto writes = world.faulty.writes();
  const struct {
    WriteVerb verb;
    bool wrote, content, status;
    std::optional<ErrorKind> error;
  } rows[] = {
      {WriteVerb::Create, true, true, true, {}},
      {WriteVerb::UpdateStatus, true, false, true, {}},
      {WriteVerb::UpdateStatus, false, false, false, {}},
      {WriteVerb::Update, true, true, false, {}},
      {WriteVerb::Update, false, false, false, ErrorKind::Conflict},
      {WriteVerb::Remove, true, true, true, {}},
  };
  ASSERT_EQ(writes.size(), std::size(rows));
  for (std::size_t i = 0; i < writes.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(writes[i].verb, rows[i].verb);
    EXPECT_EQ(writes[i].wrote, rows[i].wrote);
    EXPECT_EQ(writes[i].content_changed, rows[i].content);
    EXPECT_EQ(writes[i].status_changed, rows[i].status);
    EXPECT_EQ(writes[i].error, rows[i].error);
  }
  EXPECT_TRUE(writes[0].before.is_null());
  EXPECT_EQ(writes[3].before["content"]["number"], 1);
  EXPECT_EQ(writes[3].after["content"]["number"], 2);
  EXPECT_TRUE(writes[5].after.is_null());
}

TEST(FaultyObjects, StaleReadsAnswerAsTheWorldWas) {
  World world;
  Object one = *world.faulty.create(numbered("one", 1));
  one.content["number"] = 2;
  one = *world.faulty.update(one);
  ASSERT_TRUE(world.faulty.create(numbered("two", 1)));
  ASSERT_TRUE(world.faulty.remove(one.key, "", 0));

  const struct {
    int versions_old;
    int one;  // -1: not there
    std::size_t count;
    std::int64_t version;
  } rows[] = {{0, -1, 1, 4}, {1, 2, 2, 3},  {2, 2, 1, 2},
              {3, 1, 1, 1},  {4, -1, 0, 0}, {9, -1, 0, 0}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.versions_old);
    world.faulty.plan_reads([&](int) { return ReadFault{false, row.versions_old}; });
    const auto got = world.faulty.get(one.key);
    EXPECT_EQ(got ? got->content.at("number").get<int>() : -1, row.one);
    const auto list = world.faulty.list("StackSpec", "");
    ASSERT_TRUE(list);
    EXPECT_EQ(list->items.size(), row.count);
    EXPECT_EQ(list->resource_version, row.version);
    EXPECT_TRUE(world.faulty.list("StackSpec", "elsewhere")->items.empty());
  }
  world.faulty.plan_reads([](int number) { return ReadFault{number % 2 == 0, 0}; });
  const auto first = world.faulty.get(numbered("two", 0).key);
  const auto second = world.faulty.get(numbered("two", 0).key);
  EXPECT_NE(first.has_value(), second.has_value()) << "every other read has no answer";
  world.faulty.heal();
  EXPECT_TRUE(world.faulty.get(numbered("two", 0).key));
}

}  // namespace
}  // namespace stackspec
