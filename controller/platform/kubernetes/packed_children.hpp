// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "platform/kubernetes/children.hpp"

namespace stackspec::kubernetes {

/// The children of a stack that nobody looks at, in a sixth of the memory. Of this process alone:
/// not a format to be stored or sent.
std::string pack(const Children& children);

/// The reverse, of what pack() made.
Children unpack(std::string_view packed);

}  // namespace stackspec::kubernetes
