// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace stackspec {

struct ClusterOptions {
  std::string kubeconfig;                     ///< Empty: the pod's own, or what kubectl would take.
  std::string ns;                             ///< Where the Lease lies; empty: where we live.
  std::vector<std::string> watch_namespaces;  ///< Empty: all.
  std::string catalog_file;                   ///< Empty: the one of the program.
  std::string http_address = "127.0.0.1:0";
  int workers = 4;
  bool leader_elect = true;
};

/// The controller of a cluster: joins the parts and blocks until SIGINT or SIGTERM; then its work
/// ends, and after it the Lease is given back. When the Lease may be lost the process ends at once.
/// Stacks go on running. Call from the main thread, before any other thread exists. Errors: Invalid
/// (an option, the kubeconfig), NotFound (a file), Conflict (port taken), Unavailable.
Result<void> run_cluster(const ClusterOptions& options);

}  // namespace stackspec
