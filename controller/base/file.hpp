// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stackspec {

/// The whole file. Errors: NotFound, Forbidden, Invalid when over `limit_bytes`, Unavailable.
Result<std::string> read_file(const std::string& path, std::size_t limit_bytes = 16U << 20U);

/// Writes `<path>.tmp` with `mode`, fsyncs, renames, fsyncs the folder: a reader sees the old text
/// or the new one, whatever dies when. One writer per path at a time. Errors: Unavailable (disk
/// full, …), Forbidden, NotFound (the folder).
Result<void> write_file_atomically(const std::string& path, std::string_view text,
                                   unsigned mode = 0644);

/// An advisory lock that dies with its holder (flock). Movable; unlocks when destroyed.
class FileLock {
 public:
  /// Error: Conflict, naming the path and the process that holds it, when it is held.
  static Result<FileLock> acquire(const std::string& path);
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_ = -1;
};

}  // namespace stackspec
