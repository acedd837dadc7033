// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <utility>

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
/// urgency win; of several stacks the more urgent, then the one that was due first: work that was
/// begun is finished before more is begun. One turn in sixteen goes to whatever was due first, so
/// that nothing waits for ever. All members may be called from any thread.
class Queue {
 public:
  enum class Urgency {
    Found,    ///< New, or listed: a thousand of them must not delay one that is in work.
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
  struct Wanted {
    SteadyTime due;
    Urgency urgency = Urgency::Changed;
  };
  using Place = std::pair<SteadyTime, const StackKey*>;  ///< The key is that of wanted_.
  struct InTime {
    bool operator()(const Place& a, const Place& b) const {
      return a.first != b.first ? a.first < b.first : *a.second < *b.second;
    }
  };
  using Line = std::set<Place, InTime>;
  struct Running {
    SteadyTime since;
    std::chrono::nanoseconds waited{0};
  };

  Line& line_locked(Urgency urgency) { return lines_[static_cast<std::size_t>(urgency)]; }
  /// The first of a line whom nobody works on, or the end.
  Line::const_iterator first_locked(const Line& line) const;
  void remove_locked(std::map<StackKey, Wanted>::iterator wanted);
  std::optional<StackKey> take_due_locked(SteadyTime now);
  SteadyTime next_due_locked() const;
  void changed_locked();

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::map<StackKey, Wanted> wanted_;  // guarded by mutex_, as all below
  Line lines_[2];                      ///< The same by urgency, in the order of time.
  std::map<StackKey, Running> running_;
  std::uint64_t version_ = 0;  ///< Counts the changes of all.
  std::uint64_t turns_ = 0;
};

}  // namespace stackspec
