// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace stackspec {

/// How a command ends; docs/cli.md is the contract.
enum ExitCode : int {
  kExitOk = 0,
  kExitNo = 1,     ///< It ran, and the answer is no: a problem was found, no such stack, stalled.
  kExitUsage = 2,  ///< The command line or a file it names is wrong.
  kExitWorld = 3,  ///< The folder is held by another controller, the disk is full, …
};

/// The whole program: parses the command line and runs the command. Data goes to stdout, all else
/// to stderr.
int run_program(int argc, const char* const* argv);

}  // namespace stackspec
