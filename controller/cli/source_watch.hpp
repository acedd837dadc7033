// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace stackspec {

/// What tells one text of a file from another without reading it.
struct FileMark {
  std::uint64_t device = 0, inode = 0;
  std::int64_t size = 0, changed_ns = 0;  ///< ctime: a chmod counts, a rename over it too.
  mode_t mode = 0;
  friend bool operator==(const FileMark&, const FileMark&) = default;
};
/// Of the file a symbolic link leads to; nothing when there is no regular file.
std::optional<FileMark> mark_of(const std::string& path);

/// Wakes up when something in a folder changes. Editors replace files by renaming, so folders are
/// watched, never files.
class SourceWatch {
 public:
  /// A folder that cannot be watched is left to the time limit of wait().
  explicit SourceWatch(const std::vector<std::string>& folders);
  ~SourceWatch();
  SourceWatch(const SourceWatch&) = delete;
  SourceWatch& operator=(const SourceWatch&) = delete;

  /// Returns when something changed, when `limit` has passed, or when `stop` is requested.
  void wait(std::chrono::milliseconds limit, const std::stop_token& stop);

 private:
  int inotify_ = -1;
  int wake_ = -1;
};

}  // namespace stackspec
