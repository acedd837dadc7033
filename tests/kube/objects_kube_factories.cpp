// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>

#include "contract/objects_contract.hpp"
#include "kube/kube_objects.hpp"
#include "objects/cached_reads.hpp"

namespace stackspec {
namespace {

constexpr const char* kNamespaces[] = {"contract-a", "contract-b"};

/// The CRDs of this tree, as a person would apply them, and the namespaces of the suite.
void prepare_cluster(const std::string& kubeconfig, ObjectApi& api) {
  const char* tools = std::getenv("STACKSPEC_TOOLS");
  const std::string kubectl =
      (tools != nullptr ? std::string(tools) + "/" : "") + "kubectl --kubeconfig " + kubeconfig;
  const std::string apply = kubectl + " apply --server-side -f " + STACKSPEC_SOURCE_DIR +
                            "/crds/stackspecs.yaml -f " + STACKSPEC_SOURCE_DIR +
                            "/crds/stackbackups.yaml -f " + STACKSPEC_SOURCE_DIR +
                            "/crds/stackrestores.yaml >&2";
  EXPECT_EQ(std::system(apply.c_str()), 0) << apply;
  const std::string wait =
      kubectl +
      " wait --for=condition=Established --timeout=30s crd/stackspecs.stackspec.dev"
      " crd/stackbackups.stackspec.dev crd/stackrestores.stackspec.dev >&2";
  EXPECT_EQ(std::system(wait.c_str()), 0) << wait;
  for (const char* ns : kNamespaces) {
    Object made;
    made.key = {"Namespace", "", ns};
    const auto created = api.create(made);
    EXPECT_TRUE(created || created.error().kind == ErrorKind::Conflict) << created.error().message;
  }
}

ObjectsUnderTest server(KubeOptions options) {
  ObjectsUnderTest made;
  const char* kubeconfig = std::getenv("STACKSPEC_TEST_KUBECONFIG");
  if (kubeconfig == nullptr) {
    ADD_FAILURE() << "STACKSPEC_TEST_KUBECONFIG is not set; run ./dev test kube";
    return made;
  }
  const auto access = access_from_kubeconfig(kubeconfig);
  EXPECT_TRUE(access) << (access ? "" : access.error().message);
  if (!access) return made;
  auto objects = make_kube_objects(*access, std::move(options));
  EXPECT_TRUE(objects) << (objects ? "" : objects.error().message);
  if (!objects) return made;
  made.inner = std::move(objects).value();
  static const bool prepared = (prepare_cluster(kubeconfig, *made.inner), true);
  EXPECT_TRUE(prepared);
  return made;
}

ObjectsUnderTest cluster_wide() {
  return server({});
}

ObjectsUnderTest given_namespaces() {
  KubeOptions options;
  options.namespaces = {std::begin(kNamespaces), std::end(kNamespaces)};
  return server(std::move(options));
}

ObjectsUnderTest cached() {
  auto made = server({});
  if (made.inner) made.outer = make_cached_reads(*made.inner, {"StackSpec", "StackBackup"});
  return made;
}

}  // namespace

std::vector<ObjectsFactory> objects_factories() {
  return {{.name = "ApiServer", .make = cluster_wide},
          {.name = "ApiServerGivenNamespaces", .make = given_namespaces},
          {.name = "ApiServerCachedReads", .make = cached}};
}

}  // namespace stackspec
