// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>

#include "kube/access.hpp"
#include "kube/requests.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

struct KubeOptions {
  /// Lists and watches without a namespace are of these; of the whole cluster when empty.
  std::set<std::string> namespaces = {};
  /// kind → label selector of its lists and watches; get() finds what it does not select as well.
  std::map<std::string, std::string> label_selectors = {};
  /// kind → the one object that its lists and watches are of.
  std::map<std::string, std::string> only_names = {};
  std::string reporter = "stackspec";  ///< reportingInstance of Events: our pod's name.
  KubePace pace = {};
  std::stop_token stop = {};  ///< Ends every call that is under way, with Cancelled.
};

/// The end of a container's log.
class PodLogs {
 public:
  virtual ~PodLogs() = default;
  /// At most `tail_bytes`, whole lines, of the newest 1000. Errors: NotFound, Invalid (it has not
  /// started yet), …
  virtual Result<std::string> pod_log(const std::string& ns, const std::string& pod,
                                      const std::string& container, std::size_t tail_bytes) = 0;
};

/// What an API server offers to the parts of this program.
class KubeObjects : public ObjectApi, public PodLogs {};

/// The ObjectApi of an API server, of the kinds in kube/kinds.hpp. Where its server makes a
/// difference: create() of an object with a status is two writes, of which the second may fail
/// alone; a watch outlives outages of the server, which are in the log; a kind that the server does
/// not serve is Unavailable, not NotFound. A write that got no answer is Unavailable and may have
/// been done: read again. Connects to nothing yet; see make_api_transport() for when to call it.
Result<std::unique_ptr<KubeObjects>> make_kube_objects(const ClusterAccess& access,
                                                       KubeOptions options,
                                                       const Clock& clock = system_clock());

}  // namespace stackspec
