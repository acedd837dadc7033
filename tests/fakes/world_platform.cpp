// SPDX-License-Identifier: Apache-2.0
#include "fakes/world_platform.hpp"

namespace stackspec {

World& WorldPlatform::world(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  auto& world = worlds_[key];
  if (!world) world = std::make_unique<World>(catalog_);
  return *world;
}

Result<PlatformSeen> WorldPlatform::observe(const Stack& stack, std::stop_token /*stop*/) {
  Seen seen = TRY(look(stack.key));
  PlatformSeen found;
  found.capabilities = std::move(seen.platform);
  found.endpoints = std::move(seen.endpoints);
  found.components = std::move(seen.components);
  found.gateway_open = seen.gateway_open;
  found.tasks = std::move(seen.tasks);
  found.backups = std::move(seen.backups);
  found.host = seen.host;
  found.missing_releases = std::move(seen.missing_releases);
  return found;
}

Result<void> WorldPlatform::act(const Stack& stack, const Action& action,
                                const SecretValues& /*secrets*/, std::stop_token /*stop*/) {
  World& here = world(stack.key);
  const CallFault fault = fault_of_act();
  if (fault == CallFault::CrashBefore) throw Crash{};
  if (fault == CallFault::Unavailable) return Error{ErrorKind::Unavailable, "the platform is away"};
  if (fault == CallFault::LostRace) return Error{ErrorKind::Conflict, "somebody else wrote first"};
  {
    const std::lock_guard lock(mutex_);
    here.act(action);
  }
  on_act(stack.key);
  if (fault == CallFault::CrashAfter) throw Crash{};
  if (fault == CallFault::LostReply) return Error{ErrorKind::Unavailable, "the reply was lost"};
  return {};
}

Result<Seen> WorldPlatform::observe(const Stack& stack, const SecretValues& /*secrets*/,
                                    const Catalog& /*catalog*/, std::stop_token /*stop*/) {
  return look(stack.key);
}

Result<Seen> WorldPlatform::look(const StackKey& key) {
  World& here = world(key);
  const CallFault fault = fault_of_look();
  if (fault == CallFault::CrashBefore || fault == CallFault::CrashAfter) throw Crash{};
  if (fault == CallFault::Unavailable || fault == CallFault::LostReply) {
    return Error{ErrorKind::Unavailable, "the platform is away"};
  }
  const std::lock_guard lock(mutex_);
  here.tick();
  Seen seen = here.see();
  const auto before = before_.find(key);
  const bool stale = fault == CallFault::Stale && before != before_.end();
  Seen answer = stale ? before->second : seen;
  before_[key] = std::move(seen);
  return answer;
}

void WorldPlatform::tell(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  told_.push_back(key);
  news_.notify_one();
}

std::vector<StackKey> WorldPlatform::changed(std::chrono::milliseconds patience,
                                             std::stop_token stop) {
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, stop, patience, [this] { return !told_.empty(); });
  return std::exchange(told_, {});
}

}  // namespace stackspec
