// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster.hpp"

#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <thread>

#include "api/stack.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/memory.hpp"
#include "cli/running.hpp"
#include "control/controller.hpp"
#include "database/database.hpp"
#include "http/http.hpp"
#include "kube/access.hpp"
#include "kube/kube_objects.hpp"
#include "kube/leader.hpp"
#include "objects/cached_reads.hpp"
#include "platform/kubernetes/kubernetes.hpp"
#include "redis/redis.hpp"

namespace stackspec {

namespace {

constexpr const char* kHome = "stackspec-system";
constexpr const char* kLeaseName = "stackspec-controller";
/// Of the election's first requests before all the others, which are many.
constexpr std::chrono::milliseconds kHeadStart{200};
/// Files in memory of a controller at rest: not worth giving back, they are read again at once.
constexpr std::size_t kFewFiles = std::size_t{3} << 20U;

/// Of this process alone: a pod's name comes back when its container restarts.
std::string own_identity() {
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  return std::string(host) + "_" + system_random()(8);
}

/// What of the cluster is watched by label: everything that platform and controller made. The
/// objects of people are watched whole.
std::map<std::string, std::string> selectors() {
  std::map<std::string, std::string> all;
  for (const char* kind : kubernetes_watched_kinds()) {
    if (std::string_view(kind) != "StackBackup") all[kind] = kStackLabel;
  }
  all["Secret"] = kStackLabel;
  all["ConfigMap"] = kStackLabel;
  return all;
}

/// A Secret's twin is read when the Secret has gone, and else never.
bool is_read_often(const Object& object) {
  return object.key.kind != "Secret" || !object.key.name.ends_with("-keep");
}

/// In the order in which they need each other.
struct Parts {
  std::stop_source ending;  ///< Ends every request to the API server but those about the Lease.
  Catalog catalog;
  std::unique_ptr<KubeObjects> leases;  ///< On connections of its own: load does not delay it.
  std::unique_ptr<Leadership> leadership;
  std::unique_ptr<KubeObjects> server;
  std::unique_ptr<CachedReads> cached;
  std::unique_ptr<ObjectApi> gated;  ///< Where one is elected.
  std::unique_ptr<Database> database = make_database();
  std::unique_ptr<Redis> redis = make_redis();
  std::unique_ptr<HttpClient> http = make_http_client();
  KubernetesOptions in_cluster;
  std::unique_ptr<Platform> platform;  ///< Reads as soon as it is there.
  std::unique_ptr<Observer> observer;

  /// Reads from memory, writes through the leader's gate.
  ObjectApi& objects() const { return gated ? *gated : *cached; }
};

/// Redis is emptied by us, not by the API server: the gate is asked here too.
std::function<Result<void>(const RedisTarget&, std::stop_token)> flush_if(
    Redis& redis, const Leadership* leadership) {
  return [&redis, leadership](const RedisTarget& target, std::stop_token stop) -> Result<void> {
    if (leadership != nullptr && !leadership->may_write()) {
      return Error{ErrorKind::Cancelled, "not the leader any more"};
    }
    return redis.flush(target, std::move(stop));
  };
}

/// All that can fail; it asks the API server nothing yet.
Result<Parts> make_parts(const ClusterOptions& options) {
  Parts parts;
  parts.catalog = TRY(catalog_of(options.catalog_file));
  const ClusterAccess access = TRY(find_access(options.kubeconfig));
  const std::string home = !options.ns.empty() ? options.ns : access.ns.empty() ? kHome : access.ns;
  const std::string identity = own_identity();
  KubeOptions kube;
  kube.namespaces = {options.watch_namespaces.begin(), options.watch_namespaces.end()};
  kube.label_selectors = selectors();
  kube.reporter = identity;
  kube.stop = parts.ending.get_token();
  parts.server = TRY(make_kube_objects(access, kube));
  parts.cached = make_cached_reads(
      *parts.server, {"StackSpec", "StackBackup", "StackRestore", "Secret"}, is_read_often);
  if (options.leader_elect) {
    KubeOptions lease;
    lease.pace.read_timeout = lease.pace.write_timeout;
    lease.namespaces = {home};
    lease.only_names = {{"Lease", kLeaseName}};
    parts.leases = TRY(make_kube_objects(access, lease));
    parts.leadership = std::make_unique<Leadership>(
        *parts.leases, ObjectKey{"Lease", home, kLeaseName}, identity, system_clock());
    parts.gated = make_gated_objects(*parts.cached, *parts.leadership);
  }
  parts.in_cluster.controller_namespace = home;
  parts.in_cluster.pod_log = [&server = *parts.server](const std::string& ns,
                                                       const std::string& pod,
                                                       const std::string& container, int bytes) {
    return server.pod_log(ns, pod, container, static_cast<std::size_t>(bytes));
  };
  parts.in_cluster.flush_redis = flush_if(*parts.redis, parts.leadership.get());
  return parts;
}

void begin_to_read(Parts& parts) {
  parts.platform = make_kubernetes_platform(parts.objects(), parts.in_cluster, system_clock());
  parts.observer = make_observer(*parts.platform, *parts.database, *parts.redis, *parts.http);
}

/// The moment at which the work may begin.
class Start {
 public:
  void give() {
    const std::lock_guard lock(mutex_);
    given_ = true;
    wake_.notify_all();
  }
  /// False: stopped before it was given.
  bool wait(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    return wake_.wait(lock, stop, [this] { return given_; });
  }
  void wait_for(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, most, [this] { return given_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool given_ = false;  // guarded by mutex_
};

/// While no API server answers it lives on; only renewals that nobody makes any more end it.
bool is_alive(const Parts& parts) {
  return !parts.leadership || !parts.leadership->is_stuck();
}

/// Leads, or waits for its turn; without an election it leads at once.
void lead(Leadership* leadership, const std::function<void()>& begin, const std::stop_token& stop) {
  if (leadership == nullptr) {
    begin();
    return;
  }
  if (!leadership->run(begin, stop)) return;
  log::error("leadership lost", {{"detail", "this process ends now; another controller goes on"}});
  // Nothing is tidied up: whatever this process still did could meet the work of the next leader.
  std::_Exit(1);
}

}  // namespace

Result<void> run_cluster(const ClusterOptions& options) {
  prefer_little_memory();
  const sigset_t signals = hold_signals();
  Parts parts = TRY(make_parts(options));
  const auto listener =
      TRY(Listener::open(options.http_address, [&parts] { return is_alive(parts); }));

  Start start;
  std::jthread election([&](const std::stop_token& stop) {
    lead(
        parts.leadership.get(),
        [&] {
          start.give();
          log::info("leading", {});
        },
        stop);
  });
  start.wait_for(kHeadStart);
  begin_to_read(parts);
  Controller controller({.objects = parts.objects(),
                         .platform = *parts.platform,
                         .observer = *parts.observer,
                         .catalog = parts.catalog,
                         .telemetry = listener->telemetry(),
                         .clock = system_clock(),
                         .random = system_random()},
                        {.workers = options.workers,
                         .wait_for_turn = [&start](const auto& stop) { return start.wait(stop); },
                         .at_rest =
                             [&parts] {
                               parts.database->rest();
                               parts.cached->rest();
                               give_memory_back(kFewFiles);
                             }});
  std::jthread control([&](const std::stop_token& stop) { controller.run(stop); });
  log::info("controller started", {{"http", listener->address()}, {"version", STACKSPEC_VERSION}});

  serve_until_signal(*listener, signals, [&] {
    // The election ends after the work, so that the Lease is held as long as anything is written.
    control.request_stop();
    parts.ending.request_stop();
    control.join();
    election.request_stop();
    election.join();
    if (parts.leadership) parts.leadership->release();
  });
  return {};
}

}  // namespace stackspec
