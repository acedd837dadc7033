// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/kubernetes.hpp"

#include <algorithm>

#include "platform/kubernetes/backups.hpp"
#include "platform/kubernetes/cache.hpp"
#include "platform/kubernetes/names.hpp"
#include "platform/kubernetes/render.hpp"
#include "platform/kubernetes/task_keeper.hpp"
#include "platform/kubernetes/writer.hpp"

namespace stackspec {
namespace {

using namespace kubernetes;

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

constexpr int kSettleRounds = 8;

bool is_claim(const Object& object) {
  return object.key.kind == "PersistentVolumeClaim";
}

GatewayMode told_mode(const Children& children) {
  const bool open = children.door && children.door->told_open;
  return open ? GatewayMode::Open : GatewayMode::Closed;
}

/// The addresses that nginx got when it asked for its upstreams.
std::string upstreams_of(const Children& children) {
  std::string all;
  for (const auto& [component, address] : children.addresses) {
    all += std::string(to_string(component)) + " " + address + "\n";
  }
  return all;
}

bool uses_backups(TaskKind kind) {
  return kind == TaskKind::Backup || kind == TaskKind::Prove || kind == TaskKind::Restore;
}

/// A part that does not run and that the spec by now wants otherwise counts as down, though its
/// pods are there: a first start with an image that cannot be had must be mendable.
bool is_outdated(const Stack& stack, Component which, const std::string& revision) {
  const bool foundation =
      which == Component::Postgres || which == Component::Redis || which == Component::Gateway;
  if (!foundation) return false;
  const auto all =
      wanted_components(stack.key, stack.spec, Version{}, cluster_endpoints(stack), "");
  return std::any_of(all.begin(), all.end(), [&](const ComponentSpec& one) {
    return one.component == which && one.revision != revision;
  });
}

constexpr Component kOnClaims[] = {Component::Postgres, Component::Redis, Component::Server};

/// The claims of ours that a component stands on; those of backups count as the server's.
std::vector<Object> claims_of(const Stack& stack, Component which) {
  const bool none =
      std::find(std::begin(kOnClaims), std::end(kOnClaims), which) == std::end(kOnClaims);
  if (none) return {};
  std::vector<Object> all = render_claims(stack, which);
  if (which == Component::Server) all.push_back(render_backups_claim(stack));
  return all;
}

class Kubernetes final : public Platform {
 public:
  Kubernetes(ObjectApi& objects, KubernetesOptions options, const Clock& clock)
      : options_(std::move(options)),
        render_{options_.controller_namespace},
        cache_(make_child_cache(objects)),
        writer_(objects, *cache_, clock),
        tasks_(writer_, options_, clock) {}

  Result<PlatformSeen> observe(const Stack& stack, std::stop_token stop) override;
  Result<PlatformSeen> glance(const Stack& stack, std::stop_token stop) override;
  Result<void> prepare(const Stack& stack, std::stop_token stop) override;
  Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                   std::stop_token stop) override;
  std::vector<StackKey> changed(std::chrono::milliseconds patience, std::stop_token stop) override {
    return cache_->changed(patience, std::move(stop));
  }

 private:
  Result<Children> settled(const Stack& stack, std::stop_token stop);
  Result<void> grow_claims(const Stack& stack, const Children& children);
  enum class Closely { No, Yes };
  PlatformSeen look(const Stack& stack, const Children& children, Closely closely);
  ComponentSeen look(const Stack& stack, const Children& children, Component which,
                     Closely closely) const;
  bool as_wanted(const Stack& stack, const Children& children, Component which) const;
  Result<void> apply(const Stack& stack, const Children& children, const ComponentSpec& component,
                     std::stop_token stop);
  Result<void> ensure_shared(const Stack& stack, const Children& children);
  Result<void> start(const Stack& stack, const Children& children, const TaskSpec& task);

  const KubernetesOptions options_;
  const RenderOptions render_;
  std::unique_ptr<ChildCache> cache_;
  Writer writer_;
  TaskKeeper tasks_;
};

// ---- observe ----

/// A volume grows as soon as the spec says so, in the middle of a journey too: one that is full
/// stops the journey itself.
Result<void> Kubernetes::grow_claims(const Stack& stack, const Children& children) {
  for (const Component which : kOnClaims) {
    for (const Object& claim : claims_of(stack, which)) {
      if (!children.claims.contains(claim.key.name)) continue;
      if (!writer_.cannot_grow(children, claim).empty()) continue;
      TRY(writer_.ensure_claim(children, claim));
    }
  }
  return {};
}

/// The children after everything that is the platform's own business was done.
Result<Children> Kubernetes::settled(const Stack& stack, std::stop_token stop) {
  Children children = TRY(cache_->children_of(stack.key, stop));
  if (stack.deleting) return children;
  TRY(grow_claims(stack, children));
  for (int round = 0; round < kSettleRounds; ++round) {
    bool wrote = TRY(tasks_.settle(stack, children));
    if (!wrote) wrote = TRY(settle_removals(writer_, tasks_, stack, children));
    if (!wrote) break;
    children = TRY(cache_->children_of(stack.key, stop));
  }
  return children;
}

/// Everything around the workload says what it should; so does the workload itself, but for what
/// its ComponentSpec says.
bool Kubernetes::as_wanted(const Stack& stack, const Children& children, Component which) const {
  std::vector<Object> wanted = render_surroundings(stack, which, told_mode(children));
  if (which == Component::Gateway) {
    for (Object& shared : render_shared(stack, render_)) wanted.push_back(std::move(shared));
  }
  const bool right = std::all_of(wanted.begin(), wanted.end(), [&](const Object& one) {
    if (!is_claim(one)) return is_right(children, one);
    const std::string size = one.content["spec"]["resources"]["requests"]["storage"];
    return is_big_enough(children, one) || writer_.refused(one.key, size);
  });
  const auto workload = children.workloads.find(which);
  return right && workload != children.workloads.end() && !workload->second.plain.edited &&
         workload->second.placement == placement_of(stack, which, upstreams_of(children));
}

ComponentSeen Kubernetes::look(const Stack& stack, const Children& children, Component which,
                               Closely closely) const {
  ComponentSeen seen;
  int pods = 0;
  const auto workload = children.workloads.find(which);
  const bool exists = workload != children.workloads.end();
  for (const auto& [name, pod] : children.pods) {
    if (pod.component != to_string(which) || !pod.alive) continue;
    ++pods;
    seen.restarts += pod.restarts;
    if (pod.ready && exists && pod.revision == workload->second.revision) ++seen.ready;
    if (seen.message.empty() && !pod.deleting) seen.message = pod.problem;
  }
  seen.running = pods;
  if (!exists) return seen;
  const WorkloadChild& told = workload->second;
  seen.exists = true;
  seen.wanted = told.replicas;
  // What its controller was told and has not done yet is as good as running: it will make or end
  // pods at any moment.
  const int coming = told.observed ? 0 : std::max(1, told.status_replicas);
  seen.running = std::max({pods, told.replicas, told.status_replicas, coming});
  seen.version = told.version;
  // Edited, or no longer what the spec asks for around it: nothing the planner wants has this
  // revision, so it applies the component again.
  seen.revision = closely == Closely::No || as_wanted(stack, children, which) ? told.revision : "";
  if (seen.message.empty()) seen.message = told.problem;
  for (const Object& claim : claims_of(stack, which)) {
    if (seen.message.empty()) seen.message = writer_.cannot_grow(children, claim);
  }
  const bool stuck = told.replicas > 0 && seen.ready == 0 && !seen.message.empty();
  if (stuck && is_outdated(stack, which, told.revision)) seen.running = 0;
  return seen;
}

Result<PlatformSeen> Kubernetes::observe(const Stack& stack, std::stop_token stop) {
  return look(stack, TRY(settled(stack, stop)), Closely::Yes);
}

Result<PlatformSeen> Kubernetes::glance(const Stack& stack, std::stop_token stop) {
  return look(stack, TRY(cache_->children_of(stack.key, stop)), Closely::No);
}

PlatformSeen Kubernetes::look(const Stack& stack, const Children& children, Closely closely) {
  PlatformSeen seen;
  seen.capabilities.image_location = "image";
  seen.capabilities.external_services = true;
  seen.endpoints = cluster_endpoints(stack);
  for (const Component which : kAllComponents) {
    seen.components[which] = look(stack, children, which, closely);
  }
  seen.gateway_open = children.door && children.door->is_open;
  seen.tasks = tasks_.look(stack, children);
  seen.backups = backups_of(children);
  return seen;
}

// ---- act ----

Result<void> Kubernetes::ensure_shared(const Stack& stack, const Children& children) {
  for (Object& object : render_shared(stack, render_)) {
    TRY(writer_.ensure(stack, children, std::move(object)));
  }
  return {};
}

Result<void> Kubernetes::prepare(const Stack& stack, std::stop_token stop) {
  return ensure_shared(stack, TRY(cache_->children_of(stack.key, stop)));
}

Result<void> Kubernetes::apply(const Stack& stack, const Children& children,
                               const ComponentSpec& component, std::stop_token stop) {
  const Component which = component.component;
  // Before its first pod; from then on they are the gateway's to keep right.
  const bool is_first = !children.workloads.contains(which);
  if (is_first || which == Component::Gateway) TRY(ensure_shared(stack, children));
  for (Object& object : render_surroundings(stack, which, told_mode(children))) {
    if (is_claim(object)) {
      TRY(writer_.ensure_claim(children, object));
    } else {
      TRY(writer_.ensure(stack, children, std::move(object)));
    }
  }
  // Services that were made just now have their addresses only now.
  const Children now = TRY(cache_->children_of(stack.key, stop));
  return writer_.ensure(stack, now, render_workload(stack, component, upstreams_of(now)));
}

Result<void> Kubernetes::start(const Stack& stack, const Children& children, const TaskSpec& task) {
  if (uses_backups(task.kind) && is_removing(children)) {
    return Error{ErrorKind::Unavailable,
                 "an old backup is being removed; the task starts after that"};
  }
  const TaskObjects objects = TRY(render_task(stack, task));
  TRY(ensure_shared(stack, children));
  if (uses_backups(task.kind)) {
    TRY(writer_.ensure_claim(children, render_backups_claim(stack)));
  }
  const StorageSpec& storage = stack.spec.storage;
  if (!storage.s3 && storage.existing_claim.empty()) {
    TRY(writer_.ensure_claim(children, render_storage_claim(stack)));
  }
  return tasks_.start(stack, children, objects);
}

Result<void> Kubernetes::act(const Stack& stack, const Action& action, const SecretValues& secrets,
                             std::stop_token stop) {
  const Children children = TRY(cache_->children_of(stack.key, stop));
  return std::visit(
      Overloaded{
          [&](const ApplyComponent& wanted) {
            return apply(stack, children, wanted.component, stop);
          },
          [&](const SwitchGateway& wanted) {
            return writer_.ensure(stack, children,
                                  render_service(stack, Component::Gateway, wanted.mode));
          },
          [&](const StartTask& wanted) { return start(stack, children, wanted.task); },
          [&](const StopTask& wanted) { return tasks_.stop(stack, children, wanted.name); },
          [&](const FlushRedis&) -> Result<void> {
            if (!options_.flush_redis) {
              return Error{ErrorKind::Internal, "this platform was given no way to flush Redis"};
            }
            if (const auto& external = stack.spec.redis.external_url) {
              return options_.flush_redis(TRY(external_redis(*external, secrets)), stop);
            }
            const Endpoints at = cluster_endpoints(stack);
            return options_.flush_redis({at.redis_host, at.redis_port}, stop);
          },
          [&](const DeleteBackup& wanted) {
            return remove_backup(writer_, tasks_, stack, children, wanted.id);
          },
      },
      action);
}

}  // namespace

std::span<const char* const> kubernetes_watched_kinds() {
  return watched_kinds();
}

std::unique_ptr<Platform> make_kubernetes_platform(ObjectApi& objects, KubernetesOptions options,
                                                   const Clock& clock) {
  return std::make_unique<Kubernetes>(objects, std::move(options), clock);
}

}  // namespace stackspec
