// SPDX-License-Identifier: Apache-2.0
#include "platform/kubernetes/packed_children.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace stackspec::kubernetes {
namespace {

/// Every member is set, and differs from every other of its type.
Children all_of_it() {
  Children all;
  all.plain = {{0, {1, true}}, {std::numeric_limits<std::size_t>::max(), {2, false}}};
  WorkloadChild workload{{3, true}, 4, -5, true, "revision", "v1.16.6", "placement", "a problem"};
  all.workloads = {{Component::Server, workload}, {Component::Gateway, {}}};
  PodChild pod{"server", "job", "pod's revision", true, false, true, false, 6, -7, "p", "r"};
  all.pods = {{"crm-server-1", pod}, {"crm-server-2", {}}};
  JobChild job{"Migrate",
               "2026-11-21T09:00:00Z",
               true,
               false,
               true,
               false,
               "f",
               "b",
               "Ok",
               11,
               R"({"migrations":"57"})",
               std::string(5000, 'x'),
               "3 of 4"};
  all.jobs = {{"crm-1", job}, {"crm-2", {}}};
  all.claims = {{"crm-postgres", {"10Gi"}}};
  BackupSeen seen{"id",   "v1",  "system", "cursor",
                  "time", "0/1", "sha",    std::int64_t{1} << 40,
                  12,     13,    true,     {{"APP_SECRET", "ab12"}},
                  "here"};
  all.backups = {{"b", {seen, true, false}}};
  all.task_names = {{"crm-1", "ended"}};
  all.scripts = {"crm-tasks-1", "crm-tasks-2"};
  all.disruption = true;
  all.door = GatewayDoor{true, false};
  all.addresses = {{Component::Server, "10.96.0.7"}};
  return all;
}

TEST(PackedChildren, AreTheSameWhenUnpacked) {
  EXPECT_EQ(unpack(pack(all_of_it())), all_of_it());
  EXPECT_EQ(unpack(pack({})), Children{});
}

TEST(PackedChildren, TakeNoMoreThanTheyNeed) {
  const std::string packed = pack(all_of_it());
  EXPECT_EQ(packed.capacity(), packed.size());
  EXPECT_LT(packed.size(), 5000U + 600U) << "the log of 5000 bytes and little more";
}

}  // namespace
}  // namespace stackspec::kubernetes
