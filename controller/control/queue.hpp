// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>

#include "api/stack.hpp"
#include "base/clock.hpp"

namespace stackspec {

/// How far the workers are behind: what the metrics show.
struct QueueLoad {
  std::size_t due = 0;                          ///< Due and waiting for a worker.
  std::size_t later = 0;                        ///< Asked for at a later time.
  std::size_t running = 0;                      ///< Being worked on.
  std::chrono::nanoseconds oldest_due{0};       ///< How long the longest has been waiting.
  std::chrono::nanoseconds longest_running{0};  ///< A stuck worker shows here.
  std::chrono::nanoseconds unfinished{0};       ///< Sum over all that is being worked on.
};

/// The stacks that want attention, each at most once, and when.
///
/// A stack that is being worked on is never handed out again until done(); adding it meanwhile
/// keeps the request for later. Of several requests for one stack the earliest time and the higher
/// urgency win; of several stacks the more urgent, then the one that was due first. All members may
/// be called from any thread.
class Queue {
 public:
  enum class Urgency {
    Listed,   ///< Found by listing everything: a thousand of them must not delay one that changed.
    Changed,  ///< Something happened to it, or it asked for this moment.
  };
  void add(StackKey key, SteadyTime due, Urgency urgency = Urgency::Changed);

  /// Waits for a stack that is due and not being worked on. Empty once `stop` is requested.
  std::optional<StackKey> take(std::stop_token stop);

  /// As take(), without waiting and at a time of the caller's choosing: for tests and for take().
  std::optional<StackKey> take_due(SteadyTime now);

  /// The worker has finished with `key`.
  void done(const StackKey& key);

  /// How long `key`, which is being worked on, had been due before a worker took it.
  std::chrono::nanoseconds waited(const StackKey& key) const;

  /// The stack is gone: nothing that was asked for it stands any longer.
  void forget(const StackKey& key);

  QueueLoad numbers(SteadyTime now) const;

 private:
  std::optional<StackKey> take_due_locked(SteadyTime now);
  SteadyTime next_due_locked() const;
  void changed_locked();

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  struct Wanted {
    SteadyTime due;
    Urgency urgency = Urgency::Changed;
  };
  std::map<StackKey, Wanted> due_;  // guarded by mutex_
  struct Running {
    SteadyTime since;
    std::chrono::nanoseconds waited{0};
  };
  std::map<StackKey, Running> running_;  // guarded by mutex_
  std::uint64_t version_ = 0;            // guarded by mutex_; counts the changes of both
};

}  // namespace stackspec
