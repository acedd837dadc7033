// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>

#include "fakes/eventually.hpp"
#include "fakes/temp_folder.hpp"

namespace stackspec {
namespace {

/// Runs `body` in a child process and returns the child; the child's exit code is `body`'s value.
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

void kill_child(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

void plain_write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

mode_t mode_of(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

TEST(File, ReadsWhatIsThereAndNamesWhatIsNot) {
  const TempFolder folder;
  plain_write(folder / "text", std::string("a\0b\n", 4));
  EXPECT_EQ(*read_file(folder / "text"), std::string("a\0b\n", 4));
  EXPECT_EQ(*read_file(folder / "text", 4), std::string("a\0b\n", 4));

  const auto missing = read_file(folder / "nothing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::NotFound);
  EXPECT_NE(missing.error().message.find(folder / "nothing"), std::string::npos);

  EXPECT_EQ(read_file(folder / "text", 3).error().kind, ErrorKind::Invalid);
  EXPECT_EQ(read_file(folder.path()).error().kind, ErrorKind::Invalid);
}

TEST(File, WritesWithExactlyTheModeAsked) {
  const TempFolder folder;
  plain_write(folder / "secret.tmp", "left by a crash, and others can read it");
  const mode_t before = ::umask(0);
  ASSERT_TRUE(write_file_atomically(folder / "secret", "new", 0600));
  ::umask(0077);
  ASSERT_TRUE(write_file_atomically(folder / "public", "new", 0644));
  ::umask(before);
  EXPECT_EQ(mode_of(folder / "secret"), 0600U);
  EXPECT_EQ(mode_of(folder / "public"), 0644U);
  EXPECT_EQ(*read_file(folder / "secret"), "new");
  EXPECT_FALSE(std::filesystem::exists(folder / "secret.tmp"));
  EXPECT_EQ(write_file_atomically(folder / "no/such/folder", "x").error().kind,
            ErrorKind::NotFound);
}

TEST(File, ReaderSeesTheOldTextOrTheNewWhateverDies) {
  const TempFolder folder;
  const std::string path = folder / "text";
  const std::string texts[] = {std::string(300000, 'a'), std::string(200000, 'b')};
  ASSERT_TRUE(write_file_atomically(path, texts[0]));
  int changes = 0;
  for (int round = 0; round < 20; ++round) {
    const pid_t writer = in_child([&] {
      for (int i = 0;; ++i) {
        if (!write_file_atomically(path, texts[i % 2])) return 1;
      }
    });
    std::string last;
    // A busy machine may let the writer wait for long.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (changes <= round && std::chrono::steady_clock::now() < end) {
      const auto text = read_file(path);
      ASSERT_TRUE(text) << text.error().message;
      ASSERT_TRUE(*text == texts[0] || *text == texts[1]) << "half a file";
      if (!last.empty() && *text != last) ++changes;
      last = *text;
    }
    kill_child(writer);
    const auto text = read_file(path);
    ASSERT_TRUE(text && (*text == texts[0] || *text == texts[1])) << "half a file after a kill";
  }
  EXPECT_GE(changes, 20) << "the writer never wrote: nothing was proven";
}

/// Makes the disk under `folder` hold at most 64 KiB, for this process only.
bool shrink_disk(const std::string& folder) {
  if (::unshare(CLONE_NEWNS) == 0 &&
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
      ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=64k") == 0) {
    return true;
  }
  ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {65536, 65536};
  return ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

TEST(File, FullDiskIsUnavailableAndKeepsTheOldFile) {
  const TempFolder folder;
  const std::string path = folder / "text";
  const pid_t child = in_child([&] {
    if (!shrink_disk(folder.path())) return 2;
    if (!write_file_atomically(path, "old")) return 3;
    const auto written = write_file_atomically(path, std::string(1U << 20U, 'n'));
    if (written) return 4;
    if (written.error().kind != ErrorKind::Unavailable) return 5;
    if (std::filesystem::exists(path + ".tmp")) return 6;
    const auto text = read_file(path);
    if (!text || *text != "old") return 7;
    return write_file_atomically(path, "fits again") ? 0 : 8;
  });
  EXPECT_EQ(exit_code_of(child), 0);
}

TEST(FileLock, NamesTheHolderUntilItLetsGo) {
  const TempFolder folder;
  const std::string path = folder / "lock";
  {
    auto held = FileLock::acquire(path);
    ASSERT_TRUE(held);
    FileLock moved = std::move(*held);
    const auto second = FileLock::acquire(path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind, ErrorKind::Conflict);
    EXPECT_EQ(second.error().message, path + " is locked by process " + std::to_string(::getpid()));
  }
  EXPECT_TRUE(FileLock::acquire(path));
  EXPECT_EQ(FileLock::acquire(folder / "no/folder").error().kind, ErrorKind::NotFound);
}

TEST(FileLock, DiesWithItsHolder) {
  const TempFolder folder;
  const std::string path = folder / "lock";
  const pid_t holder = in_child([&]() -> int {
    // The parent, which only wants to see who holds it, may be first.
    while (true) {
      if (const auto held = FileLock::acquire(path)) ::pause();
    }
  });
  const std::string name = "process " + std::to_string(holder);
  EXPECT_TRUE(eventually([&] {
    const auto lock = FileLock::acquire(path);
    return !lock && lock.error().message.find(name) != std::string::npos;
  }));
  kill_child(holder);
  EXPECT_TRUE(FileLock::acquire(path));
}

}  // namespace
}  // namespace stackspec
