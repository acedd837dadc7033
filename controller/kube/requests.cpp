// SPDX-License-Identifier: Apache-2.0
#include "kube/requests.hpp"

#include <algorithm>
#include <charconv>

#include "base/pause.hpp"
#include "kube/wire.hpp"

namespace stackspec {

using std::chrono::milliseconds;

namespace {

constexpr int kMostBroken = 2;
constexpr milliseconds kAfterBroken{100};

using SteadyClock = std::chrono::steady_clock;

milliseconds left_until(SteadyClock::time_point until) {
  return std::chrono::duration_cast<milliseconds>(until - SteadyClock::now());
}

}  // namespace

milliseconds retry_after(const HttpResponse& response) {
  const auto header = response.headers.find("retry-after");
  if (header == response.headers.end()) return milliseconds(0);
  int seconds = 0;
  const std::string& text = header->second;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
  // A date is never sent by an API server; one second is what it sends most.
  if (read.ec != std::errc() || seconds < 1) return std::chrono::seconds(1);
  return std::chrono::seconds(std::min(seconds, 60));
}

ApiRequests::ApiRequests(std::unique_ptr<ApiTransport> transport,
                         std::unique_ptr<Credentials> credentials, std::string path_prefix,
                         KubePace pace, std::stop_token stop)
    : transport_(std::move(transport)),
      credentials_(std::move(credentials)),
      path_prefix_(std::move(path_prefix)),
      pace_(pace),
      stop_(std::move(stop)) {}

void ApiRequests::complete(HttpRequest& request) const {
  request.path.insert(0, path_prefix_);
  request.headers["accept"] = "application/json";
  request.headers["user-agent"] = "stackspec";
}

Result<void> ApiRequests::authorise(HttpRequest& request) {
  std::string header = TRY(credentials_->authorization());
  if (header.empty()) {
    request.headers.erase("authorization");
  } else {
    request.headers["authorization"] = std::move(header);
  }
  return {};
}

bool Slots::take(SteadyClock::time_point until, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(lock, stop, until, [this] { return free_ > 0; })) return false;
  --free_;
  return true;
}

void Slots::give_back() {
  const std::lock_guard lock(mutex_);
  ++free_;
  changed_.notify_one();
}

milliseconds ApiRequests::turn_to_repeat() {
  const std::lock_guard lock(mutex_);
  return repetitions_.reserve(SteadyClock::now());
}

Result<HttpResponse> ApiRequests::send_in_turn(HttpRequest& request,
                                               SteadyClock::time_point until) {
  const Turn turn(slots_, until, stop_);
  if (!turn.is_taken()) {
    if (stop_.stop_requested()) return Error{ErrorKind::Cancelled, "cancelled"};
    return Error{ErrorKind::Unavailable, "too many requests are waiting for the API server"};
  }
  TRY(authorise(request));
  auto answer = transport_->send(request, left_until(until), stop_);
  if (!answer || answer->status != 401) return answer;
  // A 401 was not acted upon: with a newer token the same request is tried once more.
  const std::string before = TRY(credentials_->authorization());
  credentials_->refused();
  if (TRY(credentials_->authorization()) == before) return answer;
  TRY(authorise(request));
  return transport_->send(request, left_until(until), stop_);
}

Result<HttpResponse> ApiRequests::send(HttpRequest& request) {
  complete(request);
  const bool reads = request.method == "GET";
  const auto until = SteadyClock::now() + (reads ? pace_.read_timeout : pace_.write_timeout);
  int broken = 0;
  for (int tried = 1;; ++tried) {
    auto answer = send_in_turn(request, until);
    milliseconds wait{0};
    if (!answer) {
      const bool again =
          reads && answer.error().kind == ErrorKind::Unavailable && ++broken <= kMostBroken;
      if (!again) return answer;
      wait = kAfterBroken;
    } else if (answer->status == 429 || (reads && answer->status >= 500)) {
      wait = retry_after(*answer);
    }
    if (wait.count() == 0 || tried == pace_.most_tries) return answer;
    wait = std::max(wait, turn_to_repeat());
    if (wait >= left_until(until)) return answer;
    if (!pause_for(wait, stop_)) return Error{ErrorKind::Cancelled, "cancelled"};
  }
}

Result<std::string> ApiRequests::call(const KindInfo& kind, HttpRequest request,
                                      const std::string& doing) {
  auto answer = send(request);
  if (!answer) return std::move(answer).error().in(doing);
  if (answer->status >= 200 && answer->status < 300) return std::move(answer->body);
  return error_of(refusal_of(answer->status, answer->body), kind, doing);
}

Result<HttpResponse> ApiRequests::stream(const std::string& path,
                                         const std::function<void(std::string_view)>& on_line,
                                         const std::stop_token& stop) {
  HttpRequest request;
  request.path = path;
  complete(request);
  TRY(authorise(request));
  auto answer = transport_->stream(request, pace_.watch_silence, on_line, stop);
  if (answer && answer->status == 401) credentials_->refused();
  return answer;
}

}  // namespace stackspec
