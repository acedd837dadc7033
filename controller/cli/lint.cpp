// SPDX-License-Identifier: Apache-2.0
#include "cli/lint.hpp"

#include <iostream>
#include <map>

#include "base/file.hpp"
#include "cli/documents.hpp"

namespace stackspec {

ExitCode run_lint(const std::vector<std::string>& files) {
  ExitCode code = kExitOk;
  std::map<ObjectKey, std::string> seen;
  for (const std::string& path : files) {
    const auto text = read_file(path);
    if (!text) {
      std::cerr << "stackspec: " << text.error().message << "\n";
      return kExitUsage;
    }
    // Who may read the file is a matter of the host that applies it.
    const auto objects = read_documents(path, *text, 0600);
    if (!objects) {
      std::cout << objects.error().message << "\n";
      code = kExitNo;
      continue;
    }
    for (const FileObject& one : *objects) {
      const ObjectKey& key = one.object.key;
      const auto [first, fresh] = seen.emplace(key, path);
      if (fresh) continue;
      std::cout << path << ":" << one.document.line_of("metadata.name")
                << ": metadata.name: " << key.kind << " " << key.name << " is in " << first->second
                << " too; keep one of them\n";
      code = kExitNo;
    }
  }
  return code;
}

}  // namespace stackspec
