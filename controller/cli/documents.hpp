// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/codec.hpp"
#include "objects/object_api.hpp"

// Files a person wrote, as objects. Pure.

namespace stackspec {

/// One document of a file.
struct FileObject {
  Object object;      ///< Key, labels, annotations and content; nothing a store gives.
  Document document;  ///< For the line numbers of later errors.
};

/// Every document of a file, what others refer to first: Secret, ConfigMap, StackSpec, StackBackup,
/// StackRestore. `mode` is the file's: a Secret must not be readable by others. Error: Invalid with
/// all that is wrong, `FILE:LINE: field.path: what; what to do`, one a line.
Result<std::vector<FileObject>> read_documents(const std::string& path, std::string_view text,
                                               mode_t mode);

/// What forbids replacing `stored` by what the file says, one `FILE:LINE: …` each.
std::vector<std::string> problems_of_change(const std::string& path, const FileObject& wanted,
                                            const Object& stored);

/// Every value of a Secret, as written.
std::vector<std::string> secret_values(const Object& secret);

}  // namespace stackspec
