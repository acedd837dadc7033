// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <thread>
#include <vector>

#include "base/clock.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

template <class Body>
std::string stderr_of(Body body) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(Log, WritesOneJsonLineWithTimeLevelMessageAndFields) {
  const std::string text = stderr_of([] {
    log::warn("backup is late", {{"stack", "default/crm"}, {"attempt", 3}});
  });
  ASSERT_EQ(lines_of(text).size(), 1U) << text;
  EXPECT_EQ(text.rfind(R"({"timestamp":"2)", 0), 0U) << text;
  auto line = json::parse(text);
  EXPECT_EQ(line["level"], "warn");
  EXPECT_EQ(line["message"], "backup is late");
  EXPECT_EQ(line["stack"], "default/crm");
  EXPECT_EQ(line["attempt"], 3);
  const std::string time = line["timestamp"];
  ASSERT_EQ(time.size(), 24U) << time;
  EXPECT_TRUE(parse_rfc3339(time.substr(0, 19) + "Z")) << time;
}

TEST(Log, IsValidJsonForAnyBytes) {
  const struct {
    const char* name;
    std::string text;
  } rows[] = {
      {"quote", "a \"quoted\" word"},
      {"backslash", "C:\\new"},
      {"newline", "two\nlines"},
      {"control", "\x01\x02\x1f"},
      {"broken utf-8", "caf\xe9 \xff"},
      {"nul", std::string("a\0b", 3)},
      {"braces", "{}%s{0}"},
      {"surrogate", "\xed\xa0\x80"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string text = stderr_of([&] {
      log::info(row.text, {{"value", row.text}, {row.text, 1}});
    });
    EXPECT_EQ(lines_of(text).size(), 1U);
    EXPECT_TRUE(json::accept(text)) << text;
  }
}

TEST(Log, FieldsThatAreNoObjectAndNamesThatAreTakenDoNoHarm) {
  const std::string text = stderr_of([] {
    log::info("list", json::array({1, 2}));
    log::info("mine", {{"message", "theirs"}, {"level", "theirs"}});
    log::info("none");
  });
  const auto lines = lines_of(text);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(json::parse(lines[0])["fields"], json::array({1, 2}));
  EXPECT_EQ(json::parse(lines[1])["message"], "mine");
  EXPECT_EQ(json::parse(lines[1])["level"], "info");
  EXPECT_EQ(json::parse(lines[2]).size(), 3U);
}

TEST(Log, LinesBelowTheLevelAreNotWritten) {
  const std::string text = stderr_of([] {
    log::set_level(log::Level::Warn);
    log::info("quiet");
    log::warn("loud");
    log::set_level(log::Level::Info);
    log::debug("quiet");
  });
  EXPECT_EQ(lines_of(text).size(), 1U) << text;
  EXPECT_NE(text.find("loud"), std::string::npos);
}

TEST(Log, KnownSecretsNeverGetOut) {
  const std::string secret = "n-can\"ary\\/7 4f";
  log::mask(secret);
  const struct {
    const char* name;
    std::string text;
  } rows[] = {
      {"plain", "connect postgres://app:" + secret + "@db"},
      {"twice", secret + secret},
      {"escaped once", json(secret).dump()},
      {"in a url", "password=n-can%22ary%5C%2F7%204f&x=1"},
      {"base64", "Authorization: Basic bi1jYW4iYXJ5XC83IDRm"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string text = stderr_of([&] {
      log::error(row.text, {{"nested", {{"list", {row.text}}}}, {row.text, true}});
    });
    ASSERT_TRUE(json::accept(text)) << text;
    for (const auto* part : {"can", "ary", "bi1jYW4"}) {
      EXPECT_EQ(text.find(part), std::string::npos) << text;
    }
    EXPECT_NE(text.find("[redacted]"), std::string::npos) << text;
    EXPECT_EQ(log::masked(row.text).find("ary"), std::string::npos);
  }
}

TEST(Log, MaskingNeverCutsAnEscapeInTwo) {
  log::mask("nine-characters");
  const std::string text = stderr_of([] { log::info("x", {{"value", "\nine-characters"}}); });
  EXPECT_EQ(json::parse(text)["value"], "\nine-characters") << "it only looks like it when escaped";
}

TEST(Log, LongerSecretHidesTheOneInsideIt) {
  log::mask("abcdefgh1");
  log::mask("abcdefgh1-and-more");
  EXPECT_EQ(log::masked("is abcdefgh1-and-more here"), "is [redacted] here");
}

TEST(Log, SecretsThatOverlapAreBothHidden) {
  log::mask("first-half-of");
  log::mask("half-of-second");
  EXPECT_EQ(log::masked("a first-half-of-second b"), "a [redacted] b");
  EXPECT_EQ(log::masked("a first-half-of"), "a [redacted]");
  EXPECT_EQ(log::masked("half-of-second b"), "[redacted] b");
}

TEST(Log, FindsEachOfThousandsOfSecrets) {
  const auto secret = [](int i) { return "prefix-" + std::to_string(7919 * i) + "-suffix"; };
  for (int i = 0; i < 5000; ++i) log::mask(secret(i));
  for (int i = 0; i < 5000; i += 97) {
    ASSERT_EQ(log::masked("x" + secret(i) + "y"), "x[redacted]y") << i;
  }
  EXPECT_EQ(log::masked("prefix-3-suffix"), "prefix-3-suffix");
}

TEST(Log, ShortValuesAreNotSecrets) {
  log::mask("true");
  log::mask("");
  EXPECT_EQ(log::masked("true or not"), "true or not");
}

TEST(Log, ThreadsDoNotMixTheirLines) {
  const std::string text = stderr_of([] {
    std::vector<std::jthread> writers;
    for (int writer = 0; writer < 4; ++writer) {
      writers.emplace_back([writer] {
        for (int i = 0; i < 100; ++i) {
          log::info("line", {{"writer", writer}, {"i", i}, {"filler", std::string(300, 'x')}});
          if (i % 10 == 0) log::mask("secret-of-" + std::to_string(writer * 1000 + i));
        }
      });
    }
  });
  const auto lines = lines_of(text);
  EXPECT_EQ(lines.size(), 400U);
  for (const auto& line : lines) ASSERT_TRUE(json::accept(line)) << line;
}

}  // namespace
}  // namespace stackspec
