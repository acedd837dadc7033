// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "http/api_transport.hpp"
#include "kube/access.hpp"
#include "kube/kinds.hpp"

namespace stackspec {

/// How long to wait for what.
struct KubePace {
  std::chrono::milliseconds read_timeout{30000};
  /// A write has ended when the leader's lease may be lost: lease duration - renew deadline.
  std::chrono::milliseconds write_timeout{5000};
  std::chrono::milliseconds watch_silence{90000};  ///< Bookmarks come about every minute.
  std::chrono::milliseconds first_pause{1600};     ///< Half of it at least; then doubled.
  std::chrono::milliseconds longest_pause{30000};
  std::chrono::milliseconds short_watch{1000};  ///< A watch ended sooner without news has failed.
};

/// Requests to one API server with credentials, and the waiting that it asks for.
class Requests {
 public:
  Requests(std::unique_ptr<ApiTransport> transport, std::unique_ptr<Credentials> credentials,
           std::string path_prefix, KubePace pace, std::stop_token stop);

  /// The body of a 2xx; what else came is made an Error by error_of(). Tried again: whatever got a
  /// 429 with Retry-After; a GET also after a 5xx with Retry-After and after a broken connection.
  Result<std::string> call(const KindInfo& kind, const HttpRequest& request,
                           const std::string& doing);

  /// One GET whose lines are handed out; any status comes as a value.
  Result<HttpResponse> stream(const std::string& path,
                              const std::function<void(std::string_view)>& on_line,
                              const std::stop_token& stop);

  const KubePace& pace() const { return pace_; }

 private:
  Result<HttpResponse> send(const HttpRequest& request);
  Result<HttpResponse> send_once(const HttpRequest& request, std::chrono::milliseconds timeout);
  Result<HttpRequest> authorised(const HttpRequest& request);

  std::unique_ptr<ApiTransport> transport_;
  std::unique_ptr<Credentials> credentials_;
  std::string path_prefix_;
  KubePace pace_;
  std::stop_token stop_;
};

/// False: stopped before the time was over.
bool pause_for(std::chrono::milliseconds time, const std::stop_token& stop);

/// What the server asks to wait, up to a minute; 0 when it does not ask.
std::chrono::milliseconds retry_after(const HttpResponse& response);

}  // namespace stackspec
