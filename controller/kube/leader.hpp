// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.hpp"
#include "objects/object_api.hpp"

// One of several controllers acts: the holder of a Lease. Whether it may is judged by this
// machine's monotonic clock alone, counted from before the renewal was sent.

namespace stackspec {

struct LeaseTimes {
  std::chrono::milliseconds duration{15000};  ///< Others take a Lease not renewed for so long.
  std::chrono::milliseconds renew_deadline{10000};  ///< We stop writing that much earlier.
  std::chrono::milliseconds renew_every{2000};
  std::chrono::milliseconds look_every{3000};  ///< Of a standby that was told nothing so long.
};

class Leadership {
 public:
  /// `identity` must be of this process alone, and not be used again by a later one. `objects` and
  /// `clock` must outlive it. `objects` must not be behind the gate.
  Leadership(ObjectApi& objects, ObjectKey lease, std::string identity, const Clock& clock,
             LeaseTimes times = {});

  /// One look at the Lease, and one write where it is ours to write. Called by one thread.
  void step();

  /// Steps until `stop`, or until we led and may not any more; true in the latter case: the process
  /// has to end at once, because what it has begun may meet the work of the next leader.
  /// `on_started` is called once, when we begin to lead. A standby watches the Lease: while it is
  /// renewed nothing is asked, and what is given back is taken at once.
  bool run(const std::function<void()>& on_started, std::stop_token stop);

  /// Gives the Lease back so that another need not wait. Only after all work has ended.
  void release();

  bool leads() const { return leads_.load(); }
  /// The gate: may something be written at this moment? Any thread.
  bool may_write() const;
  /// The renewals have stopped, and so has what would end this process for it. Any thread.
  bool is_stuck() const;
  /// Whoever holds the Lease, as last seen; for logs. Called by the thread of step().
  const std::string& holder() const { return seen_holder_; }

 private:
  /// `lease` as it is stored now, or as the watch told.
  void judge(Object lease, SteadyTime began);
  bool take(Object lease, SteadyTime began);
  void won(Object lease, SteadyTime began);
  bool give_back(Object lease);
  /// How long a standby may wait for news before it looks by itself.
  std::chrono::milliseconds patience() const;

  ObjectApi& objects_;
  const ObjectKey key_;
  const std::string identity_;
  const Clock& clock_;
  const LeaseTimes times_;
  std::atomic<bool> leads_{false};
  std::atomic<SteadyTime::rep> renewed_{0};  ///< When the last good renewal was begun.
  std::string seen_holder_;
  std::string seen_record_;  ///< What the Lease said when it last changed, and when that was.
  SteadyTime seen_at_{};
  std::chrono::milliseconds seen_duration_{0};
  std::int64_t seen_version_ = 0;
  std::optional<Object> held_;  ///< As we wrote it last: a renewal need not read it first.
};

/// Everything passes but writes at a moment when `leadership` may not: those are Cancelled before
/// they are sent. The one gate of every mutation. `inner` and `leadership` must outlive it.
std::unique_ptr<ObjectApi> make_gated_objects(ObjectApi& inner, const Leadership& leadership);

}  // namespace stackspec
