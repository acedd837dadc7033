// SPDX-License-Identifier: Apache-2.0
#include "cli/standalone.hpp"

#include <malloc.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "cli/running.hpp"
#include "cli/stack_files.hpp"
#include "control/controller.hpp"
#include "database/database.hpp"
#include "http/http.hpp"
#include "objects/object_api.hpp"
#include "platform/local/local.hpp"
#include "redis/redis.hpp"

namespace stackspec {

namespace {

/// Ends what runs for every stack. A second signal gives up waiting.
void stop_stacks(ObjectApi& objects, LocalPlatform& platform, const sigset_t& signals) {
  const auto stacks = objects.list("StackSpec", "");
  if (!stacks) {
    log::error("stacks not stopped", {{"detail", stacks.error().message}});
    return;
  }
  std::stop_source give_up;
  std::jthread watcher([&](const std::stop_token& done) {
    const timespec short_while = {.tv_sec = 0, .tv_nsec = 100'000'000};
    while (!done.stop_requested()) {
      if (sigtimedwait(&signals, nullptr, &short_while) > 0) give_up.request_stop();
    }
  });
  for (const Object& stack : stacks->items) {
    log::info("stopping stack", {{"stack", stack.key.name}});
    const auto stopped = platform.stop_stack({stack.key.ns, stack.key.name}, give_up.get_token());
    if (!stopped) {
      log::error("stack not stopped",
                 {{"stack", stack.key.name}, {"detail", stopped.error().message}});
    }
  }
}

/// The parts that are made from options and may fail; in the order in which they are needed.
struct Parts {
  Catalog catalog;
  std::unique_ptr<LocalPlatform> platform;  ///< Holds the data folder's lock.
  std::unique_ptr<ObjectApi> objects;
  std::unique_ptr<Database> database = make_database();
  std::unique_ptr<Redis> redis = make_redis();
  std::unique_ptr<HttpClient> http = make_http_client();
  std::unique_ptr<Observer> observer;
};

Result<Parts> make_parts(const StandaloneOptions& options) {
  if (options.platform != "local") {
    return Error{ErrorKind::Invalid,
                 "--platform " + options.platform + ": not supported yet; use local"};
  }
  Parts parts;
  parts.catalog = TRY(catalog_of(options.catalog_file));
  parts.platform = TRY(make_local_platform({.data_folder = options.data_folder,
                                            .release_folder = options.release_folder,
                                            .run_as = options.run_as},
                                           *parts.redis, system_clock()));
  parts.objects = TRY(make_sqlite_objects(objects_path(options.data_folder)));
  parts.observer = make_observer(*parts.platform, *parts.database, *parts.redis, *parts.http);
  std::error_code failure;
  const std::string requests = requests_path(options.data_folder);
  std::filesystem::create_directory(requests, failure);
  std::filesystem::permissions(requests, std::filesystem::perms::owner_all, failure);
  if (failure) return Error{ErrorKind::Unavailable, requests + ": " + failure.message()};
  return parts;
}

}  // namespace

std::string objects_path(const std::string& data_folder) {
  return data_folder + "/objects.db";
}

std::string requests_path(const std::string& data_folder) {
  return data_folder + "/requests";
}

Result<void> run_standalone(const StandaloneOptions& options) {
  // A dozen mostly sleeping threads: an arena each would keep megabytes for nothing.
  ::mallopt(M_ARENA_MAX, 2);
  const sigset_t signals = hold_signals();
  const auto listener = TRY(Listener::open(options.http_address, [] { return true; }));
  Parts parts = TRY(make_parts(options));
  StackFiles files(
      *parts.objects, system_clock(),
      {.paths = options.stack_files, .requests_folder = requests_path(options.data_folder)});
  TRY(files.apply());

  TRY(write_file_atomically(options.data_folder + "/http-address", listener->address() + "\n"));

  Controller controller({.objects = *parts.objects,
                         .platform = *parts.platform,
                         .observer = *parts.observer,
                         .catalog = parts.catalog,
                         .telemetry = listener->telemetry(),
                         .clock = system_clock(),
                         .random = system_random()},
                        {.workers = options.workers});
  std::jthread control([&](const std::stop_token& stop) { controller.run(stop); });
  std::jthread watcher([&](const std::stop_token& stop) { files.run(stop); });
  log::info("controller started", {{"data", options.data_folder}, {"http", listener->address()}});

  serve_until_signal(*listener, signals, [&] {
    watcher.request_stop();
    control.request_stop();
    watcher.join();
    control.join();
    if (options.stop_on_exit) stop_stacks(*parts.objects, *parts.platform, signals);
  });
  return {};
}

}  // namespace stackspec
