// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/codec.hpp"
#include "base/log.hpp"
#include "control/controller.hpp"
#include "fakes/world_platform.hpp"

// The controller on worlds instead of processes: what it costs by itself.
//
//   control_bench planner            passes of make_plan() a second, settled and in an upgrade
//   control_bench latency            change of a spec -> first action, p50 and p99
//   control_bench memory STACKS      resident memory with STACKS settled stacks, and the writes
//   they
//                                    make in ten seconds of rest; then one change, to see it is
//                                    alive

namespace stackspec {
namespace {

using Clock_ = std::chrono::steady_clock;

double seconds_since(Clock_::time_point start) {
  return std::chrono::duration<double>(Clock_::now() - start).count();
}

long resident_kib() {
  std::ifstream statm("/proc/self/statm");
  long size = 0, resident = 0;
  statm >> size >> resident;
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

Object stack_object(const std::string& name, const std::string& tag) {
  Object object;
  object.key = {"StackSpec", "default", name};
  object.content["spec"] = {{"tag", tag}, {"upgrade", {{"soakSeconds", 0}}}};
  return object;
}

/// A running controller over worlds, with its store in memory.
class Bench {
 public:
  Bench()
      : objects_(make_objects()),
        platform_(Catalog::builtin()),
        telemetry_("bench", "bench"),
        controller_({*objects_, platform_, platform_, Catalog::builtin(), telemetry_,
                     system_clock(), system_random()},
                    {.workers = 2}) {
    log::set_level(log::Level::Error);
    platform_.on_act = [this](const StackKey&) {
      const std::lock_guard lock(mutex_);
      last_act_ = Clock_::now();
      ++acts_;
      acted_.notify_all();
    };
    thread_ = std::jthread([this](std::stop_token stop) { controller_.run(stop); });
  }

  ObjectApi& objects() { return *objects_; }

  int acts() {
    const std::lock_guard lock(mutex_);
    return acts_;
  }

  /// Seconds from `start` to the first action after `before` of them.
  double first_act(int before, Clock_::time_point start) {
    std::unique_lock lock(mutex_);
    acted_.wait_for(lock, std::chrono::seconds(20), [&] { return acts_ > before; });
    return std::chrono::duration<double>(last_act_ - start).count();
  }

  bool wait_ready(const std::string& name, const std::string& version) {
    const auto start = Clock_::now();
    while (seconds_since(start) < 120) {
      const auto object = objects_->get({"StackSpec", "default", name});
      const bool ready = object && object->status.value("phase", "") == "Ready" &&
                         object->status.value("version", "") == version;
      if (ready) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  void set_tag(const std::string& name, const std::string& tag) {
    for (;;) {
      auto object = objects_->get({"StackSpec", "default", name});
      object->content["spec"]["tag"] = tag;
      if (objects_->update(*object)) return;
    }
  }

 private:
  static std::unique_ptr<ObjectApi> make_objects() {
    auto made = make_sqlite_objects(":memory:");
    if (!made) std::abort();
    return std::move(made).value();
  }

  std::unique_ptr<ObjectApi> objects_;
  WorldPlatform platform_;
  Telemetry telemetry_;
  Controller controller_;
  std::mutex mutex_;
  std::condition_variable acted_;
  Clock_::time_point last_act_;  // guarded by mutex_
  int acts_ = 0;                 // guarded by mutex_
  std::jthread thread_;
};

int planner() {
  World world(Catalog::builtin());
  Stack stack;
  stack.key = {"default", "crm"};
  stack.uid = "uid-1";
  stack.spec.tag = "v1.15.4";
  stack.spec.upgrade.soak_seconds = 0;
  const WallTime now{std::chrono::seconds(1795251600)};
  const auto pass = [&] {
    const Plan plan = make_plan(stack, world.see(), Catalog::builtin(), now);
    stack.status = plan.status;
    if (plan.action) world.act(*plan.action);
    world.tick();
  };
  for (int i = 0; i < 100; ++i) pass();
  const auto measure = [&](const char* what) {
    const Seen seen = world.see();
    const auto start = Clock_::now();
    int passes = 0;
    std::size_t sink = 0;
    while (seconds_since(start) < 2.0) {
      for (int i = 0; i < 100; ++i, ++passes) {
        sink += make_plan(stack, seen, Catalog::builtin(), now).status.message.size();
      }
    }
    std::printf("%-12s %8.0f passes/s (%zu)\n", what, passes / seconds_since(start), sink % 10);
  };
  measure("settled");
  stack.spec.tag = "v1.17.4";
  while (!stack.status.upgrade || stack.status.upgrade->step != "Prove") pass();
  measure("in Prove");
  return 0;
}

int latency() {
  Bench bench;
  std::vector<double> taken;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "s" + std::to_string(i);
    if (!bench.objects().create(stack_object(name, "v1.15.4"))) return 1;
    if (!bench.wait_ready(name, "v1.15.4")) return 1;
    const int before = bench.acts();
    const auto start = Clock_::now();
    bench.set_tag(name, "v1.16.6");
    taken.push_back(1000 * bench.first_act(before, start));
    if (!bench.wait_ready(name, "v1.16.6")) return 1;
  }
  std::sort(taken.begin(), taken.end());
  std::printf("change -> first action: p50 %.2f ms, p99 %.2f ms\n", taken[taken.size() / 2],
              taken.back());
  return 0;
}

int memory(int stacks) {
  Bench bench;
  for (int i = 0; i < stacks; ++i) {
    if (!bench.objects().create(stack_object("s" + std::to_string(i), "v1.15.4"))) return 1;
  }
  for (int i = 0; i < stacks; ++i) {
    if (!bench.wait_ready("s" + std::to_string(i), "v1.15.4")) return 1;
  }
  const auto version = [&] {
    const auto list = bench.objects().list("StackSpec", "");
    return list ? list->resource_version : -1;
  };
  const auto before = version();
  const int acts = bench.acts();
  std::this_thread::sleep_for(std::chrono::seconds(10));
  std::printf("%d stacks: resident %.1f MiB, writes at rest %lld, actions at rest %d\n", stacks,
              static_cast<double>(resident_kib()) / 1024.0,
              static_cast<long long>(version() - before), bench.acts() - acts);
  bench.set_tag("s0", "v1.16.6");
  std::printf("alive afterwards: %s\n", bench.wait_ready("s0", "v1.16.6") ? "yes" : "no");
  return 0;
}

}  // namespace
}  // namespace stackspec

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "planner") return stackspec::planner();
  if (what == "latency") return stackspec::latency();
  if (what == "memory" && argc > 2) return stackspec::memory(std::atoi(argv[2]));
  std::fprintf(stderr, "usage: control_bench planner | latency | memory STACKS\n");
  return 2;
}
