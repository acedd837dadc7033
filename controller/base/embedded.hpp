// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace stackspec {

/// A text file compiled into the program by cmake/embed.cmake: a CRD, a task script, the catalog.
struct EmbeddedFile {
  std::string_view name;  ///< File name without its folder: "stackspecs.yaml".
  std::string_view text;
};

}  // namespace stackspec
