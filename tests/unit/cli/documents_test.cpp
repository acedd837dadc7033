// SPDX-License-Identifier: Apache-2.0
#include "cli/documents.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackspec {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kStack = R"(apiVersion: stackspec.dev/v1alpha1
kind: StackSpec
metadata:
  name: crm
spec:
  tag: v1.15
)";
constexpr const char* kSecret = R"(apiVersion: v1
kind: Secret
metadata:
  name: smtp
stringData:
  PASSWORD: hunter2hunter2
)";

TEST(Documents, AreReadInTheOrderInWhichTheyReferToEachOther) {
  const auto objects = read_documents("a.yaml", std::string(kStack) + "---\n" + kSecret, 0600);
  ASSERT_TRUE(objects) << objects.error().message;
  ASSERT_EQ(objects->size(), 2U);
  EXPECT_EQ((*objects)[0].object.key, (ObjectKey{"Secret", "default", "smtp"}));
  EXPECT_EQ((*objects)[1].object.key, (ObjectKey{"StackSpec", "default", "crm"}));
  EXPECT_EQ((*objects)[1].object.content["spec"]["tag"], "v1.15");
  EXPECT_FALSE((*objects)[1].object.content.contains("metadata"));
}

TEST(Documents, SayFileLineFieldWhatAndWhatToDo) {
  const struct {
    const char* name;
    std::string text;
    mode_t mode;
    const char* starts;
    const char* has;
  } rows[] = {
      {"a field nobody knows", std::string(kStack) + "  flag: {A: true}\n", 0644,
       "a.yaml:7: ", "spec.flag"},
      {"a tag that moves",
       "apiVersion: stackspec.dev/v1alpha1\nkind: StackSpec\nmetadata: {name: "
       "crm}\nspec:\n  tag: latest\n",
       0644, "a.yaml:5: spec.tag: ", "latest"},
      {"not YAML", "a: [1", 0644, "a.yaml:", ""},
      {"another kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", 0644,
       "a.yaml:2: kind: ", "must be StackSpec"},
      {"no name", "apiVersion: v1\nkind: ConfigMap\ndata: {}\n", 0644, "a.yaml", "metadata.name"},
      {"a number in a Secret",
       "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {PORT: 25}\n", 0600,
       "a.yaml:4: stringData.PORT: ", "quotes"},
      {"two of one name", std::string(kStack) + "---\n" + kStack, 0644,
       "a.yaml:11: metadata.name: ", "two documents"},
      {"a Secret others can read", kSecret, 0644, "a.yaml:2: ", "chmod 600 a.yaml"},
      {"a Secret its group can read", kSecret, 0640, "a.yaml:2: ", "chmod 600 a.yaml"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto objects = read_documents("a.yaml", row.text, row.mode);
    ASSERT_FALSE(objects);
    EXPECT_THAT(objects.error().message, StartsWith(row.starts));
    EXPECT_THAT(objects.error().message, HasSubstr(row.has));
  }
}

TEST(Documents, JudgeAChangeAgainstWhatIsStored) {
  auto objects = read_documents("a.yaml", kStack, 0644);
  ASSERT_TRUE(objects) << objects.error().message;
  Object stored = objects->front().object;
  EXPECT_TRUE(problems_of_change("a.yaml", objects->front(), stored).empty());
  stored.content["spec"]["tag"] = "v1.17";
  stored.status["version"] = "v1.17.4";
  const auto problems = problems_of_change("a.yaml", objects->front(), stored);
  ASSERT_EQ(problems.size(), 1U) << "a downgrade below the proven version";
  EXPECT_THAT(problems.front(), StartsWith("a.yaml:6: spec.tag: "));
}

}  // namespace
}  // namespace stackspec
