// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "fakes/temp_folder.hpp"
#include "objects/object_api.hpp"

namespace stackspec {
namespace {

pid_t in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  return pid;
}

int exit_code_of(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::unique_ptr<ObjectApi> open_objects(const std::string& path) {
  auto objects = make_sqlite_objects(path);
  EXPECT_TRUE(objects) << (objects ? "" : objects.error().message);
  return objects ? std::move(*objects) : nullptr;
}

Object numbered(const std::string& name, int number) {
  Object object;
  object.key = {"StackSpec", "default", name};
  object.content["spec"]["number"] = number;
  return object;
}

mode_t mode_of(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

/// Writes for ever: each new object, then its status; says so on `pipe` only when both are
/// acknowledged.
int write_for_ever(const std::string& path, int first, int pipe) {
  auto objects = make_sqlite_objects(path);
  if (!objects) return 1;
  for (int number = first;; ++number) {
    auto made = (*objects)->create(numbered("crm-" + std::to_string(number), number));
    if (!made) return 2;
    made->status["number"] = number;
    if (!(*objects)->update_status(*made)) return 3;
    if (::write(pipe, &number, sizeof number) != sizeof number) return 4;
  }
}

/// The numbers that the writer said were stored; it is killed after `wanted` of them.
std::vector<int> read_numbers(int pipe, int wanted, pid_t writer) {
  std::vector<int> numbers;
  int number = 0;
  while (::read(pipe, &number, sizeof number) == sizeof number) {
    if (static_cast<int>(numbers.size()) == wanted) ::kill(writer, SIGKILL);
    numbers.push_back(number);
  }
  return numbers;
}

TEST(SqliteObjects, KillNineLosesNoAcknowledgedWrite) {
  const TempFolder folder;
  const std::string path = folder / "objects.db";
  std::mt19937 random(3);
  std::vector<int> acknowledged;
  int next = 0;
  std::int64_t version = 0;
  for (int round = 0; round < 30; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t writer = in_child([&] { return write_for_ever(path, next, ends[1]); });
    ::close(ends[1]);
    const auto numbers = read_numbers(ends[0], static_cast<int>(random() % 12), writer);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(writer, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself: " << WEXITSTATUS(status);
    ASSERT_FALSE(numbers.empty());
    acknowledged.insert(acknowledged.end(), numbers.begin(), numbers.end());

    const auto objects = open_objects(path);
    ASSERT_TRUE(objects);
    for (const int number : acknowledged) {
      const auto object = objects->get(numbered("crm-" + std::to_string(number), 0).key);
      ASSERT_TRUE(object) << "write " << number << " was acknowledged and is gone";
      EXPECT_EQ(object->content.at("spec").at("number"), number);
      EXPECT_EQ(object->status.value("number", -1), number);
    }
    const auto list = objects->list("StackSpec", "");
    ASSERT_TRUE(list);
    EXPECT_GT(list->resource_version, version) << "versions went back";
    version = list->resource_version;
    next = static_cast<int>(list->items.size());
    EXPECT_LE(next, numbers.back() + 2) << "only one can have been under way";
  }
}

TEST(SqliteObjects, EverythingIsThereAfterOpeningAgain) {
  const TempFolder folder;
  const std::string path = folder / "objects.db";
  auto made = *open_objects(path)->create(numbered("crm", 1));
  const auto again = open_objects(path);
  const auto got = again->get(made.key);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->uid, made.uid);
  EXPECT_EQ(got->resource_version, made.resource_version);
  ASSERT_TRUE(again->remove(made.key, "", 0));
  const auto next = again->create(numbered("crm", 2));
  ASSERT_TRUE(next);
  EXPECT_EQ(next->resource_version, made.resource_version + 2) << "a removal counts too";

  // A watch that began in the life before goes on.
  std::stop_source stop;
  std::vector<int> types;
  static_cast<void>(again->watch(
      "StackSpec", made.resource_version,
      [&](const WatchEvent& event) {
        types.push_back(static_cast<int>(event.type));
        if (types.size() == 2) stop.request_stop();
      },
      stop.get_token()));
  EXPECT_EQ(types, (std::vector<int>{2, 0}));
}

TEST(SqliteObjects, FilesAreOnlyForTheirOwner) {
  const TempFolder folder;
  const mode_t before = ::umask(0);
  {
    const auto objects = open_objects(folder / "new.db");
    ASSERT_TRUE(objects->create(numbered("crm", 1)));
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      EXPECT_EQ(mode_of(entry.path()), 0600U) << entry.path();
    }
  }
  std::ofstream(folder / "old.db").close();
  const auto objects = open_objects(folder / "old.db");
  EXPECT_EQ(mode_of(folder / "old.db"), 0600U);
  ::umask(before);
}

TEST(SqliteObjects, TwoConnectionsWaitForEachOther) {
  const TempFolder folder;
  const std::string path = folder / "objects.db";
  const auto first = open_objects(path);
  const auto second = open_objects(path);
  std::atomic<int> failed = 0;
  {
    std::vector<std::jthread> writers;
    for (ObjectApi* api : {first.get(), second.get()}) {
      writers.emplace_back([&failed, api] {
        const std::string name = "of-" + std::to_string(reinterpret_cast<std::uintptr_t>(api));
        for (int i = 0; i < 25; ++i) {
          if (!api->create(numbered(name + "-" + std::to_string(i), i))) ++failed;
        }
      });
    }
  }
  EXPECT_EQ(failed, 0);
  const auto list = first->list("StackSpec", "");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->items.size(), 50U);
  EXPECT_EQ(list->resource_version, 50);
}

TEST(SqliteObjects, WhatCannotBeOpenedIsNamed) {
  const TempFolder folder;
  std::ofstream(folder / "garbage") << std::string(8192, 'x');
  for (const auto& path : {folder.path(), folder / "garbage", folder / "no/such/folder"}) {
    SCOPED_TRACE(path);
    const auto objects = make_sqlite_objects(path);
    ASSERT_FALSE(objects);
    EXPECT_EQ(objects.error().kind, ErrorKind::Unavailable);
    EXPECT_NE(objects.error().message.find(path), std::string::npos) << objects.error().message;
  }
}

TEST(SqliteObjects, FullDiskIsUnavailableAndLosesNothing) {
  const TempFolder folder;
  const std::string path = folder / "objects.db";
  const pid_t child = in_child([&] {
    auto objects = make_sqlite_objects(path);
    if (!objects) return 2;
    if (!(*objects)->create(numbered("crm", 1))) return 3;
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {300000, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 4;
    Object big = numbered("big", 2);
    big.content["filler"] = std::string(2U << 20U, 'x');
    const auto refused = (*objects)->create(big);
    if (refused) return 5;
    if (refused.error().kind != ErrorKind::Unavailable) return 6;
    const auto kept = (*objects)->get(numbered("crm", 0).key);
    if (!kept || kept->content.at("spec").at("number") != 1) return 7;
    if ((*objects)->get(big.key)) return 8;
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &none);
    const auto fits = (*objects)->create(big);
    if (!fits) return 9;
    return fits->resource_version == 2 ? 0 : 10;
  });
  EXPECT_EQ(exit_code_of(child), 0);
  const auto objects = open_objects(path);
  EXPECT_TRUE(objects && objects->get(numbered("big", 0).key));
}

}  // namespace
}  // namespace stackspec
