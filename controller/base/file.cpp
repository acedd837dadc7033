// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace stackspec {

namespace {

ErrorKind kind_of(int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR: return ErrorKind::NotFound;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorKind::Forbidden;
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG: return ErrorKind::Invalid;
    default: return ErrorKind::Unavailable;
  }
}

Error failure(int code, const char* what, const std::string& path) {
  return {kind_of(code),
          std::string(what) + " " + path + ": " + std::generic_category().message(code)};
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_ = -1;
};

int open_retrying(const std::string& path, int flags, mode_t mode) {
  int descriptor = -1;
  do {
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

/// 0, or the errno of the write that failed.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : ENOSPC;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

/// 0 or an errno. A file made before with another mode must not lend it to the new text, hence
/// O_EXCL after unlink and fchmod against the umask.
int write_new_file(const std::string& path, std::string_view text, mode_t mode) {
  ::unlink(path.c_str());
  Descriptor file(open_retrying(path, O_WRONLY | O_CREAT | O_EXCL, mode));
  if (file.get() < 0) return errno;
  if (::fchmod(file.get(), mode) != 0) return errno;
  if (const int code = write_all(file.get(), text); code != 0) return code;
  if (::fsync(file.get()) != 0) return errno;
  return ::close(file.release()) == 0 || errno == EINTR ? 0 : errno;
}

/// 0 or an errno. Without it a rename may be lost with the power.
int sync_folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "."
                             : slash == 0               ? "/"
                                                        : path.substr(0, slash);
  Descriptor directory(open_retrying(folder, O_RDONLY | O_DIRECTORY, 0));
  if (directory.get() < 0) return errno;
  // Some file systems cannot sync a folder and say EINVAL: then there is nothing to wait for.
  return ::fsync(directory.get()) == 0 || errno == EINVAL ? 0 : errno;
}

std::string holder_named_in(int descriptor) {
  char text[32] = {};
  const ssize_t count = ::pread(descriptor, text, sizeof text - 1, 0);
  std::string pid(text, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  while (!pid.empty() && (pid.back() == '\n' || pid.back() == '\0')) pid.pop_back();
  return pid.empty() ? "another process" : "process " + pid;
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
  Descriptor file(open_retrying(path, O_RDONLY, 0));
  if (file.get() < 0) return failure(errno, "read", path);
  std::string text;
  char buffer[16384];
  while (true) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(errno, "read", path);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > limit_bytes) {
      return Error{ErrorKind::Invalid, "read " + path + ": larger than the limit of " +
                                           std::to_string(limit_bytes) + " bytes"};
    }
  }
}

Result<void> write_file_atomically(const std::string& path, std::string_view text, unsigned mode) {
  const std::string temporary = path + ".tmp";
  int code = write_new_file(temporary, text, static_cast<mode_t>(mode));
  if (code == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) code = errno;
  if (code != 0) {
    ::unlink(temporary.c_str());
    return failure(code, "write", path);
  }
  code = sync_folder_of(path);
  if (code != 0) return failure(code, "sync the folder of", path);
  return {};
}

Result<FileLock> FileLock::acquire(const std::string& path) {
  Descriptor file(open_retrying(path, O_RDWR | O_CREAT, 0600));
  if (file.get() < 0) return failure(errno, "lock", path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failure(errno, "lock", path);
    return Error{ErrorKind::Conflict, path + " is locked by " + holder_named_in(file.get())};
  }
  // The text is for people only: the lock itself is the truth, so a full disk is no reason to fail.
  if (::ftruncate(file.get(), 0) == 0) write_all(file.get(), std::to_string(::getpid()) + "\n");
  return FileLock(file.release());
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace stackspec
