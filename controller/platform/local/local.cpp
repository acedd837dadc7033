// SPDX-License-Identifier: Apache-2.0
#include "platform/local/local.hpp"

#include <sys/statvfs.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <utility>

#include "base/file.hpp"
#include "base/log.hpp"
#include "platform/local/backups.hpp"
#include "platform/local/gateway.hpp"
#include "platform/local/probe.hpp"
#include "platform/local/programs.hpp"
#include "platform/local/supervisor.hpp"
#include "platform/local/task_runner.hpp"

namespace stackspec {
namespace {

using namespace local;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How long one action waits for a process to go: most do at once, the rest is seen to next pass.
constexpr milliseconds kStopPatience{3000};

constexpr std::array<Component, 6> kStopOrder = {Component::Worker,      Component::Server,
                                                 Component::Fundraising, Component::Gateway,
                                                 Component::Redis,       Component::Postgres};

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

int port_of(Component component, const Endpoints& endpoints) {
  switch (component) {
    case Component::Postgres: return endpoints.postgres_port;
    case Component::Redis: return endpoints.redis_port;
    case Component::Server: return endpoints.server_port;
    case Component::Fundraising: return endpoints.fundraising_port;
    case Component::Gateway: return endpoints.gateway_port;
    case Component::Worker: return 0;
  }
  return 0;
}

HostSeen look_at_host(const std::string& backups_path) {
  HostSeen host;
  std::filesystem::path folder = backups_path;
  struct statvfs disk {};
  while (::statvfs(folder.c_str(), &disk) != 0 && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  if (disk.f_frsize != 0) {
    host.disk_free_bytes =
        static_cast<std::int64_t>(disk.f_bavail) * static_cast<std::int64_t>(disk.f_frsize);
  }
  std::ifstream memory("/proc/meminfo");
  std::string name, unit;
  for (std::int64_t value = 0; memory >> name >> value;) {
    std::getline(memory, unit);
    if (name == "MemAvailable:") host.memory_available_bytes = value * 1024;
  }
  return host;
}

/// A controller killed while it started a process leaves its lock to that process until the exec, a
/// matter of milliseconds: not to be taken for a second controller.
Result<FileLock> take_lock(const std::string& path) {
  Result<FileLock> lock = FileLock::acquire(path);
  wait_until(seconds(1), {}, [&] {
    if (lock || lock.error().kind != ErrorKind::Conflict) return true;
    lock = FileLock::acquire(path);
    return false;
  });
  return lock;
}

/// One stack with everything that works on its folder.
struct Site {
  Site(const Host& host, const StackKey& key, const Clock& clock)
      : folder(host.data_folder, key),
        supervisor(folder, clock),
        gateway(host, folder, supervisor),
        tasks(host, folder, clock) {}
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  StackFolder folder;
  Supervisor supervisor;
  Gateway gateway;
  TaskRunner tasks;
};

std::vector<std::string> ended(const std::vector<TaskSeen>& tasks) {
  std::vector<std::string> names;
  for (const auto& task : tasks) {
    if (task.outcome != Outcome::Running) names.push_back(task.name);
  }
  return names;
}

void worth_a_warning(const Site& site, const Result<void>& done) {
  if (done) return;
  log::warn("housekeeping failed",
            {{"folder", site.folder.root()}, {"error", done.error().message}});
}

class Local final : public LocalPlatform {
 public:
  Local(Host host, FileLock lock, Redis& redis, const Clock& clock)
      : host_(std::move(host)), lock_(std::move(lock)), redis_(redis), clock_(clock) {}

  Result<PlatformSeen> observe(const Stack& stack, std::stop_token stop) override;
  Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                   std::stop_token stop) override;
  std::vector<StackKey> changed(std::chrono::milliseconds patience, std::stop_token stop) override;
  Result<void> stop_stack(const StackKey& key, std::stop_token stop) override;

 private:
  Result<Endpoints> settle_in(const Site& site, const Stack& stack);
  Result<void> housekeep(const Site& site, std::stop_token stop) const;
  std::vector<std::string> missing_releases(const Stack& stack) const;
  Result<void> apply(const Site& site, const Stack& stack, const ComponentSpec& component,
                     const Endpoints& endpoints, const SecretValues& secrets,
                     std::stop_token stop) const;
  Result<void> start_task(const Site& site, const Stack& stack, const TaskSpec& task,
                          const SecretValues& secrets) const;

  const Host host_;
  FileLock lock_;
  Redis& redis_;
  const Clock& clock_;
  std::mutex choosing_ports_;  ///< Two new stacks must not choose the same.
  std::mutex knowing_;
  std::set<StackKey> known_;                         // guarded by knowing_
  std::set<std::pair<StackKey, Component>> living_;  // only changed() uses it
};

Result<Endpoints> Local::settle_in(const Site& site, const Stack& stack) {
  TRY(site.folder.make(host_.user));
  TRY(check_reachable(site.folder.root(), host_.user));
  const std::lock_guard guard(choosing_ports_);
  return stack_endpoints(host_.data_folder, site.folder, stack.spec);
}

Result<void> Local::housekeep(const Site& site, std::stop_token stop) const {
  // First and alone decisive: what is then seen of the gateway must be true.
  TRY(site.gateway.settle(stop));
  // The rest can wait, on a full disk for instance, where looking matters all the more.
  worth_a_warning(site, site.tasks.tidy());
  for (const Component component : kAllComponents) {
    site.supervisor.see_to_stop(component);
    rotate_log(site.folder.log(component));
  }
  return {};
}

std::vector<std::string> Local::missing_releases(const Stack& stack) const {
  std::set<std::string> tags;
  if (stack.spec.target().has_patch()) tags.insert(to_string(stack.spec.target()));
  if (stack.status.upgrade) {
    tags.insert(stack.status.upgrade->path.begin(), stack.status.upgrade->path.end());
  }
  std::vector<std::string> missing;
  for (const auto& tag : tags) {
    if (!has_release(host_, Component::Server, tag)) missing.push_back(tag);
  }
  const std::string& fundraising = stack.spec.fundraising.version;
  if (!fundraising.empty() && !has_release(host_, Component::Fundraising, fundraising)) {
    missing.push_back("fundraising/" + fundraising);
  }
  return missing;
}

Result<PlatformSeen> Local::observe(const Stack& stack, std::stop_token stop) {
  const Site site(host_, stack.key, clock_);
  PlatformSeen seen;
  seen.capabilities.image_location = "release folder " + host_.release_folder + "/<tag>";
  if (stack.deleting && !site.folder.exists()) return seen;
  seen.endpoints = TRY(settle_in(site, stack));
  {
    const std::lock_guard guard(knowing_);
    known_.insert(stack.key);
  }
  TRY(housekeep(site, stop));
  for (const Component component : kAllComponents) {
    if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "stopped"};
    seen.components[component] = site.supervisor.look(component);
  }
  seen.gateway_open = site.gateway.is_open();
  seen.tasks = site.tasks.look();
  tidy_backups(seen.endpoints.backups_path, ended(seen.tasks));
  seen.backups = list_backups(seen.endpoints.backups_path, stack.key.name);
  seen.host = look_at_host(seen.endpoints.backups_path);
  seen.missing_releases = missing_releases(stack);
  return seen;
}

Result<void> Local::apply(const Site& site, const Stack& stack, const ComponentSpec& component,
                          const Endpoints& endpoints, const SecretValues& secrets,
                          std::stop_token stop) const {
  const Component which = component.component;
  const std::string name(to_string(which));
  if (component.replicas < 0 || component.replicas > 1) {
    return Error{ErrorKind::Invalid, "one host runs one " + name + ", not " +
                                         std::to_string(component.replicas) +
                                         "; set its replicas to 1"};
  }
  Told told;
  told.replicas = component.replicas;
  told.revision = component.revision;
  told.version = component.version;
  told.probe_path = component.ready.path;
  told.probe_port = port_of(which, endpoints);
  told.grace_seconds = component.termination_grace_seconds;
  // What cannot be started is not stopped either: all is prepared before anything is touched.
  ProcessSpec process;
  if (told.replicas > 0) {
    process = TRY(component_process(host_, site.folder, stack, component, endpoints, secrets));
  }
  TRY(site.supervisor.remember(which, told));
  if (told.replicas > 0 && site.supervisor.runs(which, told.revision)) return {};
  if (told.replicas == 0 || site.supervisor.process(which)) {
    const bool gone = site.supervisor.stop(which, told.grace_seconds, kStopPatience, stop);
    // Not gone: the next pass sees that it is stopping and asks again.
    if (!gone || told.replicas == 0) return {};
  }
  if (which == Component::Gateway) {
    TRY(site.gateway.prepare(endpoints, !stack.spec.fundraising.version.empty()));
  }
  return site.supervisor.start(which, told, process);
}

Result<void> Local::start_task(const Site& site, const Stack& stack, const TaskSpec& task,
                               const SecretValues& secrets) const {
  const std::string backups = site.folder.backups(stack.spec);
  TRY(make_folder_of(backups, 0700, host_.user));
  TRY(check_reachable(backups, host_.user));
  return site.tasks.start(stack, task, secrets);
}

Result<void> Local::act(const Stack& stack, const Action& action, const SecretValues& secrets,
                        std::stop_token stop) {
  if (stop.stop_requested()) return Error{ErrorKind::Cancelled, "stopped"};
  const Site site(host_, stack.key, clock_);
  const Endpoints endpoints = TRY(settle_in(site, stack));
  return std::visit(
      Overloaded{
          [&](const ApplyComponent& wanted) {
            return apply(site, stack, wanted.component, endpoints, secrets, stop);
          },
          [&](const SwitchGateway& wanted) {
            return site.gateway.switch_to(wanted.mode == GatewayMode::Open, endpoints,
                                          wanted.has_fundraising, stop);
          },
          [&](const StartTask& wanted) { return start_task(site, stack, wanted.task, secrets); },
          [&](const StopTask& wanted) { return site.tasks.stop(wanted.name); },
          [&](const FlushRedis&) {
            return redis_.flush({endpoints.redis_host, endpoints.redis_port}, stop);
          },
          [&](const DeleteBackup& wanted) {
            // A backup being made counts on content that only its own list will name.
            return delete_backup(endpoints.backups_path, wanted.id, site.tasks.any_running());
          },
      },
      action);
}

/// Those of which a process died.
std::vector<StackKey> Local::changed(std::chrono::milliseconds patience, std::stop_token stop) {
  pause_for(patience, stop);
  std::set<StackKey> known;
  {
    const std::lock_guard guard(knowing_);
    known = known_;
  }
  std::vector<StackKey> dead;
  for (const StackKey& key : known) {
    const Site site(host_, key, clock_);
    bool lost = false;
    for (const Component component : kAllComponents) {
      if (site.supervisor.process(component)) {
        living_.emplace(key, component);
      } else if (living_.erase({key, component}) > 0) {
        lost = true;
      }
    }
    if (lost) dead.push_back(key);
  }
  return dead;
}

Result<void> Local::stop_stack(const StackKey& key, std::stop_token stop) {
  const Site site(host_, key, clock_);
  if (!site.folder.exists()) return {};
  TRY(site.tasks.stop_all(seconds(10), stop));
  for (const Component component : kStopOrder) {
    const bool gone = site.supervisor.stop(component, 10, seconds(12), stop) ||
                      site.supervisor.stop(component, 0, seconds(10), stop);
    if (!gone) {
      return Error{stop.stop_requested() ? ErrorKind::Cancelled : ErrorKind::Unavailable,
                   std::string(to_string(component)) + " does not stop"};
    }
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<LocalPlatform>> make_local_platform(LocalOptions options, Redis& redis,
                                                           const Clock& clock) {
  Host host;
  host.data_folder = std::filesystem::absolute(options.data_folder).lexically_normal().string();
  host.release_folder =
      std::filesystem::absolute(options.release_folder).lexically_normal().string();
  host.user = TRY(find_run_as(options.run_as));
  TRY(make_folder(host.data_folder, 0711));
  TRY(check_reachable(host.data_folder, host.user));
  TRY(check_reachable(host.release_folder, host.user));
  FileLock lock = TRY(take_lock(host.data_folder + "/lock"));
  return std::unique_ptr<LocalPlatform>(
      std::make_unique<Local>(std::move(host), std::move(lock), redis, clock));
}

}  // namespace stackspec
