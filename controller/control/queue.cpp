// SPDX-License-Identifier: Apache-2.0
#include "control/queue.hpp"

#include <algorithm>
#include <utility>

namespace stackspec {

namespace {

/// A stack takes about a dozen passes until it is settled: rarer, so that this alone does not open
/// more work than is finished.
constexpr std::uint64_t kTurnsOfTheOldest = 16;

}  // namespace

void Queue::add(StackKey key, SteadyTime due, Urgency urgency) {
  const std::lock_guard lock(mutex_);
  const auto [entry, inserted] = wanted_.try_emplace(std::move(key), Wanted{due, urgency});
  Wanted& wanted = entry->second;
  if (!inserted) {
    const Wanted better{std::min(wanted.due, due), std::max(wanted.urgency, urgency)};
    if (better.due == wanted.due && better.urgency == wanted.urgency) return;
    line_locked(wanted.urgency).erase({wanted.due, &entry->first});
    wanted = better;
  }
  line_locked(wanted.urgency).insert({wanted.due, &entry->first});
  changed_locked();
}

std::optional<StackKey> Queue::take(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (auto key = take_due_locked(std::chrono::steady_clock::now())) {
      // Only one is woken at a time: the next one is to look what it should wait for now.
      changed_locked();
      return key;
    }
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
  if (wanted_.contains(key)) changed_locked();
}

void Queue::forget(const StackKey& key) {
  const std::lock_guard lock(mutex_);
  const auto wanted = wanted_.find(key);
  if (wanted != wanted_.end()) remove_locked(wanted);
}

std::chrono::nanoseconds Queue::waited(const StackKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(key);
  return found == running_.end() ? std::chrono::nanoseconds(0) : found->second.waited;
}

QueueLoad Queue::numbers(SteadyTime now) const {
  const std::lock_guard lock(mutex_);
  QueueLoad numbers;
  for (const Line& line : lines_) {
    for (const auto& [due, key] : line) {
      if (due > now) break;
      ++numbers.due;
      numbers.oldest_due = std::max<std::chrono::nanoseconds>(numbers.oldest_due, now - due);
    }
  }
  numbers.later = wanted_.size() - numbers.due;
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
  changed_.notify_one();
}

Queue::Line::const_iterator Queue::first_locked(const Line& line) const {
  return std::find_if(line.begin(), line.end(),
                      [this](const Place& place) { return !running_.contains(*place.second); });
}

void Queue::remove_locked(std::map<StackKey, Wanted>::iterator wanted) {
  line_locked(wanted->second.urgency).erase({wanted->second.due, &wanted->first});
  wanted_.erase(wanted);
}

std::optional<StackKey> Queue::take_due_locked(SteadyTime now) {
  const bool by_age = (turns_ + 1) % kTurnsOfTheOldest == 0;
  std::optional<Place> first;
  for (const Urgency urgency : {Urgency::Changed, Urgency::Found}) {
    const Line& line = line_locked(urgency);
    const auto next = first_locked(line);
    if (next == line.end() || next->first > now) continue;
    if (!first || (by_age && InTime()(*next, *first))) first = *next;
  }
  if (!first) return std::nullopt;
  ++turns_;
  StackKey key = *first->second;
  running_.emplace(key, Running{.since = now, .waited = now - first->first});
  remove_locked(wanted_.find(key));
  return key;
}

SteadyTime Queue::next_due_locked() const {
  // With no key due: an hour, rather than SteadyTime::max(), which overflows in wait_until.
  auto next = std::chrono::steady_clock::now() + std::chrono::hours(1);
  for (const Line& line : lines_) {
    const auto first = first_locked(line);
    if (first != line.end()) next = std::min(next, first->first);
  }
  return next;
}

}  // namespace stackspec
