// SPDX-License-Identifier: Apache-2.0
#include "kube/answer.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kube/wire.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

TEST(Answer, IsWithoutManagedFieldsOfAnyMetadata) {
  const struct {
    const char* text;
    const char* left;
  } rows[] = {
      {R"({})", R"({})"},
      {R"({"metadata":{"name":"a","managedFields":[{"f":{}}],"uid":"u"},"x":1})",
       R"({"metadata":{"name":"a","uid":"u"},"x":1})"},
      {R"({"metadata":{"managedFields":[]}})", R"({"metadata":{}})"},
      {R"({"metadata":{"managedFields":{}},"managedFields":1})",
       R"({"metadata":{},"managedFields":1})"},
      {R"({"metadata":{"managedFields":null,"labels":{"a":"b"}}})",
       R"({"metadata":{"labels":{"a":"b"}}})"},
      {"{\"metadata\" :\n{ \"managedFields\" :\t[ { } ] , \"name\" : \"a\" } }",
       R"({"metadata":{"name":"a"}})"},
      {R"({"metadata":{"managedFields":[{"k":"]}"},{"\"]":"\\"},"\\\"}"],"name":"]"}})",
       R"({"metadata":{"name":"]"}})"},
      {R"({"metadata":{"labels":{"managedFields":"mine"},"managedFields":[1,[2]]}})",
       R"({"metadata":{"labels":{"managedFields":"mine"}}})"},
      {R"({"metadata":[{"managedFields":[1]}],"data":{"managedFields":[2]}})",
       R"({"metadata":[{"managedFields":[1]}],"data":{"managedFields":[2]}})"},
      {R"({"object":{"metadata":{"managedFields":[{"metadata":{"managedFields":[3]}}]},
          "spec":{"template":{"metadata":{"managedFields":[4],"name":"t"}}}}})",
       R"({"object":{"metadata":{},"spec":{"template":{"metadata":{"name":"t"}}}}})"},
      {R"({"a":[1,-2,3.5,true,false,null,"s",{"b":[[]]}],"a2":{},"a":{"again":1}})",
       R"({"a":{"again":1},"a2":{}})"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    const auto answer = read_answer(row.text);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(*answer, json::parse(row.left));
  }
}

TEST(Answer, IsRefusedWhereItIsNoWholeObject) {
  const char* const rows[] = {
      "",
      "null",
      "[]",
      R"({"a":1)",
      R"({"a":1}})",
      R"({"a":nope})",
      R"({"metadata":{"managedFields":[{"f":{})",
      R"({"metadata":{"managedFields":[{"metadata":{"managedFields":[)",
      R"({"metadata":{"managedFields":["\)",
      R"({"metadata":{"managedFields":[1}}})",
      R"({"metadata":{"managedFields"::[1]}})",
      R"({"metadata":{"managedFields" [1]}})",
      R"({"metadata":{"managedFields":)",
  };
  for (const std::string text : rows) {
    SCOPED_TRACE(text);
    const auto answer = read_answer(text);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::Unavailable);
  }
}

TEST(Answer, IsRefusedWhereItCouldNotBeCopied) {
  const auto nested = [](std::size_t levels) {
    return "{\"a\":" + std::string(levels, '[') + "1" + std::string(levels, ']') + "}";
  };
  EXPECT_TRUE(read_answer(nested(255)));
  EXPECT_FALSE(read_answer(nested(256)));
  EXPECT_FALSE(read_answer(nested(100000)));
}

TEST(Page, IsReadItemByItem) {
  const std::string page = R"({"kind":"PodList","items":[
      {"metadata":{"name":"a","managedFields":[{}]},"items":[{"deep":1}]},{"metadata":{"name":"b"}}],
      "metadata":{"resourceVersion":"42","continue":"more"}})";
  std::vector<json> items;
  const auto head = each_item(page, [&](json&& item) -> Result<void> {
    items.push_back(std::move(item));
    return {};
  });
  ASSERT_TRUE(head) << head.error().message;
  EXPECT_EQ(head->version, 42);
  EXPECT_EQ(head->next, "more");
  EXPECT_EQ(items, (std::vector<json>{
                       json::parse(R"({"metadata":{"name":"a"},"items":[{"deep":1}]})"),
                       json::parse(R"({"metadata":{"name":"b"}})"),
                   }));
  const auto alone = parse_list_head(page);
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_EQ(alone->version, 42);
  EXPECT_EQ(alone->next, "more");
}

TEST(Page, EndsWithTheFirstItemThatIsNotTaken) {
  int asked = 0;
  const auto head = each_item(R"({"metadata":{},"items":[{},{},{}]})", [&](json&&) -> Result<void> {
    if (++asked == 2) return Error{ErrorKind::Invalid, "not this one"};
    return {};
  });
  ASSERT_FALSE(head);
  EXPECT_EQ(head.error().kind, ErrorKind::Invalid);
  EXPECT_EQ(asked, 2);
}

TEST(Page, IsRefusedWithoutItsHead) {
  const auto nothing = [](json&&) -> Result<void> { return {}; };
  for (const char* text :
       {R"({"items":[{}]})", R"({"items":[{}],"metadata":1})",
        R"({"metadata":{"resourceVersion":"x"},"items":[]})", R"({"items":[{})"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(each_item(text, nothing));
    EXPECT_FALSE(parse_list_head(text));
  }
}

}  // namespace
}  // namespace stackspec
