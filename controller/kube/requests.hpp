// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/token_bucket.hpp"
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
  /// A watch that lasted so long was well: the next pause is a first one again.
  std::chrono::milliseconds healthy_again{120000};
  int most_tries = 10;                          ///< Of one call.
  std::chrono::milliseconds short_watch{1000};  ///< A watch ended sooner without news has failed.
};

/// So many at a time; the others wait for their Turn. Any thread.
class Slots {
 public:
  explicit Slots(int free) : free_(free) {}

 private:
  friend class Turn;
  bool take(std::chrono::steady_clock::time_point until, const std::stop_token& stop);
  void give_back();

  std::mutex mutex_;
  std::condition_variable_any changed_;
  int free_ = 0;  // guarded by mutex_
};

/// One of the slots for as long as it lives.
class Turn {
 public:
  Turn(Slots& slots, std::chrono::steady_clock::time_point until, const std::stop_token& stop)
      : slots_(slots), is_taken_(slots.take(until, stop)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (is_taken_) slots_.give_back();
  }
  /// False: none came free before `until`, or stopped.
  bool is_taken() const { return is_taken_; }

 private:
  Slots& slots_;
  const bool is_taken_;
};

/// Requests to one API server with credentials, and the waiting that it asks for.
class ApiRequests {
 public:
  ApiRequests(std::unique_ptr<ApiTransport> transport, std::unique_ptr<Credentials> credentials,
              std::string path_prefix, KubePace pace, std::stop_token stop);

  /// The body of a 2xx; what else came is made an Error by error_of(). Tried again: whatever got a
  /// 429 with Retry-After; a GET also after a 5xx with Retry-After and after a broken connection.
  /// All calls together: 16 at a time, and 10 repetitions a second after the first hundred.
  Result<std::string> call(const KindInfo& kind, HttpRequest request, const std::string& doing);

  /// One GET whose lines are handed out; any status comes as a value.
  Result<HttpResponse> stream(const std::string& path,
                              const std::function<void(std::string_view)>& on_line,
                              const std::stop_token& stop);

  const KubePace& pace() const { return pace_; }

 private:
  Result<HttpResponse> send(HttpRequest& request);
  Result<HttpResponse> send_in_turn(HttpRequest& request,
                                    std::chrono::steady_clock::time_point until);
  std::chrono::milliseconds turn_to_repeat();
  void complete(HttpRequest& request) const;
  Result<void> authorise(HttpRequest& request);

  std::unique_ptr<ApiTransport> transport_;
  std::unique_ptr<Credentials> credentials_;
  std::string path_prefix_;
  KubePace pace_;
  std::stop_token stop_;
  Slots slots_{16};
  std::mutex mutex_;
  TokenBucket repetitions_{100, std::chrono::milliseconds(100)};  // guarded by mutex_
};

/// What the server asks to wait, up to a minute; 0 when it does not ask.
std::chrono::milliseconds retry_after(const HttpResponse& response);

}  // namespace stackspec
