// SPDX-License-Identifier: Apache-2.0
#include "cli/requests.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "base/file.hpp"
#include "base/log.hpp"

namespace stackspec {

namespace {

constexpr std::string_view kRetryPrefix = "retry-";
constexpr const char* kRetryAnnotation = "stackspec.dev/retry";
constexpr int kTries = 5;  ///< Against other writers of the same object.

Result<void> retry(ObjectApi& objects, const StackKey& stack, const std::string& token) {
  for (int tried = 1;; ++tried) {
    Object object = TRY(objects.get({"StackSpec", stack.ns, stack.name}));
    object.annotations[kRetryAnnotation] = token;
    auto updated = objects.update(object);
    if (updated) return {};
    if (updated.error().kind != ErrorKind::Conflict || tried == kTries) {
      return std::move(updated).error();
    }
  }
}

}  // namespace

Result<std::string> request_retry(const std::string& folder, const StackKey& stack,
                                  const std::string& token) {
  std::error_code failure;
  std::filesystem::create_directory(folder, failure);
  const std::string path = folder + "/" + std::string(kRetryPrefix) + stack.ns + "." + stack.name;
  TRY(write_file_atomically(path, token + "\n", 0600));
  return path;
}

void apply_requests(ObjectApi& objects, const std::string& folder) {
  std::error_code failure;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kRetryPrefix) && !name.ends_with(".tmp")) names.push_back(name);
  }
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    auto token = read_file(path, 256);
    const std::string about = name.substr(kRetryPrefix.size());
    const auto dot = about.find('.');
    if (!token || dot == std::string::npos) {
      log::warn("request not understood", {{"path", path}});
      std::filesystem::remove(path, failure);
      continue;
    }
    while (!token->empty() && token->back() == '\n') token->pop_back();
    const auto done = retry(objects, {about.substr(0, dot), about.substr(dot + 1)}, *token);
    if (!done) log::warn("retry failed", {{"stack", about}, {"detail", done.error().message}});
    // Only a store that cannot be written to keeps the request; the next look tries again.
    if (!done && done.error().kind == ErrorKind::Unavailable) continue;
    std::filesystem::remove(path, failure);
  }
}

}  // namespace stackspec
