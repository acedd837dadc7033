// SPDX-License-Identifier: Apache-2.0
#include "control/queue.hpp"

#include <algorithm>
#include <utility>

namespace stackspec {

void Queue::add(StackKey key, SteadyTime due, Urgency urgency) {
  const std::lock_guard lock(mutex_);
  const auto [entry, inserted] = due_.try_emplace(std::move(key), Wanted{due, urgency});
  if (!inserted) {
    Wanted& wanted = entry->second;
    wanted.urgency = std::max(wanted.urgency, urgency);
    if (wanted.due <= due) return;
    wanted.due = due;
  }
  changed_locked();
}

std::optional<StackKey> Queue::take(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (auto key = take_due_locked(std::chrono::steady_clock::now())) return key;
    const auto seen = version_;
    changed_.wait_until(lock, stop, next_due_locked(), [&] { return version_ != seen; });
  }
  return std::nullopt;
}

std::optional<StackKey> Queue::take_due(SteadyTime now) {
  const std::lock_guard lock(mutex_);
  return take_due_locked(now);
}

void Queue::done(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  running_.erase(key);
  // Only then can somebody have been waiting for it.
  if (due_.contains(key)) changed_locked();
}

void Queue::forget(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  due_.erase(key);
}

std::chrono::nanoseconds Queue::waited(const StackKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(key);
  return found == running_.end() ? std::chrono::nanoseconds(0) : found->second.waited;
}

QueueLoad Queue::numbers(SteadyTime now) const {
  const std::lock_guard lock(mutex_);
  QueueLoad numbers;
  for (const auto& [key, wanted] : due_) {
    ++(wanted.due <= now ? numbers.due : numbers.later);
    numbers.oldest_due = std::max<std::chrono::nanoseconds>(numbers.oldest_due, now - wanted.due);
  }
  numbers.running = running_.size();
  for (const auto& [key, running] : running_) {
    numbers.longest_running =
        std::max<std::chrono::nanoseconds>(numbers.longest_running, now - running.since);
    numbers.unfinished += now - running.since;
  }
  return numbers;
}

void Queue::changed_locked() {
  ++version_;
  changed_.notify_all();
}

std::optional<StackKey> Queue::take_due_locked(SteadyTime now) {
  auto first = due_.end();
  for (auto entry = due_.begin(); entry != due_.end(); ++entry) {
    const auto& [due, urgency] = entry->second;
    if (due > now) continue;
    const bool is_first = first == due_.end() || urgency > first->second.urgency ||
                          (urgency == first->second.urgency && due < first->second.due);
    if (is_first && !running_.contains(entry->first)) first = entry;
  }
  if (first == due_.end()) return std::nullopt;
  StackKey key = first->first;
  running_.emplace(key, Running{.since = now, .waited = now - first->second.due});
  due_.erase(first);
  return key;
}

SteadyTime Queue::next_due_locked() const {
  // With no key due: an hour, rather than SteadyTime::max(), which overflows in wait_until.
  auto next = std::chrono::steady_clock::now() + std::chrono::hours(1);
  for (const auto& [key, wanted] : due_) {
    if (wanted.due < next && !running_.contains(key)) next = wanted.due;
  }
  return next;
}

}  // namespace stackspec
