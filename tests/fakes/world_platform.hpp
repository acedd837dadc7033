// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "control/observe.hpp"
#include "fakes/faulty_objects.hpp"
#include "fakes/world.hpp"
#include "platform/platform.hpp"

namespace stackspec {

/// What goes wrong at one call to the platform or the observer.
enum class CallFault {
  None,
  Unavailable,  ///< Nothing happened, the caller is told.
  LostRace,     ///< Somebody else wrote first; nothing happened.
  LostReply,    ///< It happened, the caller is told that it did not.
  CrashBefore,  ///< The controller dies before the deed …
  CrashAfter,   ///< … or right after it.
  Stale,        ///< A look at what was true one look ago.
};

/// Worlds as Platform and Observer. One lock around everything: the worlds are values, not threads.
class WorldPlatform final : public Platform, public Observer {
 public:
  /// Asked once for every act() and every observe(); default: nothing goes wrong.
  std::function<CallFault()> fault_of_act = [] { return CallFault::None; };
  std::function<CallFault()> fault_of_look = [] { return CallFault::None; };
  /// Called after every action, on the worker's thread.
  std::function<void(const StackKey&)> on_act = [](const StackKey&) {};
  std::function<void(const StackKey&)> on_prepare = [](const StackKey&) {};

  explicit WorldPlatform(const Catalog& catalog) : catalog_(catalog) {}

  /// Something happened to it: changed() says so.
  void tell(const StackKey& key);

  World& world(const StackKey& key);

  Result<PlatformSeen> observe(const Stack& stack, std::stop_token stop) override;
  Result<void> prepare(const Stack& stack, std::stop_token /*stop*/) override {
    on_prepare(stack.key);
    return {};
  }
  Result<void> act(const Stack& stack, const Action& action, const SecretValues& secrets,
                   std::stop_token stop) override;
  Result<Seen> observe(const Stack& stack, const SecretValues& secrets, const Catalog& catalog,
                       std::stop_token stop) override;
  std::vector<StackKey> changed(std::chrono::milliseconds patience, std::stop_token stop) override;

 private:
  Result<Seen> look(const StackKey& key);

  const Catalog& catalog_;
  std::mutex mutex_;
  std::map<StackKey, std::unique_ptr<World>> worlds_;  // guarded by mutex_
  std::map<StackKey, Seen> before_;                    // guarded by mutex_
  std::condition_variable_any news_;
  std::vector<StackKey> told_;  // guarded by mutex_
};

}  // namespace stackspec
