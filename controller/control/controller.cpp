// SPDX-License-Identifier: Apache-2.0
#include "control/controller.hpp"

#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/backoff.hpp"
#include "base/log.hpp"
#include "base/pause.hpp"
#include "base/token_bucket.hpp"
#include "control/queue.hpp"

namespace stackspec {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPatience{1000};
/// What happens to a stack happens in bursts: of a workload, its pod, and their statuses.
constexpr milliseconds kBurst{10};
/// When nothing waited for a worker for so long, it is done for now. And again after that: what one
/// stack took meanwhile, and a watch opened anew, is to be given back too.
constexpr milliseconds kRestAfter{10000};
/// Between attempts to list while nobody answers: 0.22 a second at last, as client-go does it.
constexpr Backoff kListAgain{milliseconds(800), milliseconds(30000)};

/// Consecutive failures of each stack. Any thread.
class Failures {
 public:
  /// How long until it may be tried again: the longer the more often it failed, and all stacks
  /// together 10 times a second after the first hundred.
  milliseconds add(const StackKey& key, double jitter, SteadyTime now) {
    const std::lock_guard lock(mutex_);
    return std::max(Backoff{}.delay(++count_[key], jitter), again_.reserve(now));
  }
  void clear(const StackKey& key) {
    const std::lock_guard lock(mutex_);
    count_.erase(key);
  }

 private:
  std::mutex mutex_;
  std::map<StackKey, int> count_;              // guarded by mutex_
  TokenBucket again_{100, milliseconds(100)};  // guarded by mutex_
};

/// The stack an object belongs to: itself, or the one its spec or label names. Empty name: none.
StackKey stack_of(const Object& object) {
  if (object.key.kind == "StackSpec") return {object.key.ns, object.key.name};
  const auto label = object.labels.find(kStackLabel);
  if (label != object.labels.end()) return {object.key.ns, label->second};
  const auto ref = nlohmann::json::json_pointer("/spec/stackRef/name");
  if (object.content.contains(ref) && object.content[ref].is_string()) {
    return {object.key.ns, object.content[ref].get<std::string>()};
  }
  return {object.key.ns, ""};
}

class Running {
 public:
  Running(const ReconcilerParts& parts, const ControllerOptions& options)
      : parts_(parts), options_(options), reconciler_(parts) {}

  void run(const std::stop_token& stop) {
    parts_.telemetry.set_workers(options_.workers);
    std::vector<std::jthread> threads;
    for (const char* kind : {"StackSpec", "StackBackup", "StackRestore", "Secret", "ConfigMap"}) {
      threads.emplace_back([this, kind, stop] { watch(kind, stop); });
    }
    threads.emplace_back([this, stop] { listen_to_platform(stop); });
    for (int i = 0; i < options_.workers; ++i) {
      threads.emplace_back([this, stop] { work(stop); });
    }
  }

 private:
  void add(const StackKey& key, SteadyTime due, Queue::Urgency urgency = Queue::Urgency::Changed) {
    queue_.add(key, due, urgency);
    parts_.telemetry.queue_added();
  }

  /// A Secret or ConfigMap without our label may be named by any stack of its namespace.
  void wake(const Object& object, Queue::Urgency urgency) {
    const StackKey key = stack_of(object);
    if (!key.name.empty()) {
      add(key, parts_.clock.steady_now(), urgency);
      return;
    }
    const auto stacks = parts_.objects.list("StackSpec", key.ns);
    if (!stacks) return;
    for (const Object& stack : stacks->items) {
      add({stack.key.ns, stack.key.name}, parts_.clock.steady_now(), urgency);
    }
  }

  void watch(const std::string& kind, const std::stop_token& stop) {
    int failures = 0;
    while (!stop.stop_requested()) {
      // A stack that is woken for nothing, because a list began anew, takes one pass.
      const auto listed = parts_.objects.each(
          kind, "", [] {}, [&](Object&& object) { wake(object, Queue::Urgency::Found); });
      if (!listed) {
        log::warn("list failed", {{"kind", kind}, {"detail", listed.error().message}});
        pause_for(kListAgain.delay(++failures, 0.5), stop);
        continue;
      }
      failures = 0;
      // Every write of our own status comes back as an event; only what the planner's input is
      // made of wakes the stack, so that a settled stack stays settled.
      std::unordered_map<std::size_t, std::size_t> inputs;  // hashes of both
      const auto ended = parts_.objects.watch(
          kind, *listed,
          [&](const WatchEvent& event) {
            const std::size_t key = hash_of(event.object.key);
            const auto known = inputs.find(key);
            const std::size_t input = input_of(event);
            if (known != inputs.end() && known->second == input) return;
            if (event.type == WatchEvent::Type::Deleted) {
              if (known != inputs.end()) inputs.erase(known);
            } else {
              inputs[key] = input;
            }
            const bool is_new =
                event.type == WatchEvent::Type::Added && event.object.key.kind == "StackSpec";
            wake(event.object, is_new ? Queue::Urgency::Found : Queue::Urgency::Changed);
          },
          stop);
      if (!ended && ended.error().kind == ErrorKind::Cancelled) return;
    }
  }

  void listen_to_platform(const std::stop_token& stop) {
    SteadyTime rest = parts_.clock.steady_now() + kRestAfter;
    while (!stop.stop_requested()) {
      const auto changed = parts_.platform.changed(kPatience, stop);
      const SteadyTime now = parts_.clock.steady_now();
      for (const StackKey& key : changed) add(key, now + kBurst);
      const QueueLoad load = queue_.numbers(now);
      // One stack that never comes to rest is not much work. Whoever waits for its turn to lead
      // rests too, with all stacks due.
      if (load.running > 0 && load.due > 0) {
        rest = now + kRestAfter;
      } else if (now >= rest) {
        if (options_.at_rest) options_.at_rest();
        rest = now + kRestAfter;
      }
    }
  }

  static std::size_t hash_of(const ObjectKey& key) {
    return std::hash<std::string>{}(key.ns + "/" + key.name);
  }

  static std::size_t input_of(const WatchEvent& event) {
    std::string text = std::to_string(static_cast<int>(event.type == WatchEvent::Type::Deleted)) +
                       "/" + std::to_string(event.object.generation) + "/" +
                       event.object.deletion_timestamp;
    for (const auto& [name, value] : event.object.annotations) text += "/" + name + "=" + value;
    return std::hash<std::string>{}(text);
  }

  void work(const std::stop_token& stop) {
    std::mt19937 random(std::random_device{}());
    std::uniform_real_distribution<double> jitter(0.0, 1.0);
    if (options_.wait_for_turn && !options_.wait_for_turn(stop)) return;
    while (auto key = queue_.take(stop)) {
      const SteadyTime started = parts_.clock.steady_now();
      parts_.telemetry.queue_handed_out(std::chrono::duration<double>(queue_.waited(*key)).count());
      parts_.telemetry.reconcile_started();
      tell_queue();
      const auto delay = pass(*key, jitter(random), started, stop);
      const std::chrono::duration<double> worked = parts_.clock.steady_now() - started;
      parts_.telemetry.queue_done(worked.count());
      if (delay != milliseconds::max()) add(*key, parts_.clock.steady_now() + delay);
      queue_.done(*key);
      tell_queue();
    }
  }

  void tell_queue() {
    const QueueLoad load = queue_.numbers(parts_.clock.steady_now());
    const auto seconds = [](std::chrono::nanoseconds time) {
      return std::chrono::duration<double>(time).count();
    };
    parts_.telemetry.queue_seen({.depth = static_cast<int>(load.due),
                                 .unfinished_seconds = seconds(load.unfinished),
                                 .longest_running_seconds = seconds(load.longest_running)});
  }

  milliseconds pass(const StackKey& key, double jitter, SteadyTime started,
                    const std::stop_token& stop) {
    const auto seconds = [&] {
      return std::chrono::duration<double>(parts_.clock.steady_now() - started).count();
    };
    try {
      const auto look_again = reconciler_.reconcile(key, stop);
      if (look_again) {
        failures_.clear(key);
        parts_.telemetry.reconcile_finished(*look_again == milliseconds(0)
                                                ? ReconcileResult::Requeue
                                                : ReconcileResult::RequeueAfter,
                                            seconds());
        return *look_again;
      }
      const Error& error = look_again.error();
      if (error.kind == ErrorKind::Cancelled) return milliseconds::max();
      if (error.kind == ErrorKind::Conflict) {
        parts_.telemetry.reconcile_finished(ReconcileResult::Requeue, seconds());
        parts_.telemetry.queue_retried();
        return milliseconds(10);  // Somebody wrote first: read again, decide again.
      }
      log::warn("pass failed", {{"stack", key.ns + "/" + key.name},
                                {"kind", to_string(error.kind)},
                                {"detail", error.message}});
    } catch (const std::exception& panic) {
      // The one last catch: a bug in one stack does not stop the others.
      parts_.telemetry.reconcile_panicked();
      log::error("pass panicked", {{"stack", key.ns + "/" + key.name}, {"detail", panic.what()}});
    }
    parts_.telemetry.reconcile_finished(ReconcileResult::Error, seconds());
    parts_.telemetry.queue_retried();
    return failures_.add(key, jitter, parts_.clock.steady_now());
  }

  ReconcilerParts parts_;
  ControllerOptions options_;
  Reconciler reconciler_;
  Queue queue_;
  Failures failures_;
};

}  // namespace

void Controller::run(std::stop_token stop) {
  Running(parts_, options_).run(stop);
}

}  // namespace stackspec
