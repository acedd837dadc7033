// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "api/codec.hpp"

namespace stackspec {
namespace {

TEST(Yaml, GivesScalarsTheTypesOfKubectl) {
  const struct {
    const char* yaml;
    const char* json;
  } rows[] = {
      {"a: yes", R"({"a":true})"},
      {"a: Off", R"({"a":false})"},
      {"y: 2", R"({"true":2})"},
      {"a: 010", R"({"a":8})"},
      {"a: 0o17", R"({"a":15})"},
      {"a: 0x1F", R"({"a":31})"},
      {"a: 0b11", R"({"a":3})"},
      {"a: 1_000", R"({"a":1000})"},
      {"a: 08", R"({"a":8})"},
      {"a: +5", R"({"a":5})"},
      {"a: -0", R"({"a":0})"},
      {"a: 1.10", R"({"a":1.1})"},
      {"a: 1e3", R"({"a":1000})"},
      {"a: 1.", R"({"a":1})"},
      {"a: .5", R"({"a":0.5})"},
      {"a: 190:20:30", R"({"a":"190:20:30"})"},
      {"a: 2026-01-31", R"({"a":"2026-01-31"})"},
      {"a: ~", R"({"a":null})"},
      {"a: '1.10'", R"({"a":"1.10"})"},
      {"a: !!str 123", R"({"a":"123"})"},
      {"a: !!int \"5\"", R"({"a":5})"},
      {"a: !mine 5", R"({"a":5})"},
      {"a: -7", R"({"a":-7})"},
      {"b: &x {c: 1}\nd: *x", R"({"b":{"c":1},"d":{"c":1}})"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.yaml);
    const auto documents = parse_yaml(row.yaml);
    ASSERT_TRUE(documents.has_value()) << documents.error().message;
    ASSERT_EQ(documents->size(), 1U);
    EXPECT_EQ((*documents)[0].json, row.json);
  }
}

std::string alias_bomb() {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 0; j < 9; ++j) text += "," + before;
    text += "]\n";
  }
  return text;
}

TEST(Yaml, RefusesHostileTexts) {
  std::string many_copies = "a: &a " + std::string(400'000, 'x') + "\nb: [*a";
  for (int i = 0; i < 9000; ++i) many_copies += ",*a";
  const struct {
    const char* name;
    std::string yaml;
    const char* error;
  } rows[] = {
      {"duplicate key", "a: 1\nb: 2\na: 3\n", "3: `a` is given twice"},
      {"5 MB", "a: " + std::string(5'000'000, 'x'), "1: the file is larger than 1 MiB"},
      {"broken UTF-8", "a: 1\nb: \xff\n", "2: not UTF-8"},
      {"overlong UTF-8", "a: \xc0\x80\n", "1: not UTF-8"},
      {"control character", "a: 1\nb: \"\x01\"\n", "2: a control character"},
      {"contains itself", "a: &a [*a]", "1: alias to a node that contains it"},
      {"alias bomb", alias_bomb(), "4: aliases stand for more than"},
      {"many copies of a long text", many_copies + "]", "2: aliases stand for more than"},
      {"deep", std::string(65, '[') + std::string(65, ']'), "1: nested deeper than 64"},
      {"very deep", std::string(100'000, '['), "1: "},
      {"many nodes",
       "[" +
           [] {
             std::string t;
             for (int i = 0; i < 100'001; ++i) t += "1,";
             return t;
           }() +
           "1]",
       "1: more than 100000"},
      {"infinite", "a: .inf", "1: `.inf` is not a number"},
      {"merge key", "a: &a {b: 1}\nc:\n  <<: *a\n", "3: merge keys"},
      {"no YAML", "a: [1, 2\nb: 3", "2: not YAML"},
      {"tab", "a:\n\tb: 1", "2: not YAML"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto documents = parse_yaml(row.yaml);
    ASSERT_FALSE(documents.has_value());
    EXPECT_EQ(documents.error().kind, ErrorKind::Invalid);
    EXPECT_TRUE(documents.error().message.starts_with(row.error)) << documents.error().message;
  }
}

TEST(Yaml, KnowsTheLineOfEveryField) {
  const auto documents = parse_yaml("---\n---\nspec:\n  tag: v1\n  list:\n  - a: 1\n  - b: 2\n");
  ASSERT_TRUE(documents.has_value()) << documents.error().message;
  ASSERT_EQ(documents->size(), 1U);
  const Document& document = (*documents)[0];
  EXPECT_EQ(document.line_of("spec.tag"), 4);
  EXPECT_EQ(document.line_of("spec.list[1].b"), 7);
  EXPECT_EQ(document.line_of("spec.list[1].missing"), 7);
  EXPECT_EQ(document.line_of("spec.other"), 3);
}

}  // namespace
}  // namespace stackspec
