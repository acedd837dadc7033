// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cli/commands.hpp"

namespace stackspec {

/// Prints all that is wrong with the files, `FILE:LINE: field.path: what; what to do` one a line,
/// to stdout. Exit codes: 0 nothing, 1 something, 2 a file cannot be read.
ExitCode run_lint(const std::vector<std::string>& files);

}  // namespace stackspec
