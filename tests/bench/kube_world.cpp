// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "kube/kube_objects.hpp"
#include "objects/object_json.hpp"

// What is around the controller in kube_bench.py, on a real API server (KUBECONFIG):
//
//   kube_world play                  what nodes do: pods of workloads are ready, those of Jobs end
//   kube_world record STACK FILE     every state that the objects of STACK go through
//   kube_world watch                 what play and create watch, and nothing else
//   kube_world replay FILE FIRST COUNT   a bare writer: the writes of FILE for COUNT other stacks
//   kube_world create PREFIX COUNT   new stacks, until all of them are Ready
//   kube_world edit PREFIX STACKS COUNT   edits one after the other, each when all is settled again
//   kube_world touch STACK           one edit, and nothing else
//
// play, watch and record end when their input does. Moments are seconds since 1970.

namespace stackspec {
namespace {

using nlohmann::json;

constexpr const char* kNamespace = "bench";
constexpr const char* kStackLabel = "stackspec.dev/stack";
constexpr const char* kRecorded[] = {
    "StackSpec",   "Secret",      "ConfigMap", "ServiceAccount",        "NetworkPolicy",
    "Service",     "Deployment",  "Job",       "PersistentVolumeClaim", "Pod",
    "StatefulSet", "StackBackup", "Ingress",   "PodDisruptionBudget",   "Event"};
constexpr const char* kPlayed[] = {"Deployment", "StatefulSet", "Job"};
constexpr int kWriters = 6;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "kube_world: %s\n", what.c_str());
  std::_Exit(1);
}

template <class Value>
Value must(Result<Value> result) {
  if (!result) fail(result.error().message);
  return std::move(result).value();
}

std::unique_ptr<KubeObjects> connect(bool labelled) {
  const char* kubeconfig = std::getenv("KUBECONFIG");
  if (kubeconfig == nullptr) fail("KUBECONFIG is not set");
  KubeOptions options;
  if (labelled) {
    for (const char* kind : kRecorded) {
      const bool of_people = std::string_view(kind).starts_with("Stack");
      if (!of_people) options.label_selectors[kind] = kStackLabel;
    }
  }
  return must(make_kube_objects(must(access_from_kubeconfig(kubeconfig)), options));
}

void wait_for_end_of_input() {
  std::string line;
  while (std::getline(std::cin, line)) {
  }
}

/// Hands every state of a kind to `take`, those that are there first.
void follow(ObjectApi& objects, const char* kind,
            const std::function<void(const WatchEvent&)>& take, const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const auto list = objects.list(kind, kNamespace);
    if (!list) continue;
    for (const Object& object : list->items) take({WatchEvent::Type::Added, object});
    (void)objects.watch(kind, list->resource_version, take, stop);
  }
}

// ---- play ----

/// Plays the controllers of workloads and Jobs, and their nodes. One object is always in the hands
/// of the same thread.
class Player {
 public:
  Player() : objects_(connect(true)) {
    for (Hand& hand : hands_)
      hand.thread = std::jthread([this, &hand](auto stop) { work(hand, stop); });
    for (const char* kind : kPlayed) {
      watches_.emplace_back([this, kind](const std::stop_token& stop) {
        follow(
            *objects_, kind, [this](const WatchEvent& event) { give(event); }, stop);
      });
    }
  }

 private:
  struct Hand {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::deque<Object> waiting;
    std::map<std::string, std::vector<std::pair<std::string, std::string>>> pods;  // name, template
    std::jthread thread;
  };

  void give(const WatchEvent& event) {
    if (event.type == WatchEvent::Type::Deleted || event.object.key.ns != kNamespace) return;
    Hand& hand = hands_[std::hash<std::string>{}(event.object.key.name) % std::size(hands_)];
    const std::lock_guard lock(hand.mutex);
    hand.waiting.push_back(event.object);
    hand.woken.notify_one();
  }

  void work(Hand& hand, const std::stop_token& stop) {
    std::unique_lock lock(hand.mutex);
    while (hand.woken.wait(lock, stop, [&] { return !hand.waiting.empty(); })) {
      const Object object = std::move(hand.waiting.front());
      hand.waiting.pop_front();
      lock.unlock();
      if (object.key.kind == "Job") {
        end_job(hand, object);
      } else {
        run_workload(hand, object);
      }
      lock.lock();
    }
  }

  Object pod_of(const Object& parent, const std::string& name) {
    const json& wanted = parent.content.at("spec").at("template");
    Object pod;
    pod.key = {"Pod", kNamespace, name};
    pod.labels = wanted.at("metadata").at("labels").get<std::map<std::string, std::string>>();
    const auto notes = wanted.at("metadata").find("annotations");
    if (notes != wanted.at("metadata").end()) notes->get_to(pod.annotations);
    pod.content["spec"] = wanted.at("spec");
    return pod;
  }

  void make_pod(Object pod, json container_state, const char* phase) {
    const auto made = objects_->create(pod);
    if (!made) {
      if (made.error().kind != ErrorKind::Conflict) fail(made.error().message);
      return;
    }
    pod = *made;
    const bool running = std::string_view(phase) == "Running";
    json container = json::object();
    container["name"] = pod.content["spec"]["containers"][0]["name"];
    container["image"] = pod.content["spec"]["containers"][0]["image"];
    container["imageID"] = "";
    container["restartCount"] = 0;
    container["ready"] = running;
    container["state"] = std::move(container_state);
    pod.status["phase"] = phase;
    pod.status["conditions"] =
        json::array({{{"type", "Ready"}, {"status", running ? "True" : "False"}}});
    pod.status["containerStatuses"] = json::array({container});
    must(objects_->update_status(pod));
  }

  void run_workload(Hand& hand, Object workload) {
    auto& pods = hand.pods[workload.key.kind + workload.key.name];
    const std::size_t wanted = workload.content["spec"].value("replicas", 1U);
    const std::string pattern = workload.content["spec"]["template"].dump();
    while (!pods.empty() && (pods.size() > wanted || pods.back().second != pattern)) {
      (void)objects_->remove({"Pod", kNamespace, pods.back().first}, "", 0);
      pods.pop_back();
    }
    while (pods.size() < wanted) {
      pods.emplace_back(workload.key.name + "-" + std::to_string(++made_), pattern);
      make_pod(pod_of(workload, pods.back().first), {{"running", json::object()}}, "Running");
    }
    if (workload.status.value("observedGeneration", 0) == workload.generation) return;
    workload.status["observedGeneration"] = workload.generation;
    for (const char* count :
         {"replicas", "readyReplicas", "updatedReplicas", "availableReplicas"}) {
      workload.status[count] = wanted;
    }
    (void)objects_->update_status(workload);  // A conflict: a newer state is on its way.
  }

  void end_job(Hand& hand, Object job) {
    if (job.content["spec"].value("suspend", false) || job.status.contains("completionTime"))
      return;
    auto& pods = hand.pods["Job" + job.key.name];
    if (!pods.empty()) return;
    pods.emplace_back(job.key.name + "-0", "");
    Object pod = pod_of(job, pods.back().first);
    pod.labels["batch.kubernetes.io/job-name"] = job.key.name;
    const std::string time = to_rfc3339(system_clock().wall_now());
    make_pod(pod,
             {{"terminated",
               {{"exitCode", 0}, {"reason", "Completed"}, {"message", R"({"migrations":"1"})"}}}},
             "Succeeded");
    // It may have been annotated meanwhile.
    for (int tries = 0; tries < 20; ++tries) {
      job = must(objects_->get(job.key));
      job.status["startTime"] = time;
      job.status["completionTime"] = time;
      job.status["succeeded"] = 1;
      job.status["uncountedTerminatedPods"] = json::object();
      job.status["conditions"] = json::array();
      for (const char* type : {"SuccessCriteriaMet", "Complete"}) {
        job.status["conditions"].push_back({{"type", type},
                                            {"status", "True"},
                                            {"lastProbeTime", time},
                                            {"lastTransitionTime", time}});
      }
      const auto written = objects_->update_status(job);
      if (written) return;
      if (written.error().kind != ErrorKind::Conflict) fail(written.error().message);
    }
  }

  std::unique_ptr<KubeObjects> objects_;
  std::atomic<int> made_{0};
  Hand hands_[3];
  std::vector<std::jthread> watches_;
};

int play() {
  Player player;
  wait_for_end_of_input();
  std::_Exit(0);  // Nothing of it is worth an orderly end.
}

int watch() {
  const auto objects = connect(true);
  std::vector<std::jthread> watches;
  const auto start = [&](const char* kind) {
    watches.emplace_back([&, kind](const std::stop_token& stop) {
      follow(
          *objects, kind, [](const WatchEvent&) {}, stop);
    });
  };
  for (const char* kind : kPlayed) start(kind);
  start("StackSpec");
  wait_for_end_of_input();
  std::_Exit(0);
}

// ---- record and replay ----

int record(const std::string& stack, const std::string& file) {
  const auto objects = connect(true);
  std::mutex mutex;
  std::map<std::int64_t, json> events;
  std::vector<std::jthread> watches;
  for (const char* kind : kRecorded) {
    watches.emplace_back([&, kind](const std::stop_token& stop) {
      follow(
          *objects, kind,
          [&](const WatchEvent& event) {
            if (!event.object.key.name.starts_with(stack)) return;
            json one = to_json(event.object);
            one["deleted"] = event.type == WatchEvent::Type::Deleted;
            const std::lock_guard lock(mutex);
            events[event.object.resource_version] = std::move(one);
          },
          stop);
    });
  }
  std::puts("recording");
  std::fflush(stdout);
  wait_for_end_of_input();
  const std::lock_guard lock(mutex);
  std::ofstream out(file);
  out << stack << "\n";
  for (const auto& [version, event] : events) out << event.dump() << "\n";
  std::printf("%zu\n", events.size());
  std::fflush(stdout);
  std::_Exit(0);
}

/// What an API server fills in itself, and refuses when it is another's.
void forget_what_is_given(Object& object) {
  json& spec = object.content["spec"];
  if (spec.is_null()) object.content.erase("spec");
  if (object.key.kind == "Service") {
    for (const char* given : {"clusterIP", "clusterIPs"}) spec.erase(given);
  }
  if (object.key.kind != "Job") return;
  spec.erase("selector");
  spec["template"]["metadata"].erase("labels");
  spec["template"]["metadata"]["labels"] = json::object();
  for (const auto& [name, value] : object.labels) {
    if (!name.starts_with("batch.kubernetes.io/"))
      spec["template"]["metadata"]["labels"][name] = value;
  }
}

/// One stack's life, written again.
class Replay {
 public:
  Replay(ObjectApi& objects, std::string text) : objects_(objects), text_(std::move(text)) {}

  void run() {
    std::istringstream lines(text_);
    for (std::string line; std::getline(lines, line);) write(json::parse(line));
  }

 private:
  struct Known {
    Object live;   ///< As the server has it.
    Object wrote;  ///< As it was recorded last.
  };

  void write(json event) {
    if (!uid_.empty()) {
      for (json& owner : event["owners"]) owner["uid"] = uid_;
    }
    const bool deleted = event["deleted"];
    event.erase("deleted");
    const Object now = must(object_from_json(event));
    const auto known = known_.find(now.key);
    if (known == known_.end()) {
      create(now);
    } else if (deleted) {
      must_remove(known->second.live);
      known_.erase(known);
    } else {
      update(known->second, now);
    }
  }

  void must_remove(const Object& live) {
    const auto removed = objects_.remove(live.key, live.uid, 0);
    if (!removed) fail(removed.error().message);
  }

  void create(const Object& now) {
    Object fresh = now;
    fresh.status = json::object();
    forget_what_is_given(fresh);
    Object made = must(objects_.create(fresh));
    if (now.key.kind == "StackSpec") uid_ = made.uid;
    known_[now.key] = {std::move(made), now};
  }

  void update(Known& known, const Object& now) {
    const json content = json::diff(known.wrote.content, now.content);
    Object next = known.live;
    const bool rest =
        now.labels != known.wrote.labels || now.annotations != known.wrote.annotations;
    next.labels.insert(now.labels.begin(), now.labels.end());
    for (const auto& [name, value] : now.annotations) next.annotations[name] = value;
    next.content = next.content.patch(content);
    next.status = now.status;
    known.live =
        must(content.empty() && !rest ? objects_.update_status(next) : objects_.update(next));
    known.wrote = now;
  }

  ObjectApi& objects_;
  std::string text_;
  std::string uid_;
  std::map<ObjectKey, Known> known_;
};

std::string numbered(const std::string& prefix, int number) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "%04d", number);
  return prefix + digits;
}

/// Calls `one` for 0 … count-1 from several threads.
void from_threads(int count, const std::function<void(int)>& one) {
  std::atomic<int> next{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&] {
      for (int number = next++; number < count; number = next++) one(number);
    });
  }
}

int replay(const std::string& file, int first, int count) {
  const auto objects = connect(true);
  std::ifstream in(file);
  std::string stack, text;
  std::getline(in, stack);
  for (std::string line; std::getline(in, line);) text += line + "\n";
  const double began = now();
  from_threads(count, [&](int number) {
    const std::string name = numbered("w", first + number).substr(0, stack.size());
    std::string mine = text;
    for (auto at = mine.find(stack); at != std::string::npos; at = mine.find(stack, at + 1)) {
      mine.replace(at, stack.size(), name);
    }
    Replay(*objects, std::move(mine)).run();
  });
  std::printf("%.3f\n", now() - began);
  return 0;
}

// ---- create and edit ----

bool is_settled(const Object& stack) {
  if (stack.status.value("phase", "") != "Ready" || stack.status.contains("upgrade")) return false;
  return stack.status.value("observedGeneration", std::int64_t{-1}) == stack.generation;
}

/// Sees what a bare watcher sees, and when.
class Watcher {
 public:
  explicit Watcher(ObjectApi& objects)
      : thread_([this, &objects](const std::stop_token& stop) {
          follow(
              objects, "StackSpec", [this](const WatchEvent& event) { take(event.object); }, stop);
        }) {}

  double first_seen(const std::string& name, std::int64_t generation) {
    std::unique_lock lock(mutex_);
    const std::pair key(name, generation);
    woken_.wait(lock, [&] { return seen_.contains(key); });
    return seen_[key];
  }
  void wait_settled(const std::string& name, std::int64_t generation) {
    std::unique_lock lock(mutex_);
    woken_.wait(lock, [&] { return settled_.contains({name, generation}); });
  }

 private:
  void take(const Object& object) {
    const double moment = now();
    const std::lock_guard lock(mutex_);
    seen_.try_emplace({object.key.name, object.generation}, moment);
    if (is_settled(object)) settled_.insert({object.key.name, object.generation});
    woken_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable woken_;
  std::map<std::pair<std::string, std::int64_t>, double> seen_;
  std::set<std::pair<std::string, std::int64_t>> settled_;
  std::jthread thread_;
};

Object stack_object(const std::string& name) {
  Object object;
  object.key = {"StackSpec", kNamespace, name};
  object.content["spec"] = {{"tag", "v1.15.4"},
                            {"serverUrl", "https://crm.example.org"},
                            {"storage", {{"type", "local"}, {"local", {{"size", "1Gi"}}}}},
                            {"upgrade", {{"soakSeconds", 0}}}};
  return object;
}

void report(const std::string& name, double sent, double seen) {
  std::printf("%s %.6f %.6f\n", name.c_str(), sent, seen);
  std::fflush(stdout);
}

int create(const std::string& prefix, int count) {
  const auto objects = connect(false);
  Watcher watcher(*objects);
  // The time to connect is none of the controller's.
  (void)objects->get({"StackSpec", kNamespace, numbered(prefix, 0)});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double began = now();
  from_threads(count, [&](int number) {
    const std::string name = numbered(prefix, number);
    const double sent = now();
    const Object made = must(objects->create(stack_object(name)));
    const double seen = watcher.first_seen(name, made.generation);
    if (count <= 10) report(name, sent, seen);
  });
  for (int number = 0; number < count; ++number) watcher.wait_settled(numbered(prefix, number), 1);
  std::printf("%.3f\n", now() - began);
  std::fflush(stdout);
  std::_Exit(0);
}

Object edited(ObjectApi& objects, const std::string& name, double& sent) {
  for (;;) {
    Object object = must(objects.get({"StackSpec", kNamespace, name}));
    json& replicas = object.content["spec"]["worker"]["replicas"];
    replicas = replicas == 2 ? 1 : 2;
    sent = now();
    auto written = objects.update(object);
    if (written) return std::move(written).value();
    if (written.error().kind != ErrorKind::Conflict) fail(written.error().message);
  }
}

int edit(const std::string& prefix, int stacks, int count) {
  const auto objects = connect(false);
  Watcher watcher(*objects);
  for (int number = 0; number < count; ++number) {
    const std::string name = numbered(prefix, number % stacks);
    double sent = 0;
    const Object written = edited(*objects, name, sent);
    report(name, sent, watcher.first_seen(name, written.generation));
    watcher.wait_settled(name, written.generation);
  }
  std::fflush(stdout);
  std::_Exit(0);
}

int touch(const std::string& name) {
  double sent = 0;
  edited(*connect(false), name, sent);
  report(name, sent, now());
  return 0;
}

int run(const std::vector<std::string>& words) {
  const auto number = [&](std::size_t at) { return std::atoi(words[at].c_str()); };
  const std::string what = words.empty() ? "" : words[0];
  if (what == "play") return play();
  if (what == "record" && words.size() == 3) return record(words[1], words[2]);
  if (what == "watch") return watch();
  if (what == "replay" && words.size() == 4) return replay(words[1], number(2), number(3));
  if (what == "create" && words.size() == 3) return create(words[1], number(2));
  if (what == "edit" && words.size() == 4) return edit(words[1], number(2), number(3));
  if (what == "touch" && words.size() == 2) return touch(words[1]);
  fail("see the head of tests/bench/kube_world.cpp");
}

}  // namespace
}  // namespace stackspec

int main(int argc, char** argv) {
  return stackspec::run({argv + 1, argv + argc});
}
