// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "cli/source_watch.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

struct StackFilesOptions {
  std::vector<std::string> paths;  ///< Files, and folders whose *.yaml, *.yml and *.json count.
  std::string requests_folder;     ///< See cli/requests.hpp; empty: none.
  std::chrono::milliseconds look_every{3000};  ///< Where the kernel tells nothing (network mounts).
};

/// Keeps objects equal to files: StackSpec, StackBackup, StackRestore, Secret and ConfigMap
/// documents of `paths`. A file is taken as a whole or not at all: with any document wrong it is
/// logged and recorded as an Event `InvalidSpec`, and what it said before stays in force. A file
/// with a Secret that others can read is refused. A file that goes deletes nothing.
/// For one thread.
class StackFiles {
 public:
  StackFiles(ObjectApi& objects, const Clock& clock, StackFilesOptions options);

  /// Takes every file that differs from what was taken before, and the requests.
  /// Error: NotFound when one of `paths` does not exist.
  Result<void> apply();

  /// apply() on every change until `stop`. A file is taken when it has stopped changing.
  void run(std::stop_token stop);

  /// Files whose newest text was refused, by path.
  const std::map<std::string, std::string>& refused() const { return refused_; }

 private:
  struct Taken {
    FileMark mark;
    std::vector<ObjectKey> objects;
  };

  Result<std::vector<std::string>> files() const;
  bool apply_settled(std::map<std::string, FileMark>& unsettled);
  void take(const std::string& path, const FileMark& mark);
  void refuse(const std::string& path, const std::string& why);
  void accept(const std::string& path);
  void forget_gone(const std::vector<std::string>& present);

  ObjectApi& objects_;
  const Clock& clock_;
  StackFilesOptions options_;
  std::map<std::string, Taken> taken_;
  std::map<std::string, std::string> refused_;
};

/// Name of the Event object that says why a file is not in force.
std::string file_event_name(const std::string& path);

}  // namespace stackspec
