// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "api/stack.hpp"
#include "base/result.hpp"
#include "objects/object_api.hpp"

// How a command tells the controller of the same data folder something: a file in
// `<data>/requests`, taken by the controller and removed once it is stored. The objects themselves
// have one writing process, the controller.

namespace stackspec {

/// Leaves the wish to try again, with a token that differs from every one before. Returns the path
/// of the request. Errors: as write_file_atomically().
Result<std::string> request_retry(const std::string& folder, const StackKey& stack,
                                  const std::string& token);

/// Carries out and removes what lies in the folder. What cannot be understood, or is about a stack
/// that does not exist, is logged and removed.
void apply_requests(ObjectApi& objects, const std::string& folder);

}  // namespace stackspec
