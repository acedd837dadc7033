// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "fakes/temp_folder.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

/// One ObjectApi and what it stands on.
struct ObjectsUnderTest {
  std::unique_ptr<TempFolder> folder = {};
  std::unique_ptr<ObjectApi> inner = {};
  std::unique_ptr<ObjectApi> outer = {};
  ObjectApi& api() { return outer ? *outer : *inner; }
};

/// An implementation that has to keep the contract of objects/object_api.hpp. The suite speaks only
/// of StackSpec objects that a real API server with our CRDs accepts too.
struct ObjectsFactory {
  std::string name;
  std::function<ObjectsUnderTest()> make;
  std::string ns = "contract-a";
  std::string other_ns = "contract-b";  ///< Sorts after `ns`.
  int writes_until_expired = 0;         ///< 0: cannot be made to forget within a test.
};

/// Whom the program that links the suite holds to it.
std::vector<ObjectsFactory> objects_factories();

inline void PrintTo(const ObjectsFactory& factory, std::ostream* out) {
  *out << factory.name;
}

}  // namespace stackspec
