// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "http/api_transport.hpp"

namespace stackspec {

/// A program that a kubeconfig names, which prints a token or a client certificate
/// (client.authentication.k8s.io).
struct ExecPlugin {
  std::string command;
  std::vector<std::string> args;
  std::map<std::string, std::string> env;  ///< Added to ours.
  std::string api_version;
};

/// Where the API server is, and who we are there. At most one of the three kinds of token.
struct ClusterAccess {
  ServerAddress server;
  std::string path_prefix;  ///< Before every path; without a slash at its end.
  std::string ns;           ///< Where we live, or the namespace of the context; may be empty.
  std::string token;
  std::string token_file;
  std::optional<ExecPlugin> exec = {};
};

/// The files that Kubernetes puts into every pod, and its environment. Error: NotFound when this is
/// no pod, Invalid.
Result<ClusterAccess> access_in_pod(
    const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

/// `context` empty: the current one. Errors: those of read_file(); Invalid, naming the file and
/// what in it is wrong or not supported.
Result<ClusterAccess> access_from_kubeconfig(const std::string& path,
                                             const std::string& context = "");

/// The kubeconfig when one is given, else those of $KUBECONFIG that exist, merged as kubectl does,
/// else the pod's, else ~/.kube/config. Error: NotFound, saying what was looked for.
Result<ClusterAccess> find_access(const std::string& kubeconfig);

/// What goes into `Authorization`. Any thread.
class Credentials {
 public:
  virtual ~Credentials() = default;
  /// Empty: nothing (a client certificate may do). Errors: Forbidden, Unavailable.
  virtual Result<std::string> authorization() = 0;
  /// The server did not accept the last one: the next is got anew.
  virtual void refused() = 0;
};

/// A token file is read anew every minute, and the old token is kept while it cannot be read; a
/// plugin is asked again before its token ends. `clock` must outlive it.
std::unique_ptr<Credentials> make_credentials(const ClusterAccess& access, const Clock& clock);

/// Runs the plugin. Error: Forbidden, with its last words.
struct ExecToken {
  std::string token;  ///< May be empty when there is an identity.
  ClientIdentity::Pair identity = {};
  std::optional<WallTime> expires = {};
};
Result<ExecToken> run_exec_plugin(const ExecPlugin& plugin);

}  // namespace stackspec
