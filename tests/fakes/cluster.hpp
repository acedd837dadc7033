// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "objects/object_api.hpp"

namespace stackspec {

/// What a cluster's controllers and kubelets do, as far as the Kubernetes platform looks at it, on
/// any ObjectApi. Nothing happens but in step(), so a test decides when.
class FakeCluster {
 public:
  explicit FakeCluster(ObjectApi& objects) : objects_(objects) {}

  /// Deployments and StatefulSets get the pods they ask for, ready at once; Jobs that are not
  /// suspended get one running pod, suspended ones lose it.
  void step();

  /// A running task ends. `message` is its termination message.
  void end_task(const std::string& ns, const std::string& job, int exit_code,
                const std::string& message);
  /// Its pod is evicted; the Job gives up, because it may not try again.
  void evict_task(const std::string& ns, const std::string& job);
  /// Its pod is deleted by hand, which the Job counts as a failure.
  void delete_task_pod(const std::string& ns, const std::string& job);

  /// From now on no node can have this image.
  void lose_image(const std::string& image) { lost_images_.insert(image); }
  /// Pods of this component crash from now on.
  void crash(const std::string& component) { crashing_.insert(component); }
  /// No node takes pods of this component.
  void refuse(const std::string& component) { refused_.insert(component); }
  void heal();

  std::vector<Object> all(const std::string& kind);

 private:
  void run_workload(const Object& workload);
  void run_job(const Object& job);
  void make_pod(const Object& parent, const std::string& name, bool of_job);
  nlohmann::json pod_status(const Object& pod, bool of_job) const;
  void set_status(Object object, nlohmann::json status);
  void remove(const Object& object);
  std::vector<Object> pods_of(const Object& parent);
  void fail_job(const std::string& ns, const std::string& job, const std::string& reason,
                const std::string& message);

  ObjectApi& objects_;
  std::set<std::string> lost_images_, crashing_, refused_;
  int made_ = 0;
};

}  // namespace stackspec
