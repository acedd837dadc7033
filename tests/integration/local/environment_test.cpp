// SPDX-License-Identifier: Apache-2.0
#include "platform/local/environment.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "fakes/temp_folder.hpp"

namespace stackspec::local {
namespace {

TEST(LocalEnvironment, ExpandsAsAPodDoes) {
  const struct {
    const char* value;
    const char* rendered;
  } rows[] = {
      {"plain", "plain"},       {"$(A)", "1"},          {"x$(A)y$(B)", "x1y2"},
      {"$(LATER)", "$(LATER)"}, {"$$(A)", "$(A)"},      {"$A", "$A"},
      {"$(A", "$(A"},           {"$(PW)", "p$(A)\"'ä"}, {"$", "$"},
  };
  const SecretValues secrets{{"s", {{"k", "p$(A)\"'ä"}}}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.value);
    Environment environment;
    ASSERT_TRUE(environment.add({{"A", "1", {}},
                                 {"B", "2", {}},
                                 {"PW", "", SecretKeyRef{"s", "k"}},
                                 {"X", row.value, {}},
                                 {"LATER", "3", {}}},
                                secrets));
    EXPECT_EQ(environment.rendered()->back(), std::string("X=") + row.rendered);
  }
}

TEST(LocalEnvironment, LetsTheComponentWinOverSecretsAndTheImage) {
  const TempFolder folder;
  std::ofstream(folder / "image.env") << "# comment\nA=image\nB=image\nC=image=1\n\n=odd\n";
  Environment environment;
  environment.add_image(folder / "image.env");
  ASSERT_TRUE(environment.add_from({{"s", ""}, {"", "c"}},
                                   {{"s", {{"A", "secret"}, {"B", "secret"}}}, {"c", {}}}));
  ASSERT_TRUE(environment.add({{"A", "component", {}}}, {}));
  EXPECT_EQ(*environment.rendered(),
            (std::vector<std::string>{"A=component", "B=secret", "C=image=1"}));
}

TEST(LocalEnvironment, NamesWhatIsMissingAndNeverAValue) {
  Environment environment;
  const SecretValues secrets{{"s", {{"k", std::string("zero\0byte", 9)}}}};
  const auto no_secret = environment.add_from({{"smtp", ""}}, secrets);
  ASSERT_FALSE(no_secret);
  EXPECT_EQ(no_secret.error(), (Error{ErrorKind::NotFound, "no Secret smtp; create it"}));
  const auto no_key = environment.add({{"A", "", SecretKeyRef{"s", "x"}}}, secrets);
  ASSERT_FALSE(no_key);
  EXPECT_EQ(no_key.error(), (Error{ErrorKind::NotFound, "Secret s has no key x"}));
  ASSERT_TRUE(environment.add({{"A", "", SecretKeyRef{"s", "k"}}}, secrets));
  ASSERT_FALSE(environment.rendered());
  EXPECT_EQ(environment.rendered().error().message, "environment variable A holds a zero byte");
}

}  // namespace
}  // namespace stackspec::local
