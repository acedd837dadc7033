// SPDX-License-Identifier: Apache-2.0
#include "kube/kube_objects.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>

#include "kube/initial_events.hpp"
#include "kube/watch.hpp"
#include "kube/wire.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

/// What one stack has fits in it. More come as a stream; a server that has none must not be asked
/// too often.
constexpr int kFirstPage = 20;
constexpr int kPage = 100;
constexpr int kMostRestarts = 3;  ///< Of a list whose next page had expired.
/// So many at a time: at a start every kind is listed, and each takes memory for a moment.
constexpr int kMostLists = 4;
constexpr std::chrono::seconds kListPatience{10};

bool is_name(std::string_view text) {
  const auto allowed = [](char letter) {
    return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '-' ||
           letter == '.' || letter == ':';
  };
  return !text.empty() && text.size() <= 253 && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), allowed);
}

std::string escaped(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string made;
  for (const char letter : text) {
    const auto byte = static_cast<unsigned char>(letter);
    if (std::isalnum(byte) != 0 ||
        std::string_view("-._~").find(letter) != std::string_view::npos) {
      made += letter;
    } else {
      made += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return made;
}

std::string words_for(const ObjectKey& key) {
  return key.kind + " " + (key.ns.empty() ? "" : key.ns + "/") + key.name;
}

Result<const KindInfo*> kind_of(const std::string& kind) {
  const KindInfo* known = find_kind(kind);
  if (known == nullptr) {
    return Error{ErrorKind::Invalid, "kind " + kind + " is not in kube/kinds.cpp"};
  }
  return known;
}

std::string collection_path(const KindInfo& kind, const std::string& ns) {
  std::string path = kind.group.empty() ? "/api/" : "/apis/" + std::string(kind.group) + "/";
  path += kind.version;
  if (kind.namespaced && !ns.empty()) path += "/namespaces/" + ns;
  return path + "/" + std::string(kind.plural);
}

HttpRequest request_of(std::string method, std::string path, std::string body = "") {
  HttpRequest request;
  request.method = std::move(method);
  request.path = std::move(path);
  request.body = std::move(body);
  return request;
}

/// Hands the events of several watches to the one thread that asked for them.
class Merged {
 public:
  explicit Merged(const std::function<void(const WatchEvent&)>& on_event) : on_event_(on_event) {}

  void put(const WatchEvent& event, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return events_.size() < kMost; });
    events_.push_back(event);
    changed_.notify_all();
  }

  void end(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
  }

  /// Until one of them ends.
  Error hand_out(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, stop, [&] { return !events_.empty() || error_; });
      if (stop.stop_requested()) return {ErrorKind::Cancelled, "watch stopped"};
      if (events_.empty()) return *error_;
      const WatchEvent event = std::move(events_.front());
      events_.pop_front();
      changed_.notify_all();
      lock.unlock();
      on_event_(event);
      lock.lock();
    }
  }

 private:
  static constexpr std::size_t kMost = 64;
  const std::function<void(const WatchEvent&)>& on_event_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<WatchEvent> events_;  // guarded by mutex_
  std::optional<Error> error_;     // guarded by mutex_
};

class ServerObjects final : public KubeObjects {
 public:
  ServerObjects(std::unique_ptr<ApiTransport> transport, std::unique_ptr<Credentials> credentials,
                const ClusterAccess& access, KubeOptions options)
      : options_(std::move(options)),
        requests_(std::move(transport), std::move(credentials), access.path_prefix, options_.pace,
                  options_.stop) {}

  Result<Object> get(const ObjectKey& key) override {
    const KindInfo* kind = TRY(kind_of(key.kind));
    const std::string path = TRY(path_of(*kind, key));
    return sent(*kind, request_of("GET", path), "get " + words_for(key));
  }

  Result<ObjectList> list(const std::string& kind_name, const std::string& ns) override {
    return list_by_each(*this, kind_name, ns);
  }

  Result<std::int64_t> each(const std::string& kind_name, const std::string& ns,
                            const std::function<void()>& begin,
                            const std::function<void(Object&&)>& take) override;

  Result<Object> create(const Object& object) override {
    const KindInfo* kind = TRY(kind_of(object.key.kind));
    const std::string doing = "create " + words_for(object.key);
    if (!is_right_place(*kind, object.key.ns)) return misplaced(object.key);
    Object fresh = object;
    fresh.uid.clear();
    fresh.resource_version = 0;
    const std::string body = TRY(wire_text(*kind, fresh, options_.reporter));
    Object made =
        TRY(sent(*kind, request_of("POST", collection_path(*kind, object.key.ns), body), doing));
    if (!kind->has_status || object.status.empty()) return made;
    made.status = object.status;
    return update_status(made);
  }

  Result<Object> update(const Object& object) override {
    const KindInfo* kind = TRY(kind_of(object.key.kind));
    const std::string path = TRY(path_of(*kind, object.key));
    const std::string body = TRY(wire_text(*kind, object, options_.reporter));
    return put(*kind, object, path, body, "update " + words_for(object.key));
  }

  Result<Object> patch(const ObjectPatch& patch) override;

  Result<Object> update_status(const Object& object) override {
    const KindInfo* kind = TRY(kind_of(object.key.kind));
    const std::string path = TRY(path_of(*kind, object.key)) + "/status";
    const std::string body = TRY(wire_text_with_status(*kind, object));
    return put(*kind, object, path, body, "update status of " + words_for(object.key));
  }

  Result<void> remove(const ObjectKey& key, const std::string& uid,
                      std::int64_t resource_version) override;

  Result<void> watch(const std::string& kind_name, std::int64_t from,
                     const std::function<void(const WatchEvent&)>& on_event,
                     std::stop_token stop) override;

  Result<std::string> pod_log(const std::string& ns, const std::string& pod,
                              const std::string& container, std::size_t tail_bytes) override;

 private:
  static bool is_right_place(const KindInfo& kind, const std::string& ns) {
    return kind.namespaced ? is_name(ns) : ns.empty();
  }
  static Error misplaced(const ObjectKey& key) {
    return {ErrorKind::Invalid, words_for(key) + ": not a name and namespace of that kind"};
  }
  static Result<std::string> path_of(const KindInfo& kind, const ObjectKey& key) {
    if (!is_right_place(kind, key.ns) || !is_name(key.name)) return misplaced(key);
    return collection_path(kind, key.ns) + "/" + key.name;
  }

  Result<Object> sent(const KindInfo& kind, HttpRequest request, const std::string& doing) {
    const std::string body = TRY(requests_.call(kind, std::move(request), doing));
    auto answer = parse_answer(body);
    if (!answer) return std::move(answer).error().in(doing);
    auto object = object_of(kind, std::move(answer).value());
    if (!object) return std::move(object).error().in(doing);
    return object;
  }

  /// Never without a version: some servers would then write over whatever is stored.
  Result<Object> put(const KindInfo& kind, const Object& object, const std::string& path,
                     const std::string& body, const std::string& doing) {
    if (object.resource_version > 0) return sent(kind, request_of("PUT", path, body), doing);
    TRY(get(object.key));
    return Error{ErrorKind::Conflict, doing + ": without the resourceVersion that was read"};
  }

  std::string selection_of(const KindInfo& kind) const {
    std::string query = "?";
    const auto labels = options_.label_selectors.find(std::string(kind.kind));
    if (labels != options_.label_selectors.end()) {
      query += "labelSelector=" + escaped(labels->second) + "&";
    }
    const auto name = options_.only_names.find(std::string(kind.kind));
    if (name != options_.only_names.end()) {
      query += "fieldSelector=" + escaped("metadata.name=" + name->second) + "&";
    }
    return query;
  }

  std::vector<std::string> namespaces_of(const KindInfo& kind) const {
    if (!kind.namespaced || options_.namespaces.empty()) return {""};
    return {options_.namespaces.begin(), options_.namespaces.end()};
  }

  using Take = std::function<void(Object&&)>;

  /// How a stream in place of a list ended.
  struct Streamed {
    std::optional<std::int64_t> version;  ///< Of a whole one.
    bool begun = false;                   ///< Something was handed out.
  };

  Result<std::int64_t> each_in(const KindInfo& kind, const std::string& ns, bool& may_stream,
                               const Take& take);
  Streamed stream_each(const KindInfo& kind, const std::string& ns, const Take& take);

  KubeOptions options_;
  std::atomic<bool> may_stream_{true};  ///< No server has refused it yet.
  Slots lists_{kMostLists};
  ApiRequests requests_;
};

Result<std::int64_t> ServerObjects::each(const std::string& kind_name, const std::string& ns,
                                         const std::function<void()>& begin, const Take& take) {
  const KindInfo* kind = TRY(kind_of(kind_name));
  if (!ns.empty() && !is_right_place(*kind, ns)) return misplaced({kind_name, ns, ""});
  const auto namespaces = ns.empty() ? namespaces_of(*kind) : std::vector<std::string>{ns};
  // Whoever has waited for so long goes on: a list that is made while one is read must not hang.
  const auto until = std::chrono::steady_clock::now() + kListPatience;
  const Turn turn(lists_, until, options_.stop);
  bool may_stream = may_stream_.load();
  for (int restarts = 0;; ++restarts) {
    begin();
    // The oldest of them: a watch from there may tell again what is known, but misses nothing.
    Result<std::int64_t> oldest = std::numeric_limits<std::int64_t>::max();
    for (const auto& one : namespaces) {
      const auto version = each_in(*kind, one, may_stream, take);
      oldest = version ? std::min(*oldest, *version) : version;
      if (!oldest) break;
    }
    const bool expired = !oldest && oldest.error().kind == ErrorKind::Expired;
    if (!expired || restarts == kMostRestarts) return oldest;
  }
}

/// Without a version: the newest there is, so that time never runs backwards. Expired: it has to
/// begin anew.
Result<std::int64_t> ServerObjects::each_in(const KindInfo& kind, const std::string& ns,
                                            bool& may_stream, const Take& take) {
  const std::string doing = "list " + kind.resource() + (ns.empty() ? "" : " in " + ns);
  ListHead head;
  do {
    const bool is_first = head.next.empty();
    std::string path = collection_path(kind, ns) + selection_of(kind) +
                       "limit=" + std::to_string(is_first ? kFirstPage : kPage);
    if (!is_first) path += "&continue=" + escaped(head.next);
    std::string body = TRY(requests_.call(kind, request_of("GET", path), doing));
    auto read = is_first && may_stream ? parse_list_head(body) : ListHead();
    if (!read) return std::move(read).error().in(doing);
    // More pages would be read from the server's disk; a stream comes from its memory.
    if (!read->next.empty()) {
      const Streamed streamed = stream_each(kind, ns, take);
      if (streamed.version) return *streamed.version;
      may_stream = false;
      if (streamed.begun) return Error{ErrorKind::Expired, doing + ": the stream broke off"};
    }
    auto handed_out = each_item(body, [&](json&& item) -> Result<void> {
      take(TRY(object_of(kind, std::move(item))));
      return {};
    });
    if (!handed_out) return std::move(handed_out).error().in(doing);
    head = std::move(handed_out).value();
  } while (!head.next.empty());
  return head.version;
}

/// A watch that begins with all there is, as of now, and says when that was all.
ServerObjects::Streamed ServerObjects::stream_each(const KindInfo& kind, const std::string& ns,
                                                   const Take& take) {
  InitialEvents initial(kind, take);
  std::stop_source ended;
  const std::stop_callback by_owner(options_.stop, [&] { ended.request_stop(); });
  const auto answer = requests_.stream(
      collection_path(kind, ns) + selection_of(kind) +
          "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&"
          "allowWatchBookmarks=true&timeoutSeconds=60",
      [&](std::string_view line) {
        if (!initial.take(line)) ended.request_stop();
      },
      ended.get_token());
  // Servers before 1.32 say it by the status, one on an old etcd in the stream.
  const bool refused = answer && (answer->status == 400 || answer->status == 422);
  if (refused || initial.is_refused()) may_stream_.store(false);
  return {initial.version(), initial.count() > 0};
}

Result<Object> ServerObjects::patch(const ObjectPatch& patch) {
  const KindInfo* kind = TRY(kind_of(patch.key.kind));
  const std::string doing = "patch " + words_for(patch.key);
  auto request = request_of("PATCH", TRY(path_of(*kind, patch.key)), patch_text(patch));
  request.headers["content-type"] = "application/json-patch+json";
  auto patched = sent(*kind, request, doing);
  if (patched || patched.error().kind != ErrorKind::Invalid) return patched;
  const Object live = TRY(get(patch.key));
  if (live.resource_version != patch.resource_version) {
    return Error{ErrorKind::Conflict, doing + ": it was changed meanwhile"};
  }
  if (!live.labels.empty() && !live.annotations.empty()) return patched;
  request.body = patch_text(patch, &live);
  return sent(*kind, request, doing);
}

Result<void> ServerObjects::remove(const ObjectKey& key, const std::string& uid,
                                   std::int64_t resource_version) {
  const KindInfo* kind = TRY(kind_of(key.kind));
  const std::string path = TRY(path_of(*kind, key));
  auto options = json::object();
  options["apiVersion"] = "v1";
  options["kind"] = "DeleteOptions";
  options["propagationPolicy"] = "Background";
  if (!uid.empty()) options["preconditions"]["uid"] = uid;
  if (resource_version != 0) {
    options["preconditions"]["resourceVersion"] = std::to_string(resource_version);
  }
  TRY(requests_.call(*kind, request_of("DELETE", path, options.dump()),
                     "delete " + words_for(key)));
  return {};
}

Result<void> ServerObjects::watch(const std::string& kind_name, std::int64_t from,
                                  const std::function<void(const WatchEvent&)>& on_event,
                                  std::stop_token stop) {
  const KindInfo* kind = TRY(kind_of(kind_name));
  // From 0 a server tells what there is in no order, as if it had just come.
  if (from <= 0) return Error{ErrorKind::Expired, "watch from nowhere: list first"};
  std::stop_source ended;
  const std::stop_callback by_caller(stop, [&] { ended.request_stop(); });
  const std::stop_callback by_owner(options_.stop, [&] { ended.request_stop(); });
  const auto path_in = [&](const std::string& ns) {
    return collection_path(*kind, ns) + selection_of(*kind);
  };
  const auto namespaces = namespaces_of(*kind);
  if (namespaces.size() == 1) {
    return run_watch(requests_, *kind, path_in(namespaces.front()), from, on_event,
                     ended.get_token());
  }
  Merged merged(on_event);
  std::vector<std::jthread> watches;
  for (const auto& ns : namespaces) {
    watches.emplace_back([&, path = path_in(ns)] {
      auto end = run_watch(
          requests_, *kind, path, from,
          [&](const WatchEvent& event) { merged.put(event, ended.get_token()); },
          ended.get_token());
      if (!end) merged.end(std::move(end).error());
    });
  }
  // Before the threads are joined, however this ends.
  const struct Ends {
    std::stop_source& source;
    ~Ends() { source.request_stop(); }
  } ends{ended};
  return merged.hand_out(ended.get_token());
}

Result<std::string> ServerObjects::pod_log(const std::string& ns, const std::string& pod,
                                           const std::string& container, std::size_t tail_bytes) {
  const KindInfo* kind = TRY(kind_of("Pod"));
  const std::string path =
      TRY(path_of(*kind, {"Pod", ns, pod})) + "/log?tailLines=1000&container=" + escaped(container);
  std::string log =
      TRY(requests_.call(*kind, request_of("GET", path), "log of Pod " + ns + "/" + pod));
  if (log.size() <= tail_bytes) return log;
  log.erase(0, log.size() - tail_bytes);
  const auto first_whole = log.find('\n');
  if (first_whole != std::string::npos && first_whole + 1 < log.size()) {
    log.erase(0, first_whole + 1);
  }
  return log;
}

}  // namespace

Result<std::unique_ptr<KubeObjects>> make_kube_objects(const ClusterAccess& access,
                                                       KubeOptions options, const Clock& clock) {
  for (const auto& ns : options.namespaces) {
    if (!is_name(ns)) return Error{ErrorKind::Invalid, "\"" + ns + "\" is no namespace"};
  }
  auto transport = TRY(make_api_transport(access.server));
  return std::unique_ptr<KubeObjects>(std::make_unique<ServerObjects>(
      std::move(transport), make_credentials(access, clock), access, std::move(options)));
}

}  // namespace stackspec
