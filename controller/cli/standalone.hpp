// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/result.hpp"

namespace stackspec {

struct StandaloneOptions {
  std::string platform = "local";
  std::string data_folder;
  std::string release_folder;
  std::vector<std::string> stack_files;
  std::string catalog_file;  ///< Empty: the one of the program.
  std::string http_address = "127.0.0.1:0";
  std::string run_as;
  int workers = 2;
  bool stop_on_exit = false;
};

/// The controller of one host: joins the parts and blocks until SIGINT or SIGTERM, then ends them
/// in order. What it started goes on running unless `stop_on_exit`. Call from the main thread,
/// before any other thread exists. Errors: Conflict (data folder or port taken), Invalid (an
/// option), NotFound (a file), Unavailable.
Result<void> run_standalone(const StandaloneOptions& options);

/// Files below the data folder that other commands use.
std::string objects_path(const std::string& data_folder);
std::string requests_path(const std::string& data_folder);

}  // namespace stackspec
