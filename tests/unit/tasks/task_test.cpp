// SPDX-License-Identifier: Apache-2.0
#include "tasks/task.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

TEST(TaskScript, IsTheLibraryFollowedByTheTask) {
  for (const TaskKind kind : kAllTasks) {
    SCOPED_TRACE(std::string(to_string(kind)));
    const std::string text = task_script(kind);
    const auto library = text.find("# Common to all tasks");
    const auto task = text.find("# " + std::string(to_string(kind)) + ": ");
    ASSERT_NE(library, std::string::npos);
    ASSERT_NE(task, std::string::npos);
    EXPECT_LT(library, task);
  }
}

TEST(TaskResult, HasEveryValueAsText) {
  const auto values = parse_task_result(
      R"({"text":"a \"b\"","number":-7,"truth":true,"nothing":null,"list":[1,2],"object":{"a":1}})");
  const std::map<std::string, std::string> expected = {
      {"text", "a \"b\""}, {"number", "-7"},  {"truth", "true"},
      {"nothing", ""},     {"list", "[1,2]"}, {"object", "{\"a\":1}"}};
  EXPECT_EQ(values, expected);
}

TEST(TaskResult, IsAbsentWhenItCannotBeTrusted) {
  const std::string fits = "{\"a\":\"" + std::string(2040, 'x') + "\"}";
  ASSERT_EQ(fits.size(), 2048U);
  EXPECT_EQ(parse_task_result(fits).size(), 1U);
  const std::string cases[] = {"", "{", "[1]", "7", "{\"a\":1} x", "{\"a\":\"\xff\"}", " " + fits};
  for (const std::string& text : cases) {
    SCOPED_TRACE(text.substr(0, 40));
    EXPECT_TRUE(parse_task_result(text).empty());
  }
}

TEST(TaskOutcome, IsAVerdictOnlyFromTenToNineteen) {
  struct Case {
    int code;
    Outcome outcome;
  };
  const Case cases[] = {
      {0, Outcome::Ok},           {1, Outcome::Interrupted},   {9, Outcome::Interrupted},
      {10, Outcome::Failed},      {19, Outcome::Failed},       {20, Outcome::Interrupted},
      {75, Outcome::Interrupted}, {137, Outcome::Interrupted}, {-1, Outcome::Interrupted}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.code);
    EXPECT_EQ(outcome_of(c.code), c.outcome);
  }
}

}  // namespace
}  // namespace stackspec
