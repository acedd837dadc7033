// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "contract/objects_contract.hpp"
#include "fakes/faulty_objects.hpp"
#include "objects/cached_reads.hpp"

namespace stackspec {
namespace {

ObjectsUnderTest sqlite_in(const std::string& path) {
  ObjectsUnderTest made;
  auto objects = make_sqlite_objects(path);
  EXPECT_TRUE(objects) << (objects ? "" : objects.error().message);
  if (objects) made.inner = std::move(*objects);
  return made;
}

ObjectsUnderTest on_file() {
  auto folder = std::make_unique<TempFolder>();
  auto made = sqlite_in(*folder / "objects.db");
  made.folder = std::move(folder);
  return made;
}

ObjectsUnderTest in_memory() {
  return sqlite_in(":memory:");
}

ObjectsUnderTest faulty_without_faults() {
  auto made = in_memory();
  made.outer = std::make_unique<FaultyObjects>(*made.inner);
  return made;
}

ObjectsUnderTest cached() {
  auto made = in_memory();
  made.outer = make_cached_reads(*made.inner, {"StackSpec", "StackBackup"});
  return made;
}

}  // namespace

std::vector<ObjectsFactory> objects_factories() {
  return {
      {.name = "File", .make = on_file, .writes_until_expired = 1001},
      {.name = "Memory", .make = in_memory, .writes_until_expired = 1001},
      {.name = "CachedReads", .make = cached, .writes_until_expired = 1001},
      {.name = "FaultyWithoutFaults", .make = faulty_without_faults, .writes_until_expired = 1001}};
}

}  // namespace stackspec
