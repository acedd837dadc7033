// SPDX-License-Identifier: Apache-2.0
#include "kube/watch.hpp"

#include <optional>
#include <random>

#include "base/backoff.hpp"
#include "base/log.hpp"
#include "base/pause.hpp"
#include "kube/wire.hpp"

namespace stackspec {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

std::optional<WatchEvent::Type> type_of(std::string_view type) {
  if (type == "ADDED") return WatchEvent::Type::Added;
  if (type == "MODIFIED") return WatchEvent::Type::Modified;
  if (type == "DELETED") return WatchEvent::Type::Deleted;
  return std::nullopt;
}

bool is_expired(const Refusal& refusal) {
  return refusal.status == 410 || refusal.version_too_large || refusal.reason == "Expired" ||
         refusal.reason == "Gone";
}

/// One watch that outlives its streams.
class Watch {
 public:
  Watch(ApiRequests& requests, const KindInfo& kind, const std::string& path, std::int64_t from,
        const std::function<void(const WatchEvent&)>& on_event)
      : requests_(requests),
        kind_(kind),
        path_(path),
        seen_(from),
        on_event_(on_event),
        backoff_{requests.pace().first_pause, requests.pace().longest_pause} {}

  Result<void> run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const std::string wrong = open(stop);
      if (stop.stop_requested()) break;
      if (lost_ && *lost_ == Lost::Expired) return expired();
      if (!wrong.empty() && !rest(wrong, stop)) break;
      if (lost_) return expired();
    }
    return Error{ErrorKind::Cancelled, "watch stopped"};
  }

 private:
  enum class Lost {
    Expired,  ///< Our position: whoever watches has to list again.
    Broken,   ///< The server's own: the same, after a pause.
  };

  Error expired() const {
    return {ErrorKind::Expired, "watch " + kind_.resource() + ": resourceVersion " +
                                    std::to_string(seen_) + " is too old: list again"};
  }

  /// One stream to its end. Returns what went wrong, or nothing.
  std::string open(const std::stop_token& stop) {
    const auto started = SteadyClock::now();
    events_ = 0;
    broken_.clear();
    // What a line says may end the stream.
    std::stop_source ended;
    const std::stop_callback stops(stop, [&] { ended.request_stop(); });
    const auto answer = requests_.stream(
        path_ + "watch=true&allowWatchBookmarks=true&resourceVersion=" + std::to_string(seen_) +
            "&timeoutSeconds=" + std::to_string(seconds_(random_)),
        [&](std::string_view line) {
          if (!take(line)) ended.request_stop();
        },
        ended.get_token());
    const auto took = SteadyClock::now() - started;
    if (took >= requests_.pace().healthy_again) failures_ = 0;
    asked_to_wait_ = answer ? retry_after(*answer) : milliseconds(0);
    if (lost_ || !broken_.empty()) return broken_;
    // Nothing for so long: old servers send no bookmarks where nothing happens. If nobody is there
    // any more, the next attempt tells.
    if (!answer && took >= requests_.pace().watch_silence) return "";
    if (!answer) return answer.error().message;
    if (answer->status != 200) return refused(*answer);
    if (events_ == 0 && took < requests_.pace().short_watch) return "it ended at once";
    return "";
  }

  std::string refused(const HttpResponse& answer) {
    const Refusal refusal = refusal_of(answer.status, answer.body);
    if (is_expired(refusal)) lost_ = Lost::Expired;
    return error_of(refusal, kind_, "watch " + kind_.resource()).message;
  }

  /// False: this stream is of no more use.
  bool take(std::string_view line) {
    if (line.empty()) return true;
    auto event = parse_event(line);
    if (!event) {
      broken_ = event.error().message;
      return false;
    }
    ++events_;
    if (event->type == "ERROR") return lose(event->object);
    if (event->type == "BOOKMARK") return take_bookmark(event->object);
    return take_event(event->type, std::move(event->object));
  }

  bool lose(const json& status) {
    const Refusal refusal = refusal_of(status);
    lost_ = is_expired(refusal) ? Lost::Expired : Lost::Broken;
    broken_ = refusal.message.empty() ? "the server gave up" : refusal.message;
    return false;
  }

  bool take_bookmark(const json& object) {
    const auto metadata = object.find("metadata");
    const bool has = metadata != object.end() && metadata->is_object();
    const auto version = has ? version_of(*metadata) : Result<std::int64_t>(0);
    if (version && *version > 0) seen_ = *version;
    failures_ = 0;
    return true;
  }

  bool take_event(const std::string& type, json&& json_object) {
    const auto known = type_of(type);
    if (!known) {
      broken_ = "an event of unknown type " + type;
      return false;
    }
    auto object = object_of(kind_, std::move(json_object));
    if (!object) {
      broken_ = object.error().message;
      return false;
    }
    seen_ = object->resource_version;
    failures_ = 0;
    WatchEvent event;
    event.type = *known;
    event.object = std::move(object).value();
    on_event_(event);
    return true;
  }

  /// False: stopped.
  bool rest(const std::string& wrong, const std::stop_token& stop) {
    const auto pause = std::max(asked_to_wait_, backoff_.delay(++failures_, jitter_(random_)));
    log::warn("watch interrupted",
              {{"kind", kind_.kind}, {"detail", wrong}, {"delayMs", pause.count()}});
    return pause_for(pause, stop);
  }

  ApiRequests& requests_;
  const KindInfo& kind_;
  const std::string& path_;
  std::int64_t seen_ = 0;
  const std::function<void(const WatchEvent&)>& on_event_;
  Backoff backoff_;
  int failures_ = 0;
  milliseconds asked_to_wait_{0};
  int events_ = 0;      ///< Of the stream that is open, as the two below.
  std::string broken_;  ///< Why we ended it.
  std::optional<Lost> lost_;
  std::mt19937 random_{std::random_device{}()};
  std::uniform_real_distribution<double> jitter_{0.0, 1.0};
  std::uniform_int_distribution<int> seconds_{300, 600};  ///< So that not all end at once.
};

}  // namespace

Result<void> run_watch(ApiRequests& requests, const KindInfo& kind, const std::string& path,
                       std::int64_t from, const std::function<void(const WatchEvent&)>& on_event,
                       const std::stop_token& stop) {
  return Watch(requests, kind, path, from, on_event).run(stop);
}

}  // namespace stackspec
