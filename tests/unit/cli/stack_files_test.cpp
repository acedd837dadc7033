// SPDX-License-Identifier: Apache-2.0
#include "cli/stack_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/log.hpp"
#include "cli/requests.hpp"

namespace stackspec {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string stack_text(const std::string& name, const std::string& tag) {
  return "apiVersion: stackspec.dev/v1alpha1\nkind: StackSpec\nmetadata:\n  name: " + name +
         "\nspec:\n  tag: " + tag + "\n";
}

class StackFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "stack_files.XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    auto objects = make_sqlite_objects(":memory:");
    ASSERT_TRUE(objects);
    objects_ = std::move(*objects);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  /// As an editor does it: a new file over the old one.
  void write(const std::string& name, const std::string& text, mode_t mode = 0644) const {
    const std::string draft = path("." + name);
    std::ofstream(draft) << text;
    fs::permissions(draft, static_cast<fs::perms>(mode));
    fs::rename(draft, path(name));
  }

  StackFiles files(std::vector<std::string> paths) {
    return {*objects_,
            system_clock(),
            {.paths = std::move(paths), .requests_folder = path("requests")}};
  }

  std::string tag_of(const std::string& name) {
    const auto object = objects_->get({"StackSpec", "default", name});
    return object ? object->content["spec"]["tag"].get<std::string>() : "(none)";
  }
  std::int64_t version_of(const std::string& name) {
    return objects_->get({"StackSpec", "default", name}).value().resource_version;
  }

  static bool soon(const std::function<bool()>& true_now) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!true_now()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  std::string folder_;
  std::unique_ptr<ObjectApi> objects_;
};

TEST_F(StackFilesTest, TakesAFolderAndWritesOnlyWhatDiffers) {
  write("a.yaml", stack_text("crm", "v1.15"));
  write("notes.txt", "not an object");
  StackFiles watched = files({folder_});
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "v1.15");
  const std::int64_t version = version_of("crm");
  write("a.yaml", "# a comment\n" + stack_text("crm", "v1.15"));
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(version_of("crm"), version);
  EXPECT_TRUE(watched.refused().empty());
}

TEST_F(StackFilesTest, KeepsTheLastGoodObjectInForceAndTellsWhy) {
  write("a.yaml", stack_text("crm", "v1.15"));
  StackFiles watched = files({path("a.yaml")});
  ASSERT_TRUE(watched.apply());
  write("a.yaml", stack_text("crm", "latest"));
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "v1.15");
  const ObjectKey event{"Event", "default", file_event_name(path("a.yaml"))};
  const auto told = objects_->get(event);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->content["reason"], "InvalidSpec");
  EXPECT_EQ(told->content["regarding"]["name"], "crm");
  EXPECT_THAT(told->content["note"].get<std::string>(), HasSubstr("a.yaml:6: spec.tag: "));
  write("a.yaml", stack_text("crm", "v1.16"));
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "v1.16");
  EXPECT_FALSE(objects_->get(event)) << "the event goes with its cause";
}

TEST_F(StackFilesTest, TakesAFileAsAWholeOrNotAtAll) {
  write("a.yaml", stack_text("crm", "v1.15") + "---\n" + stack_text("other", "latest"));
  StackFiles watched = files({path("a.yaml")});
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "(none)");
  EXPECT_EQ(watched.refused().size(), 1U);
}

TEST_F(StackFilesTest, RefusesADowngradeBelowTheProvenVersion) {
  write("a.yaml", stack_text("crm", "v1.17"));
  StackFiles watched = files({path("a.yaml")});
  ASSERT_TRUE(watched.apply());
  Object object = objects_->get({"StackSpec", "default", "crm"}).value();
  object.status["version"] = "v1.17.4";
  ASSERT_TRUE(objects_->update_status(object));
  write("a.yaml", stack_text("crm", "v1.15"));
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "v1.17");
  EXPECT_EQ(watched.refused().size(), 1U);
}

TEST_F(StackFilesTest, RefusesASecretThatOthersCanReadAndMasksItsValues) {
  const std::string secret =
      "apiVersion: v1\nkind: Secret\nmetadata: {name: smtp}\n"
      "stringData: {PASSWORD: canary-in-a-file}\n";
  write("s.yaml", secret, 0644);
  StackFiles watched = files({path("s.yaml")});
  ASSERT_TRUE(watched.apply());
  EXPECT_FALSE(objects_->get({"Secret", "default", "smtp"}));
  fs::permissions(path("s.yaml"), static_cast<fs::perms>(0600));
  ASSERT_TRUE(watched.apply());
  EXPECT_TRUE(objects_->get({"Secret", "default", "smtp"}));
  EXPECT_EQ(log::masked("x canary-in-a-file y"), "x [redacted] y");
}

TEST_F(StackFilesTest, KeepsAnnotationsOfOthersAndOneOwnerPerObject) {
  write("a.yaml", stack_text("crm", "v1.15"));
  write("b.yaml", stack_text("crm", "v1.16"));
  StackFiles watched = files({folder_});
  ASSERT_TRUE(watched.apply());
  EXPECT_EQ(tag_of("crm"), "v1.15");
  EXPECT_TRUE(watched.refused().contains(path("b.yaml")));
  ASSERT_TRUE(request_retry(path("requests"), {"default", "crm"}, "t1"));
  ASSERT_TRUE(watched.apply());
  write("a.yaml", stack_text("crm", "v1.17"));
  ASSERT_TRUE(watched.apply());
  const Object object = objects_->get({"StackSpec", "default", "crm"}).value();
  EXPECT_EQ(object.annotations.at("stackspec.dev/retry"), "t1");
  EXPECT_TRUE(fs::is_empty(path("requests")));
}

TEST_F(StackFilesTest, SaysWhichFileDoesNotExist) {
  const auto applied = files({path("none.yaml")}).apply();
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message, HasSubstr("none.yaml"));
}

TEST_F(StackFilesTest, FollowsEditsUntilStoppedAndDeletesNothingWithAFile) {
  write("a.yaml", stack_text("crm", "v1.15"));
  StackFiles watched = files({folder_});
  ASSERT_TRUE(watched.apply());
  std::jthread thread([&](const std::stop_token& stop) { watched.run(stop); });
  write("a.yaml", stack_text("crm", "v1.16"));
  EXPECT_TRUE(soon([&] { return tag_of("crm") == "v1.16"; })) << "a rename over the file";
  write("b.yaml", stack_text("other", "v1.16"));
  EXPECT_TRUE(soon([&] { return tag_of("other") == "v1.16"; })) << "a new file in the folder";
  fs::remove(path("a.yaml"));
  write("b.yaml", stack_text("other", "v1.17"));
  EXPECT_TRUE(soon([&] { return tag_of("other") == "v1.17"; }));
  EXPECT_EQ(tag_of("crm"), "v1.16");
  const auto before = std::chrono::steady_clock::now();
  thread.request_stop();
  thread.join();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
}

TEST_F(StackFilesTest, NeverTakesHalfAFile) {
  write("a.yaml", stack_text("crm", "v1.15"));
  StackFiles watched = files({path("a.yaml")});
  ASSERT_TRUE(watched.apply());
  std::jthread thread([&](const std::stop_token& stop) { watched.run(stop); });
  // In place, byte by byte: `v1.1` and `v1.16` are good tags too, and must not be seen on the way.
  // A writer that the machine itself holds up for long is no half a file but two edits.
  const std::string text = stack_text("crm", "v1.16.6");
  std::ofstream file(path("a.yaml"), std::ios::trunc);
  auto written = std::chrono::steady_clock::now();
  bool held_up = false;
  for (const char c : text) {
    file << c << std::flush;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const std::string tag = tag_of("crm");
    const auto now = std::chrono::steady_clock::now();
    held_up = held_up || now - written > std::chrono::milliseconds(60);
    written = now;
    ASSERT_TRUE(held_up || tag == "v1.15" || tag == "v1.16.6") << tag;
  }
  file.close();
  EXPECT_TRUE(soon([&] { return tag_of("crm") == "v1.16.6"; }));
}

}  // namespace
}  // namespace stackspec
