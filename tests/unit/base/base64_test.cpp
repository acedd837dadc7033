// SPDX-License-Identifier: Apache-2.0
#include "base/base64.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

TEST(Base64, WritesAndReadsEveryLength) {
  const struct {
    std::string bytes;
    const char* text;
  } rows[] = {{"", ""},
              {"f", "Zg=="},
              {"fo", "Zm8="},
              {"foo", "Zm9v"},
              {"foob", "Zm9vYg=="},
              {"fooba", "Zm9vYmE="},
              {std::string("\0\xff\xfe\x7f", 4), "AP/+fw=="}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.text);
    EXPECT_EQ(base64(row.bytes), row.text);
    EXPECT_EQ(base64_decoded(row.text).value(), row.bytes);
  }
}

TEST(Base64, ReadsWhatIsFoldedAndRefusesWhatIsNone) {
  EXPECT_EQ(base64_decoded("Zm9v\r\nYm Fy\n").value(), "foobar");
  for (const char* text : {"#", "Zm9v-", "Zm9v\tYm"}) {
    SCOPED_TRACE(text);
    ASSERT_FALSE(base64_decoded(text));
    EXPECT_EQ(base64_decoded(text).error().kind, ErrorKind::Invalid);
  }
}

}  // namespace
}  // namespace stackspec
