// SPDX-License-Identifier: Apache-2.0
#include "cli/source_watch.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/log.hpp"

namespace stackspec {

std::optional<FileMark> mark_of(const std::string& path) {
  struct stat about = {};
  if (::stat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) return std::nullopt;
  return FileMark{.device = about.st_dev,
                  .inode = about.st_ino,
                  .size = about.st_size,
                  .changed_ns = about.st_ctim.tv_sec * 1'000'000'000 + about.st_ctim.tv_nsec,
                  .mode = about.st_mode};
}

SourceWatch::SourceWatch(const std::vector<std::string>& folders)
    : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  constexpr std::uint32_t kChanges =
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_MODIFY;
  for (const std::string& folder : folders) {
    if (inotify_ < 0 || ::inotify_add_watch(inotify_, folder.c_str(), kChanges) < 0) {
      log::warn("folder is looked at now and then only",
                {{"path", folder}, {"detail", std::strerror(errno)}});
    }
  }
}

SourceWatch::~SourceWatch() {
  if (inotify_ >= 0) ::close(inotify_);
  if (wake_ >= 0) ::close(wake_);
}

void SourceWatch::wait(std::chrono::milliseconds limit, const std::stop_token& stop) {
  const std::stop_callback on_stop(stop, [this] {
    const std::uint64_t one = 1;
    // The counter cannot overflow, and nobody could be told if it did.
    [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
  });
  std::array<pollfd, 2> fds = {pollfd{wake_, POLLIN, 0}, pollfd{inotify_, POLLIN, 0}};
  if (::poll(fds.data(), fds.size(), static_cast<int>(limit.count())) <= 0) return;
  std::array<char, 4096> events{};
  while (inotify_ >= 0 && ::read(inotify_, events.data(), events.size()) > 0) continue;
}

}  // namespace stackspec
