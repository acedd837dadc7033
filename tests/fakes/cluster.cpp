// SPDX-License-Identifier: Apache-2.0
#include "fakes/cluster.hpp"

#include <gtest/gtest.h>

namespace stackspec {
namespace {

using nlohmann::json;

constexpr const char* kJobLabel = "batch.kubernetes.io/job-name";
constexpr const char* kParentLabel = "test/parent";

json condition(const char* type, const char* status, const std::string& reason = "",
               const std::string& message = "") {
  return json::object(
      {{"type", type}, {"status", status}, {"reason", reason}, {"message", message}});
}

const json& template_of(const Object& parent) {
  return parent.content.at(json::json_pointer("/spec/template"));
}

std::string image_of(const Object& pod) {
  return pod.content.at("spec").at("containers").at(0).at("image");
}

std::string container_of(const Object& pod) {
  return pod.content.at("spec").at("containers").at(0).at("name");
}

std::string component_of(const Object& pod) {
  return pod.labels.at("app.kubernetes.io/component");
}

bool is_over(const Object& pod) {
  const std::string phase = pod.status.value("phase", "");
  return phase == "Succeeded" || phase == "Failed";
}

}  // namespace

std::vector<Object> FakeCluster::all(const std::string& kind) {
  auto list = objects_.list(kind, "");
  EXPECT_TRUE(list) << kind;
  return list ? std::move(list->items) : std::vector<Object>{};
}

void FakeCluster::heal() {
  lost_images_.clear();
  crashing_.clear();
  refused_.clear();
}

void FakeCluster::set_status(Object object, json status) {
  if (object.status == status) return;
  object.status = std::move(status);
  EXPECT_TRUE(objects_.update_status(object)) << object.key.name;
}

void FakeCluster::remove(const Object& object) {
  EXPECT_TRUE(objects_.remove(object.key, object.uid, 0)) << object.key.name;
}

std::vector<Object> FakeCluster::pods_of(const Object& parent) {
  std::vector<Object> found;
  for (Object& pod : all("Pod")) {
    const bool same = pod.key.ns == parent.key.ns &&
                      pod.labels.at(kParentLabel) == parent.key.kind + "." + parent.key.name;
    if (same) found.push_back(std::move(pod));
  }
  return found;
}

json FakeCluster::pod_status(const Object& pod, bool of_job) const {
  json container = json::object();
  container["name"] = container_of(pod);
  container["image"] = image_of(pod);
  container["restartCount"] = 0;
  json status = json::object();
  const bool lost = lost_images_.contains(image_of(pod));
  const bool crashing = crashing_.contains(component_of(pod));
  if (refused_.contains(component_of(pod))) {
    status["phase"] = "Pending";
    status["conditions"] = json::array(
        {condition("PodScheduled", "False", "Unschedulable", "0/1 nodes are available: no room")});
    return status;
  }
  if (lost) {
    container["state"]["waiting"]["reason"] = "ImagePullBackOff";
    container["state"]["waiting"]["message"] = "Back-off pulling image";
  } else if (crashing) {
    container["restartCount"] = 3;
    container["state"]["waiting"]["reason"] = "CrashLoopBackOff";
    container["lastState"]["terminated"]["exitCode"] = 1;
    container["lastState"]["terminated"]["reason"] = "Error";
  } else {
    container["state"]["running"]["startedAt"] = "2026-11-21T09:00:00Z";
  }
  const bool good = !lost && !crashing;
  status["phase"] = lost ? "Pending" : "Running";
  status["conditions"] = json::array({condition("Ready", good && !of_job ? "True" : "False")});
  if (good) status["conditions"] = json::array({condition("Ready", "True")});
  status["containerStatuses"] = json::array({container});
  return status;
}

void FakeCluster::make_pod(const Object& parent, const std::string& name, bool of_job) {
  Object pod;
  pod.key = {"Pod", parent.key.ns, name};
  const json& wanted = template_of(parent);
  pod.labels = wanted.at("metadata").at("labels").get<std::map<std::string, std::string>>();
  if (wanted.at("metadata").contains("annotations")) {
    pod.annotations =
        wanted.at("metadata").at("annotations").get<std::map<std::string, std::string>>();
  }
  pod.labels[kParentLabel] = parent.key.kind + "." + parent.key.name;
  if (of_job) pod.labels[kJobLabel] = parent.key.name;
  pod.content["spec"] = wanted.at("spec");
  pod.status = pod_status(pod, of_job);
  EXPECT_TRUE(objects_.create(pod)) << name;
}

void FakeCluster::run_workload(const Object& workload) {
  const int wanted = workload.content.at("spec").at("replicas");
  int running = 0, ready = 0;
  for (const Object& pod : pods_of(workload)) {
    const bool same =
        pod.content.at("spec") == template_of(workload).at("spec") &&
        pod.annotations.at("stackspec.dev/revision") ==
            template_of(workload).at("metadata").at("annotations").at("stackspec.dev/revision");
    if (running >= wanted || !same) {
      remove(pod);
      continue;
    }
    ++running;
    set_status(pod, pod_status(pod, false));
    ready += pod.status.value("phase", "") == "Running" ? 1 : 0;
  }
  for (; running < wanted; ++running, ++ready) {
    make_pod(workload, workload.key.name + "-" + std::to_string(++made_), false);
  }
  json status = json::object();
  status["observedGeneration"] = workload.generation;
  status["replicas"] = running;
  status["readyReplicas"] = ready;
  set_status(workload, std::move(status));
}

void FakeCluster::run_job(const Object& job) {
  if (job.status.contains("conditions")) return;
  const auto pods = pods_of(job);
  if (job.content.at("spec").value("suspend", false)) {
    for (const Object& pod : pods) remove(pod);
    return;
  }
  if (pods.empty()) {
    make_pod(job, job.key.name + "-" + std::to_string(++made_), true);
    return;
  }
  for (const Object& pod : pods) {
    if (!is_over(pod)) set_status(pod, pod_status(pod, true));
  }
}

void FakeCluster::step() {
  for (const char* kind : {"Deployment", "StatefulSet"}) {
    for (const Object& workload : all(kind)) run_workload(workload);
  }
  for (const Object& job : all("Job")) run_job(job);
}

void FakeCluster::end_task(const std::string& ns, const std::string& job, int exit_code,
                           const std::string& message) {
  auto live = objects_.get({"Job", ns, job});
  ASSERT_TRUE(live) << job;
  const auto pods = pods_of(*live);
  ASSERT_EQ(pods.size(), 1U) << job;
  json container = json::object();
  container["name"] = container_of(pods[0]);
  container["image"] = image_of(pods[0]);
  container["restartCount"] = 0;
  container["state"]["terminated"]["exitCode"] = exit_code;
  container["state"]["terminated"]["message"] = message;
  container["state"]["terminated"]["reason"] = exit_code == 0 ? "Completed" : "Error";
  json status = json::object();
  status["phase"] = exit_code == 0 ? "Succeeded" : "Failed";
  status["containerStatuses"] = json::array({container});
  set_status(pods[0], std::move(status));
  if (exit_code == 0) {
    set_status(*live, json::object({{"conditions", json::array({condition("Complete", "True")})}}));
    return;
  }
  const bool verdict = exit_code >= 10 && exit_code <= 19;
  fail_job(ns, job, verdict ? "PodFailurePolicy" : "BackoffLimitExceeded",
           verdict ? "Container task for pod " + ns + "/" + job + " failed with exit code " +
                         std::to_string(exit_code) + " matching FailJob rule at index 0"
                   : "Job has reached the specified backoff limit");
}

void FakeCluster::fail_job(const std::string& ns, const std::string& job, const std::string& reason,
                           const std::string& message) {
  auto live = objects_.get({"Job", ns, job});
  ASSERT_TRUE(live) << job;
  const json conditions = json::array({condition("FailureTarget", "True", reason, message),
                                       condition("Failed", "True", reason, message)});
  set_status(*live, json::object({{"conditions", conditions}}));
}

void FakeCluster::evict_task(const std::string& ns, const std::string& job) {
  auto live = objects_.get({"Job", ns, job});
  ASSERT_TRUE(live) << job;
  for (const Object& pod : pods_of(*live)) {
    set_status(pod, json::object({{"phase", "Failed"},
                                  {"reason", "Evicted"},
                                  {"message", "The node was low on resource: memory"}}));
  }
  fail_job(ns, job, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
}

void FakeCluster::delete_task_pod(const std::string& ns, const std::string& job) {
  auto live = objects_.get({"Job", ns, job});
  ASSERT_TRUE(live) << job;
  for (const Object& pod : pods_of(*live)) remove(pod);
  fail_job(ns, job, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
}

}  // namespace stackspec
