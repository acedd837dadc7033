// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/commands.hpp"

namespace stackspec {

struct StatusOptions {
  std::string name;  ///< Empty: every stack.
  std::string ns = "default";
  std::string data_folder;
  std::string output;       ///< Empty: for people; `json`.
  bool watch = false;       ///< Shows every change until interrupted, or until `until` is true.
  std::string until;        ///< `rest`: ends when nothing is in flight for the newest spec.
  int timeout_seconds = 0;  ///< For `until`; 0: none.
};

/// Shows stacks from the objects of a data folder, with or without a controller running there.
ExitCode run_status(const StatusOptions& options);

}  // namespace stackspec
